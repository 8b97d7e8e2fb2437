"""Section 7.1's experiment as ``flp reproduce`` does it: every network once, resumed, with its control."""

from dataclasses import replace

import numpy as np
import pytest
from test_cli import fails
from test_reproduction import FAST, TINY, run

from flp_agents.experiments.reproduction import section_7_1
from flp_agents.experiments.reproduction.networks import meta_train
from flp_agents.experiments.reproduction.results import NOT_TRAINED
from flp_agents.experiments.reproduction.running import How
from flp_agents.experiments.reproduction.section_7_1 import Protocol, reproduce_section_7_1
from flp_agents.experiments.reproduction.section_7_1_report import rows_of, write_section_7_1
from flp_agents.experiments.reproduction.tables import Method
from flp_agents.training.outer_step import MetaTrainingDiverged

FEATURE_REUSE = replace(
    TINY,
    methods=(Method("Feature Reuse (1)", "feature-reuse-1", "feature-reuse", {**FAST, "hidden_widths": (8, 8)}),),
)
SHORT = Protocol(outer_steps=4, episodes=3, evaluations=2, settings={"warm_up": 0})


def test_it_goes_on_from_every_network(tmp_path):
    networks, how = list(FEATURE_REUSE.cells("cpu")), How(tmp_path, retrain=True)
    told = []
    found = reproduce_section_7_1(networks, SHORT, how, on_progress=lambda *of: told.append(of))
    assert [(of.seed, of.plastic_layers) for of in found] == [(seed, n) for seed in (0, 1) for n in (1, 2, 3)]
    assert told[-1] == (2 * (6 + 3 * 4), 2 * (6 + 3 * 4), "2 of 2 networks")
    for of in found:
        assert list(of.judged_at) == [0, 2, 4]
        assert of.after == of.means[-1]
        assert of.difference == pytest.approx(of.after - of.before)
        assert of.difference_error > 0
    # All begin with what the network was.
    assert len({of.before for of in found}) == 2
    assert all(of.means[0] == pytest.approx(of.before, rel=1e-4) for of in found)
    assert reproduce_section_7_1(networks, SHORT, how, on_progress=lambda *of: told.append(of)) == found
    assert told[-1] == (0, 0, "0 of 0 networks")
    rows = rows_of(FEATURE_REUSE.columns, found)
    cells = [row["continual"] for row in rows]
    assert [cell["networks"] for cell in cells] == [2, 2, 2, 2]
    assert cells[0]["mean"] == pytest.approx(np.mean([of.before for of in found]))
    assert cells[2]["mean"] == pytest.approx(np.mean([of.after for of in found if of.plastic_layers == 2]))
    after = {(of.seed, of.plastic_layers): of.after for of in found}
    for layers, row in enumerate(rows[1:], 1):
        logarithms = [np.log(after[seed, layers] / after[seed, 1]) for seed in (0, 1)]
        pairs = row["continual"]["ratio_to_control"]
        assert pairs["mean"] == pytest.approx(np.exp(np.mean(logarithms)))
        assert pairs["log_standard_error"] == pytest.approx(np.ptp(logarithms) / 2)
    files = write_section_7_1(tmp_path, FEATURE_REUSE.columns, rows, found, "flp reproduce section7.1")
    assert {path.name for path in files} == {f"section7.1.{kind}" for kind in ("json", "md", "csv", "png")}
    pages = {path.suffix: path.read_text(encoding="utf-8") for path in files if path.suffix != ".png"}
    assert "the control | " in pages[".md"]
    assert pages[".csv"].count("\n") == 1 + 6 * 3
    # Results count where networks are not; other lengths do not.
    networks_here = tmp_path / "cpu" / "networks"
    networks_here.rename(tmp_path / "away")
    assert reproduce_section_7_1(networks, SHORT, How(tmp_path)) == found
    assert reproduce_section_7_1(networks, replace(SHORT, outer_steps=5), How(tmp_path)) == []


def test_paused_and_diverged(tmp_path, monkeypatch):
    networks = list(replace(FEATURE_REUSE, networks=1).cells("cpu"))
    assert reproduce_section_7_1(networks, SHORT, How(tmp_path)) == []
    meta_train(tmp_path, networks[0])
    paused = How(tmp_path, stop_after_seconds=1e-3)
    assert len(reproduce_section_7_1(networks, SHORT, paused)) < 3

    def diverge(*_of, **_more):
        raise MetaTrainingDiverged("no outer step was finite")

    with monkeypatch.context() as patched:
        patched.setattr(section_7_1, "continue_with_more_plasticity", diverge)
        found = reproduce_section_7_1(networks, SHORT, How(tmp_path))
    assert {of.failure for of in found} <= {None, "no outer step was finite"}
    rows = rows_of(FEATURE_REUSE.columns, found)
    assert rows[3]["continual"]["failed"] == 1
    assert len(reproduce_section_7_1(networks, SHORT, How(tmp_path), overwrite=True)) == 3


def test_as_it_is_typed(tmp_path, capsys):
    content = run(["section7.1", "--scale=half", f"--output={tmp_path}"], capsys)
    assert [row["method"] for row in content["rows"]][:2] == [
        "Feature Reuse (1), as it was",
        "1 plastic layer, the control",
    ]
    assert {row[column]["note"] for row in content["rows"] for column in ("iid", "continual")} == {NOT_TRAINED}


def test_other_episodes_begin_anew_and_replace_nothing_at_first(tmp_path):
    networks = list(replace(FEATURE_REUSE, networks=1).cells("cpu"))
    meta_train(tmp_path, networks[0])
    first = reproduce_section_7_1(networks, SHORT, How(tmp_path))
    more = reproduce_section_7_1(networks, replace(SHORT, episodes=4), How(tmp_path))
    assert len(more) == 3
    assert [of.before for of in more] != [of.before for of in first]
    assert (
        reproduce_section_7_1(networks, replace(SHORT, episodes=4), How(tmp_path), overwrite=True)[0].after
        == more[0].after
    )


def test_bad_input_is_refused_in_one_line(tmp_path, capsys):
    assert "leave out --methods" in fails(
        ["reproduce", "section7.1", "--methods=flp-2", f"--output={tmp_path}"], capsys
    )
    assert "at least 2" in fails(["reproduce", "section7.1", "--episodes=1", f"--output={tmp_path}"], capsys)
