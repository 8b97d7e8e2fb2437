"""What is known of lifetimes afterwards: every prediction's loss, and the query's losses along the way."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.query_schedule import QuerySchedule
from flp_agents.lifetime.querying import run_and_query
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError
from flp_base.renamed import Renamed
from flp_envs.episode import Episode

Array = NDArray[np.float64]
# The largest loss that is kept: far above any that somebody could use, and far below what overflows when squared.
LARGEST_LOSS = 1e100


class NotFinite(FLPError, ValueError):
    """A learner whose predictions are not numbers any more."""


@dataclass(frozen=True)
class LifetimeRecord:
    """``E`` lifetimes; losses are in the environment's metric, squared error or per cent of wrong labels.

    Attributes:
        support_losses: ``(E, T)`` of every support step's prediction, made before its target was seen.
        queried_at: ``(P,)`` numbers of support steps after which the query was predicted, the last one ``T``.
        query_losses: ``(E, P, K)`` on each sub-task; NaN for one that the query of that episode leaves out.
        query_scores: ``(E,)`` on the whole query at the end: the episode's score.
        query_predictions: ``(E, P, Q, B, n_y)``, or labels ``(E, P, Q, B)``.
        query_task: ``(E, Q)`` the sub-task of each query step.
        task_ends: whether ``queried_at`` is the initial state and the end of every sub-task, which come one after
            another.
        seconds: of the processor's time for an inner step of one lifetime: predicting, and learning.
        state_bytes: of what one lifetime keeps at its end.
    """

    support_losses: Array
    queried_at: NDArray[np.int64]
    query_losses: Array
    query_scores: Array
    query_predictions: NDArray[Any]
    query_task: NDArray[np.int64]
    task_ends: bool
    seconds: float
    state_bytes: int
    asked_at: ClassVar[Any] = Renamed("queried_at")
    answers: ClassVar[Any] = Renamed("query_predictions")


@torch.no_grad()
def record_lifetimes(learner: Learner[Any], episode: Episode, schedule: QuerySchedule | None = None) -> LifetimeRecord:
    """Runs through ``E`` episodes, and queries the learner in its initial state and after every sub-task.

    Where sub-tasks are mixed, there are as many queries, at equal distances. A learner that says ``trains_for_query``,
    since each query costs it a training, is queried at the end only.

    Args:
        learner: runs through them.
        episode: ``E`` episodes.
        schedule: when to query; none: as these episodes have it, which by chance may be in order.

    Raises:
        NotFinite: naming the first episode and step at which a prediction is not finite; or if a loss is beyond use.
    """
    tensors = EpisodeTensors.of(learner, episode)
    schedule = schedule or QuerySchedule.of_episodes(episode)
    queried_at, in_order = schedule.queried_at, schedule.in_order
    if getattr(learner, "trains_for_query", False):
        queried_at, in_order = queried_at[-1:], False

    losses: list[Array] = []

    def score(predictions: Tensor) -> None:
        step = len(losses)
        _check_finite(predictions, f"support step {step}")
        losses.append(_kept(learner.objective.scores(predictions, tensors.support_y[:, step]), f"support step {step}"))

    query_losses: list[Array] = []
    query_predictions: list[NDArray[Any]] = []
    seconds, state_bytes = 0.0, 0
    for queried in run_and_query(learner, tensors, queried_at.tolist(), score):
        seconds += queried.seconds
        _check_finite(queried.predictions, f"the query after {queried.step} support steps")
        query_losses.append(_step_losses(learner, queried.predictions, tensors.query_y, queried.step))
        query_predictions.append(learner.objective.actions(queried.predictions).cpu().numpy())
        if queried.step == queried_at[-1]:
            state_bytes = size_of(queried.state) // len(episode)
    by_step = np.stack(query_losses, 1)
    return LifetimeRecord(
        support_losses=np.stack(losses, 1),
        queried_at=queried_at,
        query_losses=_by_task(by_step, episode.query_task, schedule.sub_tasks),
        query_scores=by_step[:, -1].mean(1),
        query_predictions=np.stack(query_predictions, 1),
        query_task=episode.query_task,
        task_ends=in_order,
        seconds=seconds / (len(episode) * max(1, episode.support_steps)),
        state_bytes=state_bytes,
    )


def size_of(state: Any) -> int:
    """Bytes of a state: of its tensors and arrays, and of whatever else is in it as pickle would write it."""
    total = 0
    for leaf in pytree.tree_leaves(state):
        if isinstance(leaf, Tensor):
            total += leaf.numel() * leaf.element_size()
        elif isinstance(leaf, np.ndarray):
            total += leaf.nbytes
        elif leaf is not None:
            total += _pickled_size(leaf)
    return total


def _pickled_size(value: Any) -> int:
    try:
        return len(pickle.dumps(value))
    except Exception:
        return 0  # Something that cannot be written down, such as an open file: nobody can say how large it is.


def _check_finite(predictions: Tensor, where: str) -> None:
    fine = torch.isfinite(predictions).flatten(1).all(1)
    if not fine.all():
        raise NotFinite(f"predicted NaN or infinity in lifetime {int((~fine).nonzero()[0, 0])}, {where}")


def _step_losses(learner: Learner[Any], predictions: Tensor, targets: Tensor, step: int) -> Array:
    """``(E, Q)``, each query step's."""
    lifetimes, steps = predictions.shape[:2]
    scores = learner.objective.scores(predictions.flatten(0, 1), targets.flatten(0, 1))
    return _kept(scores.reshape(lifetimes, steps), f"the query after {step} support steps")


def _by_task(losses: Array, tasks: NDArray[np.int64], count: int) -> Array:
    """``(E, P, Q)`` losses of query steps as means over each sub-task, ``(E, P, K)``."""
    belongs = tasks[:, None, :, None] == np.arange(count)
    sums = (losses[..., None] * belongs).sum(2)
    number = belongs.sum(2)
    means: Array = np.divide(sums, number, out=np.full(sums.shape, np.nan), where=number > 0)
    return means


def _kept(losses: Tensor, where: str) -> Array:
    """``(E, ...)`` losses, none of which is beyond use."""
    array: Array = losses.detach().cpu().double().numpy()
    kept = (array <= LARGEST_LOSS).reshape(len(array), -1).all(1)
    if not kept.all():
        raise NotFinite(
            f"its losses grow beyond {LARGEST_LOSS:g}, towards NaN or infinity in lifetime {int(kept.argmin())}, "
            f"{where}: take smaller steps, or clip them"
        )
    return array
