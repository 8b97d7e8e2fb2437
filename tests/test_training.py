"""Meta-training runs on disk: interrupted anywhere and resumed, they end at the same bits."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from conftest import SMALL_IMAGES, make_pack
from documentation import as_module, start_as_a_reader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flp_agents import CheckpointError, MetaTrainingDiverged, evaluate, get_preset
from flp_agents.training import checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.run import TrainingRun
from flp_agents.training.run_metrics import COLUMNS, FILE, RunMetrics
from flp_envs import FLPError, InvalidSize

SMALL = {"num_functions": 2, "steps_per_function": 6, "batch_size": 4, "query_size": 4}
SETTINGS = {
    "hidden_widths": (8, 8),
    "outer_steps": 12,
    "meta_batch": 2,
    "short_outer_steps": 5,
    "short_steps_per_function": 2,
    "coefficient_unit": 1e-3,
    "warm_up": 3,
}


def plan(learner="flp", **settings):
    layers = 1 if learner == "feature-reuse" else 2
    preset = get_preset("cpu", learner, {**SETTINGS, "plastic_layers": layers, **settings})
    return Plan("FLPSine-Continual-v0", dict(SMALL), learner, "cpu", preset, 3, "flp train")


def rows(folder):
    with (folder / FILE).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(folder):
    return checkpoint.parameters_digest(checkpoint.load(folder).learner)


@pytest.fixture
def whole(tmp_path):
    """A run that nothing interrupted."""
    run = TrainingRun(plan(), tmp_path / "whole")
    assert run.run() is False
    assert run.finished
    return tmp_path / "whole"


@pytest.mark.parametrize("stop_at", [1, 4, 5, 6, 11])
def test_a_stopped_run_resumes_to_the_same_bits(stop_at, whole, tmp_path):
    folder = tmp_path / "parts"
    run = TrainingRun(plan(), folder)
    run.run(on_step=lambda r: r.step == stop_at and os.kill(os.getpid(), signal.SIGINT))
    assert run.trainer.step_count == stop_at
    torch.manual_seed(99)  # a new process has another state
    resumed = TrainingRun.resume(folder)
    assert resumed.run() is False
    assert digest(folder) == digest(whole)
    a, b = rows(folder), rows(whole)
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in a] == [
        {k: v for k, v in row.items() if k != "seconds"} for row in b
    ]


def image_plan(**settings):
    """Two outer steps on lifetimes of 6 classes, one at a time, then three on 2 lifetimes of 3 classes."""
    fields = {"channels": 4, "hidden_widths": (8,), "outer_steps": 5, "short_outer_steps": 2, "first_classes": 6}
    fields |= {"first_meta_batch": 1, "meta_batch": 2, **settings}
    preset = get_preset("cpu", "flp", fields, kind="images")
    return Plan("FLPOmniglot-Continual-v0", dict(SMALL_IMAGES), "flp", "cpu", preset, 3, "flp train")


def test_images_begin_with_lifetimes_of_more_classes(tmp_path, monkeypatch):
    run = TrainingRun(image_plan(), tmp_path)
    lived = []

    def watched(episode, step_on=run.trainer.step_on):
        lived.append((len(episode), episode.support_y.max() + 1, run.learner.objective.classes))
        return step_on(episode)

    monkeypatch.setattr(run.trainer, "step_on", watched)
    run.run()
    assert lived == [(1, 6, 6), (1, 6, 6), (2, 3, 3), (2, 3, 3), (2, 3, 3)]
    saved = checkpoint.load(tmp_path).learner
    assert (saved.objective.classes, saved.objective.outputs) == (3, 6)
    # Updates of one class add up to the same in both: nothing is scaled.
    assert run.learner._lifetime_factor == 1.0
    result = run.evaluate(episodes=4, seed=0)
    assert result["metric"] == "error_percent"
    assert 0 <= result["mean"] <= 100


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_run_on_images_resumes_to_the_same_bits(stop_at, tmp_path):
    TrainingRun(image_plan(), tmp_path / "whole").run()
    run = TrainingRun(image_plan(), tmp_path / "parts")
    run.run(on_step=lambda r: r.step == stop_at and os.kill(os.getpid(), signal.SIGINT))
    assert run.trainer.step_count == stop_at
    TrainingRun.resume(tmp_path / "parts").run()
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_a_checkpoint_says_on_which_data_it_was_meta_trained(tmp_path, monkeypatch):
    run = TrainingRun(image_plan(), tmp_path / "run")
    run.run(on_step=lambda r: r.step == 1 and os.kill(os.getpid(), signal.SIGINT))
    data = checkpoint.load(tmp_path / "run").about["data"]
    assert data == run.plan.make_env("meta-train").unwrapped.task.classes.data
    assert TrainingRun.resume(tmp_path / "run").plan == run.plan
    make_pack(tmp_path / "data", "omniglot", 28, 1, ("meta-train", "meta-test"), 21)
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path / "data"))
    with pytest.raises(CheckpointError, match="was meta-trained on other data"):
        TrainingRun.resume(tmp_path / "run")


def test_numbers_that_are_drawn_are_no_data(whole):
    assert checkpoint.load(whole).about["data"] is None


def test_more_classes_than_the_split_has_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InvalidSize, match="num_classes must be at most 32"):
        TrainingRun(replace(image_plan(first_classes=33), env_options={**SMALL_IMAGES}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("learner", ["gradient-based", "oml", "feature-reuse"])
def test_every_learner_resumes_to_the_same_bits(learner, tmp_path):
    settings = plan(learner, redraw_output=True, order="first")
    TrainingRun(settings, tmp_path / "whole").run()
    run = TrainingRun(settings, tmp_path / "parts")
    run.run(stop_after_seconds=0.0)
    assert run.trainer.step_count == 1
    TrainingRun.resume(tmp_path / "parts").run()
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.parametrize(
    # Much the same, killed once, is in test_kills.
    "after",
    [pytest.param(seconds, marks=pytest.mark.slow) for seconds in (0.0, 0.1, 0.2, 0.35, 0.5)],
)
def test_a_killed_run_resumes_to_the_same_bits(after, tmp_path):
    """``kill -9`` at an arbitrary moment, with a checkpoint after every outer step."""
    flags = [f"--env-option={k}={v}" for k, v in SMALL.items()]
    flags += [f"--{k.replace('_', '-')}={v}" for k, v in {**SETTINGS, "hidden_widths": "8,8"}.items()]
    base = [sys.executable, "-m", "flp_agents", "train", "--threads=1", "--save-every=0", "--test-episodes=2"]
    steps = 250
    flags += [f"--outer-steps={steps}"]
    subprocess.run([*base, *flags, f"--output={tmp_path / 'whole'}"], check=True, stdout=subprocess.DEVNULL)
    killed = subprocess.Popen([*base, *flags, f"--output={tmp_path / 'parts'}"], stdout=subprocess.DEVNULL)
    while not (tmp_path / "parts" / checkpoint.DESCRIPTION).exists():
        time.sleep(0.01)
        assert killed.poll() is None
    time.sleep(after)
    killed.kill()
    killed.wait()
    assert checkpoint.load(tmp_path / "parts").progress["step_count"] < steps
    subprocess.run([*base, "--resume", str(tmp_path / "parts")], check=True, stdout=subprocess.DEVNULL)
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")
    assert [row["step"] for row in rows(tmp_path / "parts")] == [str(i) for i in range(1, steps + 1)]
    assert not list((tmp_path / "parts").glob(".*"))


def test_metrics_stream_to_csv_and_tensorboard(whole):
    table = rows(whole)
    assert tuple(table[0]) == COLUMNS
    assert [int(row["step"]) for row in table] == list(range(1, 13))
    leaderboard = EventAccumulator(str(whole / "tensorboard")).Reload()
    events = leaderboard.Scalars("meta_train/query_loss")
    assert [e.step for e in events] == list(range(1, 13))
    assert events[3].value == pytest.approx(float(table[3]["query_loss"]), rel=1e-6)


def test_the_result_and_the_plan_are_kept_beside_the_weights(whole):
    run = TrainingRun.resume(whole)
    result = run.evaluate(episodes=4, seed=1)
    about = json.loads((whole / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))["about"]
    assert about["result"] == result
    assert result["split"] == "meta-val"
    assert about["outer_steps_done"] == 12
    assert about["cost_seconds"] > 0
    assert Plan.from_json(about) == plan()


def test_short_lifetimes_come_first_and_their_updates_are_larger(tmp_path):
    run = TrainingRun(plan(), tmp_path)
    seen = []
    run.run(on_step=lambda _: seen.append((run.trainer.env.unwrapped.task.support_steps, run.learner._lifetime_factor)))
    assert seen == [(4, 3.0)] * 5 + [(12, 1.0)] * 7


def test_the_stored_result_is_what_evaluating_gives_even_if_the_run_ends_short(tmp_path):
    run = TrainingRun(plan(outer_steps=4), tmp_path)
    run.run()
    assert run.learner._lifetime_factor == 3.0
    result = run.evaluate(episodes=3, seed=7)
    env = plan().make_env("meta-val")
    assert result["mean"] == evaluate(checkpoint.load(tmp_path).learner, env, episodes=3, seed=7).mean


def test_a_run_killed_right_after_it_resumed_keeps_its_metrics(tmp_path):
    run = TrainingRun(plan(), tmp_path)
    run.run(stop_after_seconds=0.0)
    before = rows(tmp_path)
    metrics = RunMetrics(tmp_path, 1)
    assert rows(tmp_path) == before  # although nothing was written or closed yet
    metrics.close()


def test_a_new_run_clears_what_an_old_one_left(tmp_path):
    TrainingRun(plan(), tmp_path).run()
    run = TrainingRun(plan(), tmp_path)
    run.run(stop_after_seconds=0.0)
    assert len(rows(tmp_path)) == 1
    assert checkpoint.load(tmp_path).progress["step_count"] == 1
    leaderboard = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in leaderboard.Scalars("meta_train/query_loss")] == [1]


def test_two_runs_into_one_folder_are_refused(tmp_path):
    first, second = TrainingRun(plan(), tmp_path), TrainingRun(plan(), tmp_path)

    def start_the_second(result):
        if result.step == 1:
            with pytest.raises(FLPError, match="another process is training into"):
                second.run()

    first.run(on_step=start_the_second)
    assert first.finished


def test_no_place_for_metrics_keeps_the_weights(tmp_path, monkeypatch):
    run = TrainingRun(plan(), tmp_path)
    write = RunMetrics.write

    def fail_at_3(self, result, seconds):
        if result.step == 3:
            raise FLPError("cannot write metrics")
        write(self, result, seconds)

    monkeypatch.setattr(RunMetrics, "write", fail_at_3)
    with pytest.raises(FLPError, match="cannot write metrics"):
        run.run()
    assert checkpoint.load(tmp_path).progress["step_count"] == 3


def test_a_full_disk_says_so_in_one_line(tmp_path):
    """With a limit on file sizes in place of a full disk: writing fails in the same way, with another reason."""
    flags = [f"--env-option={k}={v}" for k, v in SMALL.items()]
    flags += ["--hidden-widths=8,8", "--short-outer-steps=0", "--outer-steps=100000", "--threads=1"]
    limit = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    run = tmp_path / "run"
    ended = start_as_a_reader(limit + as_module(["train", *flags, f"--output={run}"]), tmp_path).wait()
    assert ended.code == 1
    assert len(ended.errors.strip().splitlines()) == 1
    assert "flp: error: cannot write metrics to" in ended.errors
    assert checkpoint.load(run).progress["step_count"] == len(rows(run)) > 10


def test_divergence_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    run = TrainingRun(plan(outer_steps=100, coefficient_unit=1e3), tmp_path)
    run.save()
    with pytest.raises(MetaTrainingDiverged, match="not finite in 20 outer steps in a row"):
        run.run()
    assert checkpoint.load(tmp_path).progress["step_count"] == 0
    assert rows(tmp_path)[-1]["skipped_total"] == "19"


def test_a_checkpoint_for_use_only_cannot_be_resumed(tmp_path):
    run = TrainingRun(plan(), tmp_path)
    checkpoint.save(tmp_path, run.learner, plan().to_json())
    with pytest.raises(CheckpointError, match="holds no training state: it can be evaluated, not resumed"):
        TrainingRun.resume(tmp_path)


def test_a_plan_of_another_version_is_refused(tmp_path):
    run = TrainingRun(plan(), tmp_path)
    checkpoint.save(tmp_path, run.learner, {"env": "FLPSine-Continual-v0"}, progress={}, optimizer={})
    with pytest.raises(CheckpointError, match="lacks what resuming needs"):
        TrainingRun.resume(tmp_path)


def test_what_a_killed_write_of_metrics_left_is_removed(tmp_path):
    (tmp_path / ".metrics.csv.abc.tmp").write_text("half a row", encoding="utf-8")
    (tmp_path / ".metrics.csv").write_text("mine", encoding="utf-8")
    RunMetrics(tmp_path, 0).close()
    assert [path.name for path in tmp_path.glob(".*")] == [".metrics.csv"]
