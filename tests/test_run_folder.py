"""The folder of a run: held until the last result is written, and no checkpoint replaced but the run's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flp_agents import CheckpointError, get_preset
from flp_agents.cli.main import main
from flp_agents.support.settings import option_fields
from flp_agents.training import checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.run import TrainingRun
from flp_agents.training.run_metrics import FILE
from flp_base import locking
from flp_envs import FLPError, InvalidSize

SIZES = {"num_functions": 2, "steps_per_function": 2, "batch_size": 2, "query_size": 2}
SMALL = {"hidden_widths": (4,), "outer_steps": 3, "plastic_layers": 1, "short_outer_steps": 0, "meta_batch": 1}
FLAGS = [f"--env-option={name}={value}" for name, value in SIZES.items()]
FLAGS += ["--hidden-widths=4", "--outer-steps=3", "--plastic-layers=1", "--short-outer-steps=0", "--meta-batch=1"]

NUMBERS = (
    "save-every",
    "minutes",
    *(name.replace("_", "-") for name, of in option_fields().items() if isinstance(of.default, float)),
)


def new_run(folder: Path, seed: int = 0) -> TrainingRun:
    plan = Plan("FLPSine-Continual-v0", dict(SIZES), "flp", "cpu", get_preset("cpu", "flp", SMALL), seed, "a test")
    return TrainingRun(plan, folder)


def content(folder: Path) -> dict[str, bytes]:
    """All files of a run but its lock."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


def flp_train(folder: Path, *more: str) -> int:
    return main(["train", *FLAGS, "--threads=1", "--test-episodes=2", f"--output={folder}", *more])


def test_no_run_begins_while_the_last_evaluation_of_another_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As flp train does it: run B is started with --overwrite while A evaluates its final episodes."""
    folder, codes = tmp_path / "run", []
    evaluate = TrainingRun._evaluate

    def start_another(self: TrainingRun, *of: Any) -> dict[str, Any]:
        monkeypatch.setattr(TrainingRun, "_evaluate", evaluate)
        before = content(folder)
        codes.append(flp_train(folder, "--overwrite", "--seed=1"))
        assert content(folder) == before
        return evaluate(self, *of)

    monkeypatch.setattr(TrainingRun, "_evaluate", start_another)
    assert flp_train(folder) == 0
    assert codes == [1]
    assert "another process is training into" in capsys.readouterr().err
    about = checkpoint.load(folder).about
    assert about["seed"] == 0
    assert about["result"]["episodes"] == 2


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot lock."""

    def refuse(self: Any, **_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locking.FileLock, "acquire", refuse)


@pytest.mark.filterwarnings("ignore::flp_base.locking.NoFileLocks")
@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_run_still_replaces_no_checkpoint_of_another(tmp_path: Path) -> None:
    first, second = new_run(tmp_path), new_run(tmp_path)  # two of one plan, whose first checkpoints would be alike

    def begin_another(step: Any) -> None:
        if step.step == 2:
            second._place._known = checkpoint.digest_in(tmp_path)  # as --overwrite makes sure of
            second.run(stop_after_seconds=0.0)

    with pytest.raises(CheckpointError, match="holds another checkpoint than this run read or wrote"):
        first.run(on_step=begin_another, save_every_seconds=0.0)
    assert checkpoint.load(tmp_path).progress["run"] == second._id
    with pytest.raises(CheckpointError, match="holds another checkpoint"):
        first.evaluate(episodes=1, seed=0)
    assert checkpoint.load(tmp_path).progress["run"] == second._id


def test_a_run_that_went_on_after_it_was_read_is_not_set_back(tmp_path: Path) -> None:
    new_run(tmp_path).run(stop_after_seconds=0.0)
    stale, other = TrainingRun.resume(tmp_path), TrainingRun.resume(tmp_path)
    other.run()
    after = content(tmp_path)
    with pytest.raises(CheckpointError, match="or --resume the folder"):
        stale.run()
    assert content(tmp_path) == after


def test_a_run_does_not_begin_over_one_that_has_begun_since(tmp_path: Path) -> None:
    late = new_run(tmp_path)
    new_run(tmp_path, seed=1).run()
    after = content(tmp_path)
    with pytest.raises(CheckpointError, match="another process has trained into it"):
        late.run()
    assert content(tmp_path) == after


def test_a_damaged_checkpoint_may_be_begun_over(tmp_path: Path) -> None:
    (tmp_path / checkpoint.DESCRIPTION).write_text("[" * 1000, encoding="utf-8")
    run = new_run(tmp_path)
    run.run()
    assert run.finished
    assert checkpoint.load(tmp_path).progress["step_count"] == 3


def test_the_old_run_stays_until_the_first_checkpoint_of_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_run(tmp_path).run()
    before = content(tmp_path)
    replace_file, calls = os.replace, []

    def fail_at(number: int) -> Callable[[Any, Any], None]:
        def fail(source: Any, target: Any) -> None:
            calls.append(target)
            if len(calls) == number:
                raise OSError(28, "No space left on device")
            replace_file(source, target)

        return fail

    for number in (1, 2, 3):  # weights, the trainer's tensors, the description
        calls.clear()
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", fail_at(number))
            with pytest.raises(FLPError, match="No space left on device; an earlier one there is untouched"):
                new_run(tmp_path, seed=1).run()
        assert content(tmp_path) == before
    new_run(tmp_path, seed=1).run(stop_after_seconds=0.0)
    assert checkpoint.load(tmp_path).about["seed"] == 1
    assert len((tmp_path / FILE).read_text(encoding="utf-8").splitlines()) == 2


def test_a_new_run_killed_at_its_first_checkpoint_is_resumed_from_its_beginning(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    new_run(old).run()
    run = new_run(old, seed=1)
    run.save()  # and here it is killed: the metrics are still the old run's
    assert len((old / FILE).read_text(encoding="utf-8").splitlines()) == 4
    TrainingRun.resume(old).run()
    new_run(new, seed=1).run()
    digests = [checkpoint.parameters_digest(checkpoint.load(folder).learner) for folder in (old, new)]
    assert digests[0] == digests[1]
    assert len((old / FILE).read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize(
    "options",
    [
        *([f"--{name}={value}"] for name in NUMBERS[::2] for value in ("inf", "-nan")),
        *([f"--{name}={value}"] for name in NUMBERS[1::2] for value in ("nan", "1e999")),
        ["--save-every=-1"],
        ["--minutes=-1"],
        ["--minutes=0"],
        ["--rate-weights=-1e-3"],
        ["--rate-weights=1e300"],
        ["--outer-steps=0"],
        ["--outer-steps=99999999999999999999"],
        ["--meta-batch=0"],
        ["--hidden-widths=4,0"],
        ["--hidden-widths=4,9999999999"],
        ["--warm-up=-1"],
        ["--restart-adam-every=-1"],
        ["--short-outer-steps=-1"],
        ["--short-outer-steps=1", "--short-steps-per-function=0"],
        ["--channels=0"],
        ["--feedback-width=0"],
        ["--feedback-layers=1000000000"],
        ["--plastic-layers=0"],
        ["--plastic-layers=9"],
        ["--test-episodes=0"],
        ["--threads=0"],
        ["--env-option=num_functions=0"],
        ["--env-option=max_amplitude=nan"],
        ["--preset=cp"],
    ],
    ids=" ".join,
)
def test_nothing_is_touched_before_every_number_is_checked(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / checkpoint.DESCRIPTION).write_text("an old run's", encoding="utf-8")
    (tmp_path / FILE).write_text("its rows", encoding="utf-8")
    try:
        code = flp_train(tmp_path, "--overwrite", *options)
    except SystemExit as end:  # argparse's
        code = int(end.code or 0)
    assert code in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("flp: error: ")
    assert content(tmp_path) == {checkpoint.DESCRIPTION: b"an old run's", FILE: b"its rows"}


def test_times_are_checked_by_the_run_as_well(tmp_path: Path) -> None:
    for times in ({"save_every_seconds": float("nan")}, {"stop_after_seconds": -1.0}):
        with pytest.raises(InvalidSize, match="seconds must be a finite number of at least 0"):
            new_run(tmp_path / "run").run(**times)
    assert not (tmp_path / "run").exists()


def test_export_does_not_replace_a_checkpoint_that_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "run", tmp_path / "exported"
    new_run(source).run()
    load = checkpoint.load

    def meanwhile(folder: Any) -> Any:
        shutil.copytree(source, target)
        return load(folder)

    monkeypatch.setattr(checkpoint, "load", meanwhile)
    assert main(["export", f"--checkpoint={source}", f"--output={target}"]) == 1
    assert "holds a checkpoint already" in capsys.readouterr().err
    assert content(target) == content(source)
