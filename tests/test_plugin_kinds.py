"""Each kind of thing that can be registered, from a file of its own, through every command that meets it.

The files are those that docs/plugins.md shows.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flp_agents.cli.main import main
from flp_agents.support import plugins

FOLDER = Path(__file__).parent.parent / "examples" / "plugins"
SMALL = ["--env-option=num_functions=2", "--env-option=steps_per_function=3"]
IMAGES = ["--env-option=num_classes=2", "--env-option=shots=2", "--env-option=query_shots=2"]
TRAIN = ["--outer-steps=2", "--short-outer-steps=0", "--test-episodes=2", "--threads=1", "--hidden-widths=8,8"]
pytestmark = pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch, tmp_path):
    """What a test registers or imports is forgotten after it; it runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    before, modules = plugins.registered(), set(sys.modules)
    monkeypatch.setattr(plugins, "_LOADED", [])
    yield
    plugins.restore(before)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


def run(capsys, kind, *arguments, code=0):
    """What a command prints that is given the plug-in of a kind."""
    capsys.readouterr()
    assert main([*arguments, f"--plugin={FOLDER / f'{kind}.py'}"]) == code
    return capsys.readouterr().out


def flags_beside(flags):
    """:data:`TRAIN`, without what a lifetime schedule of one's own does not read."""
    return [flag for flag in TRAIN if "short" not in flag or not any("lifetimes" in given for given in flags)]


def trained_saved_loaded_compared(capsys, kind, *flags, options=SMALL, env="FLPSine-Continual-v0"):
    """Goes through train, export, evaluate, benchmark and report; returns the benchmark's rows."""
    run(capsys, kind, "train", f"--env={env}", *flags, *options, *flags_beside(flags), "--output=run")
    run(capsys, kind, "export", "--checkpoint=run", "--output=exported")
    scores = [
        json.loads(run(capsys, kind, "evaluate", f"--checkpoint={name}", "--episodes=2", "--json"))["mean"]
        for name in ("run", "exported")
    ]
    assert scores[0] == scores[1]
    rows = compared(capsys, kind, "exported", options=options, env=env)
    run(capsys, kind, "report", "benchmark")
    assert Path("benchmark/report.html").exists()
    return rows


def compared(capsys, kind, *learners, options=SMALL, env="FLPSine-Continual-v0"):
    """The rows of a benchmark's results."""
    run(
        capsys,
        kind,
        "benchmark",
        "--learners",
        *learners,
        f"--envs={env}",
        *options,
        "--seeds=1",
        "--episodes=2",
        "--jobs=1",
    )
    with open("benchmark/results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["failure"] for row in rows] == [""] * len(rows)
    return rows


def test_a_rule(capsys):
    trained_saved_loaded_compared(capsys, "rule", "--learner=flp", "--rule=bcm")


def test_a_pathway(capsys):
    trained_saved_loaded_compared(capsys, "pathway", "--learner=flp", "--feedback-pathway=saturating")


def test_a_rule_with_its_hyperparameter(capsys):
    run(capsys, "rule", "train", "--rule=bcm", "--threshold=0.25", *SMALL, *TRAIN, "--output=run")
    from flp_agents import load_checkpoint

    assert load_checkpoint("run").learner.settings["rule"].threshold == 0.25


def test_an_outer_objective(capsys):
    flags = ["--learner=flp", "--outer-objective=late", "--share=0.25"]
    trained_saved_loaded_compared(capsys, "outer_objective", *flags)
    with open("run/metrics.csv", encoding="utf-8") as file:
        assert file.readline().split(",")[1] == "outer_loss"


def test_a_lifetime_schedule(capsys):
    flags = ["--learner=flp", "--lifetimes=in-turn", "--short=2"]
    trained_saved_loaded_compared(capsys, "lifetime_schedule", *flags)


def test_an_estimator(capsys):
    flags = ["--learner=flp", "--estimator=evolution", "--pairs=2"]
    trained_saved_loaded_compared(capsys, "estimator", *flags)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("outer_objective", ["--outer-objective=late", "--share=0.25"]),
        ("estimator", ["--estimator=evolution", "--pairs=2"]),
        ("lifetime_schedule", ["--lifetimes=in-turn", "--short=2"]),
    ],
)
def test_a_run_is_resumed_with_its_plug_in_and_says_what_it_lacks_without(kind, flags, capsys, monkeypatch):
    from flp_agents import ESTIMATORS, LIFETIME_SCHEDULES, OUTER_OBJECTIVES

    for folder, more in (("whole", []), ("paused", ["--minutes=0.00001"])):
        run(capsys, kind, "train", *flags, *SMALL, *flags_beside(flags), *more, f"--output={folder}")
    OUTER_OBJECTIVES.forget("late")
    ESTIMATORS.forget("evolution")
    LIFETIME_SCHEDULES.forget("in-turn")
    monkeypatch.setattr(plugins, "_LOADED", [])
    sys.modules.pop(kind)
    assert main(["train", "--resume=paused", "--test-episodes=2"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"--plugin {kind}.py" in said
    run(capsys, kind, "train", "--resume=paused", "--test-episodes=2", "--threads=1")
    whole, paused = (
        [line.split(",")[:3] for line in Path(folder, "metrics.csv").read_text(encoding="utf-8").splitlines()]
        for folder in ("whole", "paused")
    )
    assert whole == paused


def test_a_memory_strategy(capsys):
    trained_saved_loaded_compared(capsys, "strategy", "--learner=flp", "--meta-gradient=second-half")


def test_what_a_checkpoint_lacks_is_named(capsys, monkeypatch):
    run(capsys, "pathway", "train", "--feedback-pathway=saturating", *SMALL, *TRAIN, "--output=run")
    from flp_agents.learners.pathways.pathway import PATHWAYS

    PATHWAYS.forget("saturating")
    monkeypatch.setattr(plugins, "_LOADED", [])
    assert main(["evaluate", "--checkpoint=run"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "saturating" in said
    assert "add --plugin pathway.py" in said


def test_a_family(capsys):
    rows = trained_saved_loaded_compared(capsys, "family", "--learner=flp", env="FLPSquare-Continual-v0")
    assert {row["env"] for row in rows} == {"FLPSquare-Continual-v0"}
    assert "FLPSquare-IID-v0" in run(capsys, "family", "list")


def test_a_metric(capsys):
    rows = compared(capsys, "metric", "ridge", "sgd")
    assert all(float(row["worst_sub_task"]) >= float(row["query_score"]) for row in rows)
    run(capsys, "metric", "report", "benchmark")
    assert "worst sub-task" in Path("benchmark/report.html").read_text(encoding="utf-8")
    # Without the plug-in the results can be read, and the page says what it leaves out.
    from flp_agents.evaluation.lifetime_metrics.metric import METRICS

    METRICS.forget("worst_sub_task")
    assert main(["report", "benchmark"]) == 0
    page = Path("benchmark/report.html").read_text(encoding="utf-8")
    assert "metrics that are not known here" in page
    assert "worst_sub_task" in page


def test_a_baseline(capsys):
    rows = compared(capsys, "baseline", "running-mean", "ridge")
    assert {row["learner"] for row in rows} == {"running-mean", "ridge"}
    assert "running-mean" in run(capsys, "baseline", "list")
    run(capsys, "baseline", "check-learner", "running-mean")


def test_a_dataset(capsys, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("meta-train", "meta-val", "meta-test"):
        for name in ("circle", "square", "star"):
            place = tmp_path / "source" / split / name
            place.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(place / f"{number}.png")
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    run(capsys, "dataset", "data", "prepare", "shapes", f"--source={tmp_path / 'source'}")
    assert "shapes" in run(capsys, "dataset", "data", "list")
    run(capsys, "dataset", "data", "verify", "shapes")
    flags = ["--learner=feature-reuse", "--channels=4"]
    trained_saved_loaded_compared(capsys, "dataset", *flags, options=IMAGES, env="FLPShapes-IID-v0")
