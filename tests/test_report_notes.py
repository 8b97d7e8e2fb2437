"""What is missing is said."""

from dataclasses import replace

import pytest
from synthetic_results import STAMP, made_up_benchmark, made_up_result

from flp_agents.benchmark.report.leaderboard import make_leaderboards
from flp_agents.benchmark.report.notes import facts_of, notes_of


def notes(results, unreadable=()):
    return notes_of(results, make_leaderboards(results), unreadable)


def stamped(result, **changes):
    return replace(result, stamp={**result.stamp, **changes})


def test_whole_results_of_several_networks_need_no_note():
    assert notes([made_up_result(name, seed=seed) for name in ("ridge", "sgd") for seed in range(5)]) == []


@pytest.mark.parametrize(
    ("results", "note"),
    [
        ([made_up_result("ridge")], "Fewer than 5 networks or seeds: ridge (1 seed). No interval over them is given"),
        ([made_up_result("flp", seed=s) for s in range(5)], "Fewer than 5 networks or seeds: FLP (2) (1 network)."),
        ([made_up_result("flp", seed=s, network=f"{s % 3}") for s in range(6)], "or seeds: FLP (2) (3 networks)."),
        ([made_up_result("ridge", episodes=4)], "fewer than 5 episodes a seed, so no intervals over episodes either"),
        ([made_up_result("ridge", failure="hung")], "Failed: the only cell."),
        ([made_up_result("ridge", failure="hung")], "FLPSine-Continual-v0: every cell failed"),
        ([made_up_result("ridge"), made_up_result("sgd", failure="hung")], "Failed: 1 of 2 cells."),
        ([made_up_result("ridge", env="FLPSine-IID-v0")], "FLPSine-IID-v0: its sub-tasks are mixed, so average final"),
        ([made_up_result("joint-training")], "queried at the end only"),
        (
            [*(made_up_result("ridge", seed=s) for s in range(3)), made_up_result("sgd")],
            "FLPSine-Continual-v0: results under some of the seeds only: sgd (1 of 3).",
        ),
        (
            [*made_up_benchmark(("ridge",), seeds=1), made_up_result("sgd")],
            "FLPSine-IID-v0: no results of sgd.",
        ),
        (
            [stamped(made_up_result("ridge"), version_torch="2.12.0"), made_up_result("sgd")],
            "Results of different versions of torch: 2.12.0, 2.13.0.",
        ),
    ],
)
def test_notes(results, note):
    assert any(note in line for line in notes(results))


def test_settings_that_were_chosen_elsewhere():
    result = stamped(made_up_result("ridge", env="FLPOmniglot-IID-v0"), tuned_on="FLPGlyph-IID")
    assert any("could do better here: ridge (FLPGlyph-IID)" in note for note in notes([result]))


def test_a_metric_that_is_not_always_known():
    result = made_up_result("ridge")
    scores = {**result.scores, "forgetting": [None, *result.scores["forgetting"][1:]]}
    assert any("ridge has no forgetting in some episodes" in n for n in notes([replace(result, scores=scores)]))


def test_files_that_were_left_out_come_first():
    assert notes([made_up_result()], ["cells/x.json is truncated"])[0] == "Left out: cells/x.json is truncated."


def test_many_names_are_counted():
    results = [made_up_result(f"learner {i}", network="one", seed=s) for i in range(9) for s in range(2)]
    (note,) = notes(results)
    assert "and 3 more" in note


def facts(results):
    return {fact.heading: fact.text for fact in facts_of(results, make_leaderboards(results))}


def test_facts_are_what_the_stamps_say():
    assert facts(made_up_benchmark(("flp", "ridge"), seeds=2)) == {
        "compared": "2 learners in 2 settings, seeds 0, 1, 8 episodes each, 8 cells",
        "replicates": "1 network of 1 learner, 2 seeds of 1 learner: fewer than 5 are shown one by one, without an "
        "interval",
        "when": "2026-11-24 to 2026-11-25",
        "machine": STAMP["machine"],
        "versions": "flp-envs 0.1.0, python 3.11.7, torch 2.13.0",
        "precision": "float64",
        "command": "flp benchmark --seeds 3",
    }


def test_facts_that_were_not_recorded():
    found = facts([replace(made_up_result(), stamp={})])
    assert {found[key] for key in ("when", "machine", "versions", "precision", "command")} == {"not recorded"}
    assert facts([made_up_result()])["when"] == "2026-11-24"
