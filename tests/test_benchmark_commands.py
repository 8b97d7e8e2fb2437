"""flp benchmark, flp report, flp check-learner: what is typed and what is printed."""

import json
import re
from pathlib import Path

import pytest

from flp_agents.cli.main import main

PLUGIN = str(Path(__file__).parent / "plugin_learners.py")
SHORT = ["--env-option", "num_functions=3", "--env-option", "steps_per_function=4"]
ONE_ENV = ["--envs", "FLPSine-Continual-v0", "--seeds", "2", "--episodes", "3", "--jobs", "1", "--plugin", PLUGIN]


def benchmark(folder, *learners, more=()):
    return main(["benchmark", "--learners", *learners, *ONE_ENV, *SHORT, "--output", str(folder), *more])


def test_a_benchmark_and_its_report(tmp_path, capsys):
    folder = tmp_path / "results"
    assert benchmark(folder, "mean", "seeded", "raises") == 0
    printed = capsys.readouterr()
    assert "FLPSine-Continual-v0, meta-test, mse" in printed.out
    assert re.search(r"^mean +2 seeds", printed.out, flags=re.MULTILINE)
    assert "Fewer than 5 networks or seeds: no interval over them" in printed.out
    assert "failed (seed 1): ZeroDivisionError: cannot [be] learned" in " ".join(printed.out.split())
    assert f"flp report {folder}" in printed.out.replace("\n", "")
    assert printed.err.count("FLPSine-Continual-v0 mean seed") == 2
    assert {path.name for path in folder.iterdir()} >= {"results.csv", "summary.json", "cells"}
    assert main(["report", str(folder)]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in page
    assert "flp benchmark --learners mean seeded raises" in page
    assert str(tmp_path) not in page.replace(PLUGIN, "")


def test_json_is_all_that_is_printed(tmp_path, capsys):
    assert benchmark(tmp_path, "mean", more=["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["learner"] for row in rows} == {"mean"}
    query = next(row for row in rows if row["metric"] == "query_score")
    assert (query["replicate"], query["replicates"], query["episodes"]) == ("seed", 2, 6)
    assert sum(query["means"]) / 2 == pytest.approx(query["mean"])
    # Of two seeds, and of three episodes each, there is none.
    assert {query[f"interval_over_{what}_{end}"] for what in ("replicates", "episodes") for end in ("low", "high")} == {
        None
    }


def test_a_plan_in_a_file_and_options_that_override_it(tmp_path, capsys):
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f'learners = ["mean", "seeded"]\nenvs = ["FLPSine-IID-v0"]\nseeds = [4]\nepisodes = 2\nplugins = ["{PLUGIN}"]\n'
        "[env_options]\nnum_functions = 3\nsteps_per_function = 4\n",
        encoding="utf-8",
    )
    assert main(["benchmark", str(plan), "--learners", "mean", "--output", str(tmp_path), "--jobs", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {(row["env"], row["learner"], row["episodes"]) for row in rows} == {("FLPSine-IID-v0", "mean", 2)}


def test_nothing_but_failures_is_a_failure(tmp_path):
    assert benchmark(tmp_path, "raises") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark", "nowhere.toml"], "cannot read nowhere.toml"),
        (["benchmark", "--learners", "sgt"], "did you mean 'sgd'"),
        (["benchmark", "--envs", "FLPSine"], "did you mean"),
        (["benchmark", "--learners", "flp", "--split", "meta-train"], "use --split meta-test"),
        (["benchmark", "--learners", "mean", "--plugin", "nowhere.py"], "no file nowhere.py"),
        (["report", "nowhere"], "no results in nowhere"),
        (["check-learner", "sgt"], "did you mean 'sgd'"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("*.json"))


def test_an_environment_in_which_all_failed_has_no_empty_table(tmp_path, capsys):
    assert benchmark(tmp_path, "raises") == 1
    assert capsys.readouterr().out.startswith("FLPSine-Continual-v0, meta-test\nraises failed (seed 0): Zero")


def test_check_learner_says_what_is_wrong(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    short = ["--envs", "FLPSine-IID-v0", "--plugin", PLUGIN]
    assert main(["check-learner", "mean", *short]) == 0
    *checks, total = capsys.readouterr().out.splitlines()
    assert len(checks) == 7
    assert all(check.startswith("right  FLPSine-IID-v0  ") for check in checks)
    assert total == "mean: 7 checks right, 0 wrong"
    assert main(["check-learner", "raises", *short]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "raises ZeroDivisionError: cannot [be] learned" in printed
    assert "raises: 0 checks right, 1 wrong" in printed
    assert main(["check-learner", "raises", *short, "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["passed"], finding["env"]) == (False, "FLPSine-IID-v0")
