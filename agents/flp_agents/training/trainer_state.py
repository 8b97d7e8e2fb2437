"""How far a run is, as its checkpoint has it, and what must hold before it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch

from flp_agents.learners.learner import Learner
from flp_agents.support.schema import WrongValue, fit
from flp_agents.training.checkpoint import CheckpointError
from flp_base.errors import FLPError, InvalidSize, check_at_least, check_number


class InvalidState(FLPError, ValueError):
    """A trainer's state that does not belong to this trainer; the text names the part."""


class _Since(TypedDict, total=False):
    patience: int
    inner_steps_done: int
    drawn_at: int


class TrainerProgress(_Since):
    """How far a trainer is, besides tensors; checkpoints of earlier versions do not say all.

    ``inner_steps_done`` is there while lifetimes are in progress, and ``random_state`` what these were drawn from then.
    ``drawn_at`` is the outer step at which the last lifetimes were drawn.
    """

    step_count: int
    skipped_total: int
    skipped_in_a_row: int
    random_state: Mapping[str, Any]


def trainer_progress(content: Mapping[str, Any]) -> TrainerProgress:
    """How far a trainer is, if it has all parts, but for the random state, which only its owner knows.

    Raises:
        InvalidState: naming the part that is wrong.
    """
    try:
        progress: TrainerProgress = fit("progress", content, TrainerProgress)
        for name in ("step_count", "skipped_total", "skipped_in_a_row", "inner_steps_done", "drawn_at"):
            check_at_least(f"progress.{name}", progress.get(name, 0), 0)
        check_at_least("progress.patience", progress.get("patience", 1), 1)
    except (WrongValue, InvalidSize) as error:
        raise InvalidState(str(error)) from None
    return progress


class _OfVersions(TypedDict, total=False):
    run: str
    full_lifetime: bool


class RunProgress(TrainerProgress, _OfVersions):
    """How far a run is, besides tensors, and which run it is; checkpoints of earlier versions say other parts."""

    seconds: float
    torch_random_state: str


def checked_progress(content: dict[str, Any], folder: Path) -> RunProgress:
    """A run's progress, if it has all parts, of the right types, but for random states, which only their owners know.

    Raises:
        CheckpointError: naming the part that is wrong.
    """
    try:
        progress: RunProgress = fit("progress", content, RunProgress)
        check_number("progress.seconds", progress["seconds"], least=0)
        random_state(progress)
    except (WrongValue, InvalidSize) as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from None
    return progress


def random_state(progress: RunProgress) -> torch.Tensor:
    """The state of torch's random numbers.

    Raises:
        WrongValue: if it is none.
    """
    try:
        state = torch.tensor(list(bytes.fromhex(progress["torch_random_state"])), dtype=torch.uint8)
        torch.Generator().set_state(state)
    except (ValueError, RuntimeError, TypeError):
        raise WrongValue("progress.torch_random_state must be the state of torch's random numbers") from None
    return state


def take_over(learner: Learner[Any], saved: Learner[Any], folder: Path) -> None:
    """Loads what was saved into the learner that the plan makes.

    Raises:
        CheckpointError: if they are not the same.
    """
    own, other = ({name: t.shape for name, t in of.state_dict().items()} for of in (learner, saved))
    if type(learner) is not type(saved) or own != other:
        raise CheckpointError(
            f"checkpoint {folder}: about.learner and about.settings are of another learner than the one that was saved"
        )
    learner.load_state_dict(saved.state_dict())
