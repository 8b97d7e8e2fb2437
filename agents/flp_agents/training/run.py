"""A meta-training run on disk: checkpoints, metrics, progress; stopped and resumed without a trace."""

from __future__ import annotations

import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym
import torch

from flp_agents.evaluation.scoring import evaluate
from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import IncompatibleSpaces
from flp_agents.support.precision import usable_precision
from flp_agents.support.processes import Processes
from flp_agents.training.checkpoint import CheckpointError
from flp_agents.training.factory import build_learner
from flp_agents.training.lifetime_schedules.cheaper_first import FullLifetimes
from flp_agents.training.lifetime_source import env_of_stage
from flp_agents.training.meta_trainer import MetaTrainer
from flp_agents.training.outer_step import OuterStep, loss_name
from flp_agents.training.plan import NO_PRESET, Plan
from flp_agents.training.run_folder import RunFolder
from flp_agents.training.run_metrics import FILE, RunMetrics
from flp_agents.training.saved_trainers import check_same_data, load_resumable, restore, state_of
from flp_agents.training.trainer_arguments import set_precision, trainer_arguments
from flp_agents.training.trainer_state import take_over
from flp_base.errors import FLPError, InvalidChoice, InvalidSize, check_number
from flp_base.renamed import Renamed
from flp_base.shown_options import ShowsOptions
from flp_envs.recording import ProtocolError, draw_episodes
from flp_envs.task import data_of

# Of the episodes of the result that a run ends with; another one than anybody's default.
FINAL_SEED = 10_000


class TrainingRun(ShowsOptions):
    """A learner, its trainer, and the folder they are saved to.

    Args:
        plan: what to train.
        folder: where to; created if need be.
        device: where the tensors live.
        processes: with whom the meta-batch is shared; one of them writes.
        learner: to be trained on; by default the plan's, at its initialisation.

    Attributes:
        notes: what of the plan could not be done, and what is done instead, a line each.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        *,
        device: str = "cpu",
        processes: Processes = Processes(),
        learner: Learner[Any] | None = None,
    ) -> None:
        self.plan, self.folder, self.processes = plan, folder, processes
        # Two runs of one plan begin alike: their checkpoints are told apart by this.
        self._place, self._id = RunFolder(folder), secrets.token_hex(8)
        processes.check_same({name: value for name, value in plan.to_json().items() if name != "command"})
        self.seconds = 0.0
        self.notes: list[str] = []
        torch.manual_seed(plan.seed)
        env = plan.make_train_env()
        self._data = data_of(env) or None
        self.learner = (learner or build_learner(plan.learner, env, plan.settings, plan.seed)).to(device)
        precision = set_precision(self.learner, plan.settings.outer_loop.precision)
        if usable_precision(precision, torch.device(device)) != precision:
            self.notes.append(f"this processor has no instructions for {precision}: all products are in float32")
        arguments = trainer_arguments(self.learner, env, plan.settings, plan.rates)
        if plan.settings.outer_loop.short_outer_steps and arguments["lifetimes"] == FullLifetimes():
            self.notes.append(
                f"{plan.env} does not say how its lifetimes can be made cheaper (Task.first_lifetimes): all "
                f"{plan.settings.outer_loop.outer_steps} outer steps are on full lifetimes"
            )
            self.plan = plan = replace(plan, settings=plan.settings.replaced({"short_outer_steps": 0}))
        self.trainer = MetaTrainer(self.learner, env, **arguments, processes=processes, seed=plan.seed)
        self._check_stages(env)  # before anything is written

    @classmethod
    def resume(cls, folder: Path, *, device: str = "cpu", processes: Processes = Processes()) -> TrainingRun:
        """Goes on with the run saved in ``folder``.

        Raises:
            CheckpointError: if there is none, or if it was saved for inference only.
        """
        saved, plan, progress = load_resumable(folder)
        # What a program made is not what a preset makes.
        learner = saved.learner if plan.preset == NO_PRESET else None
        try:
            run = cls(plan, folder, device=device, processes=processes, learner=learner)
        except (InvalidChoice, InvalidSize, IncompatibleSpaces, ProtocolError) as error:
            raise CheckpointError(
                f"checkpoint {folder}: about.env, env_options, learner or settings do not fit: {error}"
            ) from None
        check_same_data(folder, saved, run._data)
        run._place, run._id = RunFolder(folder, read=saved.digest), progress.get("run", run._id)
        take_over(run.learner, saved.learner, folder)
        run.seconds = restore(folder, run.trainer, progress, saved.optimizer)
        return run

    @property
    def finished(self) -> bool:
        """Whether all outer steps are done."""
        return self.trainer.step_count >= self.plan.settings.outer_loop.outer_steps

    def save(self) -> None:
        """Writes the checkpoint, in the process that writes.

        Raises:
            CheckpointError: if it cannot be written, or another run's lies in its place, which is kept.
        """
        if not self.processes.writes:
            return
        of_run = {"data": self._data, "result": self._result}
        about, progress = state_of(self.trainer, self.plan, self.seconds, self._id, of_run)
        self._place.save(self.learner, about, progress=progress, optimizer=self.trainer.optimizer_tensors())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training into the folder until the block ends; training holds it by itself.

        Raises:
            FLPError: if one does already, or has done so since the run began or was read; or if the folder cannot be
                written.
        """
        with self._place.held() if self.processes.writes else nullcontext():
            yield

    def run(
        self,
        *,
        save_every_seconds: float = 60.0,
        stop_after_seconds: float | None = None,
        on_step: Callable[[OuterStep], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> bool:
        """Trains until all outer steps are done, the time is up, or Ctrl-C; always saves.

        Args:
            save_every_seconds: how often to write the checkpoint.
            stop_after_seconds: pause after so long; the run can be resumed.
            on_step: receives every outer step.
            clock: seconds, by which times are meant.

        Returns:
            Whether it was interrupted by a signal.

        Raises:
            MetaTrainingDiverged: the last checkpoint is from before.
            InvalidSize: for a time that is no finite number of at least 0.
            FLPError: if the folder cannot be written, or if another process is training into it.
        """
        check_number("save_every_seconds", save_every_seconds, least=0)
        if stop_after_seconds is not None:
            check_number("stop_after_seconds", stop_after_seconds, least=0)
        with interruptions() as interrupted, self.held():
            if self.processes.writes:
                if self.trainer.step_count == 0:
                    self._begin_folder()
                loss = loss_name(self.plan.settings.outer_loop.outer_objective)
                metrics = RunMetrics(self.folder, self.trainer.step_count, loss)
                try:
                    self._train(metrics.write, interrupted, save_every_seconds, stop_after_seconds, on_step, clock)
                finally:
                    metrics.close()
            else:
                self._train(lambda *_: None, interrupted, save_every_seconds, stop_after_seconds, on_step, clock)
            return bool(interrupted)

    def _train(
        self,
        write: Callable[[OuterStep, float], None],
        interrupted: list[int],
        save_every_seconds: float,
        stop_after_seconds: float | None,
        on_step: Callable[[OuterStep], None],
        clock: Callable[[], float],
    ) -> None:
        started = saved = clock()
        before = self.seconds
        while not self.finished and not self.processes.any(bool(interrupted)):
            result = self.trainer.step()
            now = clock()
            self.seconds = before + now - started
            # The row first: a checkpoint knows of no step that the metrics do not. But if there is no place for the
            # row, there may still be one for the weights.
            try:
                write(result, self.seconds)
            except FLPError:
                self.save()
                raise
            on_step(result)
            if now - saved >= save_every_seconds:
                self.save()
                saved = now
            if self.processes.any(stop_after_seconds is not None and now - started >= stop_after_seconds):
                break
        self.save()
        self.trainer.pause()

    def _begin_folder(self) -> None:
        """Puts the first checkpoint in the place of what an earlier run left, and only then removes the rest of that.

        Killed in between, the new run is resumed at its step 0, and removes it then.
        """
        self.save()
        (self.folder / FILE).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)

    def _check_stages(self, env: gym.Env[Any, Any]) -> None:
        """Makes sure that the learner can be meta-trained on all lifetimes that are to come.

        Raises:
            FLPError: if it cannot.
        """
        for stage in self.trainer.lifetimes.extremes():
            of_stage = env_of_stage(env, stage)
            if stage.options:
                self.learner.set_task(of_stage)
            self.trainer.estimator.check(self.learner, draw_episodes(of_stage, 1).support_steps)
            self.learner.set_task(env)

    judge: Any = Renamed("evaluate")

    def evaluate(self, *, episodes: int, seed: int) -> dict[str, Any]:
        """Evaluates full lifetimes on the plan's split for it, in float32; writes the result into the checkpoint.

        Between :meth:`run` and this, another process may train into the folder, unless it is :meth:`held`.

        Raises:
            CheckpointError: if one has, whose checkpoint is kept.
        """
        with self.held():
            return self._evaluate(episodes, seed)

    def _evaluate(self, episodes: int, seed: int) -> dict[str, Any]:
        self.trainer.set_to_full_lifetimes()
        self.learner.set_precision("float32")
        split = self.plan.evaluate_on
        result = evaluate(self.learner, self.plan.make_env(split), episodes=episodes, seed=seed)
        self._result = {
            "split": split,
            "episodes": episodes,
            "seed": seed,
            **result.as_json(),
        }
        self.save()
        return self._result

    _result: dict[str, Any] | None = None


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """A list that fills when Ctrl-C or a request to end comes, so that the outer step under way can finish.

    Only the main thread can wait for signals; in another one the list stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
