"""``flp analyse``: tables, picture, and what it refuses."""

import csv
import json
import math

import numpy as np
import pytest
from conftest import SMALL_IMAGES
from PIL import Image
from test_cli import QUICK, fails

from flp_agents.cli.main import main
from flp_agents.experiments.analysis.figures import STYLES, styles_of
from flp_agents.experiments.analysis.tables import csv_of, over_episodes

TABLES = {"readout", "query_loss", "cosine", "magnitude", "interference"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of small finished runs, by learner."""
    folders = {}
    for learner in ("flp", "feature-reuse", "oml"):
        folders[learner] = tmp_path_factory.mktemp("trained") / learner
        plastic = "--plastic-layers=" + {"flp": "2", "feature-reuse": "1", "oml": "3"}[learner]
        assert main(["train", *QUICK, f"--learner={learner}", plastic, f"--output={folders[learner]}"]) == 0
    return folders


def rows_of(folder, name):
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_table_for_each_analysis_and_a_picture(trained, tmp_path, capsys):
    names = [str(folder) for folder in trained.values()]
    command = ["analyse", *names, "--episodes=3", f"--output={tmp_path}", "--seed=2"]
    assert main([*command, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["env"], content["split"], content["episodes"], content["seed"]) == (
        "FLPSine-Continual-v0",
        "meta-test",
        3,
        2,
    )
    assert {path.name for path in tmp_path.iterdir()} == {*(f"{name}.csv" for name in TABLES), "analysis.png"}
    assert {str(path) for path in tmp_path.iterdir()} == set(content["files"])
    with Image.open(tmp_path / "analysis.png") as image:
        assert min(image.size) > 500
    layers = {"flp": 2, "feature-reuse": 1, "oml": 3}
    # 6 support steps; 2 sub-tasks.
    steps = {name: 6 * number for name, number in layers.items()}
    for table, per_learner in {
        "readout": dict.fromkeys(layers, 2),
        "query_loss": dict.fromkeys(layers, 7),
        "interference": dict.fromkeys(layers, 1),
        "cosine": steps,
        "magnitude": {name: 2 * number for name, number in steps.items()},
    }.items():
        rows = rows_of(tmp_path, table)
        for learner, number in per_learner.items():
            of_learner = [row for row in rows if row["checkpoint"] == learner]
            assert len(of_learner) == number, (table, learner)
            assert {row["learner"] for row in of_learner} == {learner}
            assert {int(row["plastic_layers"]) for row in of_learner} == {layers[learner]}
            assert {row["episodes"] for row in of_learner} == {"3"}
            assert all(math.isfinite(float(row["mean"])) and float(row["standard_error"]) >= 0 for row in of_learner)
    for row in rows_of(tmp_path, "cosine"):
        assert row["learner"] != "oml" or float(row["mean"]) == pytest.approx(1)
    for summary in content["checkpoints"]:
        assert len(summary["cosine_by_layer"]) == layers[summary["learner"]]
        end = next(r for r in rows_of(tmp_path, "readout") if r["checkpoint"] == summary["checkpoint"])
        assert float(end["mean"]) == pytest.approx(summary["score"], rel=1e-4)
    assert main(command) == 0
    out = capsys.readouterr().out
    for word in ("FLP (2)", "Feature Reuse (1)", "Original OML (3)", "analysis.png"):
        assert word in out


def test_the_score_is_that_of_evaluation(trained, tmp_path, capsys):
    assert main(["analyse", str(trained["flp"]), "--episodes=4", f"--output={tmp_path}", "--seed=2", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["checkpoints"][0]["score"]
    assert main(["evaluate", f"--checkpoint={trained['flp']}", "--episodes=4", "--seed=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"] == pytest.approx(score, rel=1e-4)


def test_mixed_functions_have_no_interference_and_one_episode_no_error(trained, tmp_path):
    command = ["analyse", str(trained["flp"]), "--env=FLPSine-IID-v0", "--transfer", "--episodes=1"]
    assert main([*command, f"--output={tmp_path}"]) == 0
    assert {path.stem for path in tmp_path.glob("*.csv")} == TABLES - {"interference"}
    assert {row["standard_error"] for row in rows_of(tmp_path, "readout")} == {""}


def test_labels(tmp_path, capsys):
    options = [f"--env-option={key}={value}" for key, value in SMALL_IMAGES.items()]
    command = ["analyse", "flp-2-omniglot-continual", "oml-2-omniglot-continual", "--env=FLPGlyph-Continual-v0"]
    assert main([*command, "--transfer", *options, "--episodes=2", f"--output={tmp_path}", "--json"]) == 0
    for summary in json.loads(capsys.readouterr().out)["checkpoints"]:
        assert summary["metric"] == "error_percent"
        assert 0 <= summary["readout_score"] <= 100
    assert {row["unit"] for row in rows_of(tmp_path, "query_loss")} == {"nats", "error_percent"}


def test_what_is_refused(trained, tmp_path, capsys):
    flp, output = str(trained["flp"]), f"--output={tmp_path / 'out'}"
    assert "did you mean" in fails(["analyse", "flp-2-sine", output], capsys)
    assert "add --transfer" in fails(["analyse", flp, "--env=FLPSine-IID-v0", output], capsys)
    assert "episodes must be a whole number" in fails(["analyse", flp, "--episodes=0", output], capsys)
    message = fails(["analyse", flp, "flp-2-sine-continual", output], capsys)
    assert "different env options" in message
    assert "--env-option num_functions=..." in message
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot create" in fails(["analyse", flp, f"--output={tmp_path / 'file' / 'x'}"], capsys)
    assert "choose" in fails(["analyse", flp, f"--output={tmp_path / 'file'}"], capsys)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_written_leaves_the_old_one(trained, tmp_path, capsys):
    (tmp_path / "analysis.png").mkdir()
    message = fails(["analyse", str(trained["flp"]), "--episodes=1", f"--output={tmp_path}"], capsys)
    assert "cannot write" in message
    assert not list(tmp_path.glob(".*"))


def test_means_and_their_errors_by_hand():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    mean, error, episodes = over_episodes(values)
    np.testing.assert_array_equal(mean, [2, 5, np.nan])
    np.testing.assert_allclose(error, [1, np.nan, np.nan])
    np.testing.assert_array_equal(episodes, [2, 1, 0])
    assert over_episodes(np.array([1.0, 3.0])).mean == 2


def test_a_number_that_is_not_known_stays_empty():
    assert csv_of([{"change": -0.25}, {"change": "-x"}, {"change": "=1"}]) == b"change\n-0.25\n'-x\n'=1\n"
    assert csv_of([{"layer": 1, "mean": float("nan")}, {"layer": 2, "mean": 1 / 3}]) == b"layer,mean\n1,\n2,0.333333\n"


def test_no_two_learners_are_drawn_alike():
    kinds = ["flp", "flp", "oml", "of one's own", "flp", "feature-reuse", *["flp"] * 8]
    styles = styles_of(kinds)
    assert len(set(styles)) == len(kinds)
    assert (styles[0], styles[2], styles[5]) == (STYLES["flp"], STYLES["oml"], STYLES["feature-reuse"])


def test_it_is_spelled_either_way(trained, tmp_path, capsys):
    assert main(["analyze", str(trained["oml"]), "--episodes=1", f"--output={tmp_path}"]) == 0
    assert "cosines" in capsys.readouterr().out
