"""Meta-trainers on disk: what a checkpoint holds of one, whether ``flp train`` made it or a program."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import torch

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.meta_gradient import describe
from flp_agents.support.processes import Processes
from flp_agents.training import checkpoint
from flp_agents.training.checkpoint import Checkpoint, CheckpointError
from flp_agents.training.described_trainer import DescribedTrainer, plan_of
from flp_agents.training.plan import Plan
from flp_agents.training.run_folder import RunFolder
from flp_agents.training.trainer_arguments import (
    set_precision,
    trainer_arguments,
)
from flp_agents.training.trainer_state import InvalidState, RunProgress, checked_progress, random_state
from flp_envs.task import data_of

Trainer = TypeVar("Trainer", bound="SavedTrainer")


class SavedTrainer(DescribedTrainer, ABC):
    """What a meta-trainer is to its checkpoint: base of :class:`~flp_agents.MetaTrainer`, which knows of no files.

    Attributes:
        env: that the present lifetimes are drawn from.
        processes: with whom the meta-batch is shared.
        step_count: outer steps that are done.
        seconds: that these cost.
        run: tells it from others that begin alike.
        plan: of the run on disk that it continues, if it does.
        places: the folders that it was saved to.
    """

    env: gym.Env[Any, Any]
    processes: Processes
    step_count: int
    seconds: float
    run: str
    plan: Plan | None
    places: dict[Path, RunFolder]

    @abstractmethod
    def __init__(self, learner: Learner[Any], env: gym.Env[Any, Any], **arguments: Any) -> None: ...

    @abstractmethod
    def progress(self) -> dict[str, Any]:
        """All but tensors that continuing needs, fit for JSON."""

    @abstractmethod
    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """The optimizer's tensors by name."""

    @abstractmethod
    def restore(self, progress: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Continues where :meth:`progress` and :meth:`optimizer_tensors` were taken, to the bit.

        Raises:
            InvalidState: if they are not of a trainer like this one.
        """

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a checkpoint as ``flp train`` does: it can be evaluated, exported and resumed, here or there.

        The environment is recorded by its id and keyword arguments. Where these do not describe it, as it has no id or
        is wrapped, it must be given again, to :meth:`resume` or with ``flp evaluate --env``.

        Args:
            folder: where to; created if need be. What this trainer saved there before is replaced atomically.
            overwrite: whether to replace the checkpoint of another one as well.

        Raises:
            CheckpointError: if the folder holds another trainer's checkpoint or cannot be written to, or if the learner
                or one of its parts is of a class that is not registered.
        """
        if not self.processes.writes:
            return
        place = Path(folder).resolve()
        if overwrite or place not in self.places:
            if not overwrite and (place / checkpoint.DESCRIPTION).exists():
                raise CheckpointError(
                    f"{place} holds another checkpoint already: choose another folder, or overwrite=True"
                )
            self.places[place] = RunFolder(place)
        of_run = {"data": data_of(self.env) or None, "result": None}
        about, progress = state_of(self, self.plan or plan_of(self), self.seconds, self.run, of_run)
        self.places[place].save(self.learner, about, progress=progress, optimizer=self.optimizer_tensors())

    @classmethod
    def resume(
        cls: type[Trainer],
        folder: str | os.PathLike[str],
        env: gym.Env[Any, Any] | None = None,
        *,
        device: str = "cpu",
        processes: Processes = Processes(),
    ) -> Trainer:
        """Continues with what :meth:`save` or ``flp train`` has saved, to the bit; torch's random state is set too.

        Args:
            folder: of the checkpoint.
            env: that draws the lifetimes, with the random state that was saved; by default made by the recorded id.
            device: where the tensors live.
            processes: with whom the meta-batch is shared.

        Raises:
            CheckpointError: if there is no checkpoint, or one for inference only, or one that does not say its
                environment.
        """
        saved, plan, progress = load_resumable(folder)
        used = plan.make_train_env() if env is None else env
        check_same_data(folder, saved, data_of(used) or None)
        learner = saved.learner.to(device)
        learner.set_task(used)
        set_precision(learner, plan.settings.outer_loop.precision)
        arguments = trainer_arguments(learner, used, plan.settings, plan.rates)
        trainer = cls(learner, used, **arguments, processes=processes, seed=plan.seed)
        trainer.seconds = restore(folder, trainer, progress, saved.optimizer)
        trainer.plan, trainer.run = plan if env is None else None, progress.get("run", trainer.run)
        trainer.places[Path(folder).resolve()] = RunFolder(Path(folder).resolve(), read=saved.digest)
        return trainer


def state_of(
    trainer: SavedTrainer, plan: Plan, seconds: float, run: str, of_run: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a checkpoint says of a trainer, and what it needs to go on.

    Args:
        trainer: it.
        plan: of its run.
        seconds: that it cost so far.
        run: tells it from other runs of the same plan.
        of_run: what else is to be known of it.
    """
    about = {
        **plan.to_json(),
        "outer_steps_done": trainer.step_count,
        "cost_seconds": round(seconds, 3),
        "threads": torch.get_num_threads(),
        "meta_gradient": describe(trainer.learner),
        **of_run,
    }
    progress = {
        **trainer.progress(),
        "seconds": seconds,
        "torch_random_state": bytes(torch.get_rng_state().tolist()).hex(),
        "run": run,
    }
    return about, progress


def load_resumable(folder: str | os.PathLike[str]) -> tuple[Checkpoint, Plan, RunProgress]:
    """A checkpoint that holds training state, with its plan and that state.

    Raises:
        CheckpointError: if there is none, if it was saved for inference only, or if that state is none.
    """
    saved = checkpoint.load(folder)
    if saved.progress is None:
        raise CheckpointError(f"checkpoint {folder} holds no training state: it can be evaluated, not resumed")
    plan = Plan.from_json(saved.about)
    return saved, plan, checked_progress(saved.progress, Path(folder))


def check_same_data(folder: str | os.PathLike[str], saved: Checkpoint, data: Mapping[str, str] | None) -> None:
    """Makes sure that a run goes on with the data that it began with.

    Raises:
        CheckpointError: if it would not.
    """
    if saved.about.get("data", data) != data:
        raise CheckpointError(
            f"checkpoint {folder} was meta-trained on other data, {saved.about['data']}, than {data}: "
            "name the data_root that holds them, or begin a new run"
        )


def restore(
    folder: str | os.PathLike[str],
    trainer: SavedTrainer,
    progress: RunProgress,
    optimizer: Mapping[str, torch.Tensor],
) -> float:
    """Continues where a checkpoint was saved, to the bit, with torch's random state; returns the seconds so far.

    Raises:
        CheckpointError: if it is another trainer's.
    """
    try:
        trainer.restore(progress, optimizer)
    except InvalidState as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from None
    torch.set_rng_state(random_state(progress))
    return float(progress["seconds"])
