"""What is known of lifetimes afterwards: every answer's loss, and what the query would have found on the way."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import inner_loop
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

Array = NDArray[np.float64]
# The largest loss that is kept: far above any that somebody could use, and far below what overflows when squared.
LARGEST_LOSS = 1e100
# Of an environment that does not say whether its sub-tasks follow one another.
EPISODES_LOOKED_AT = 8


@dataclass(frozen=True, eq=False)
class Questions:
    """When lifetimes of an environment are asked the query, and about what.

    Attributes:
        steps: support steps of every lifetime.
        asked_at: ``(P,)`` numbers of support steps, 0 the first and ``steps`` the last.
        sub_tasks: into which the query's losses are divided.
        in_order: whether ``asked_at`` is birth and the end of every sub-task, which come one after another.
    """

    steps: int
    asked_at: NDArray[np.int64]
    sub_tasks: int
    in_order: bool

    def fit(self, episode: Episode) -> bool:
        """Whether they are right for further episodes.

        Raises:
            UnequalEpisodes: for episodes of another length.
        """
        if episode.support_steps != self.steps:
            raise UnequalEpisodes(
                f"expected episodes of one length, got {self.steps} and {episode.support_steps} support steps"
            )
        ends = end_of_each_task(episode)
        return not self.in_order or (ends is not None and np.array_equal(ends, self.asked_at[1:]))

    def of_mixed(self) -> Questions:
        """The same number of them, at equal distances, for sub-tasks that do not follow one another."""
        ends = np.unique(np.round(np.linspace(0, self.steps, self.sub_tasks + 1)[1:]).astype(np.int64))
        return Questions(self.steps, np.concatenate([[0], ends]), self.sub_tasks, False)


class UnequalEpisodes(FLPError, ValueError):
    """Episodes of one environment that differ in length."""


class NotFinite(FLPError, ValueError):
    """A learner whose answers are not numbers any more."""


@dataclass(frozen=True)
class LifetimeRecord:
    """``E`` lifetimes; losses are in the environment's metric, squared error or per cent of wrong labels.

    Attributes:
        support_losses: ``(E, T)`` of every support step's answer, given before its target was told.
        asked_at: ``(P,)`` numbers of support steps after which the query was asked, the last one ``T``.
        query_losses: ``(E, P, K)`` on each sub-task; NaN for one that the query of that episode leaves out.
        query_scores: ``(E,)`` on the whole query at the end: the episode's score.
        answers: ``(E, P, Q, B, n_y)`` to the query, or labels ``(E, P, Q, B)``.
        query_task: ``(E, Q)`` the sub-task of each query step.
        task_ends: whether ``asked_at`` is birth and the end of every sub-task, which come one after another.
        seconds: of the processor's time for an inner step of one lifetime: answering, and learning.
        state_bytes: of what one lifetime keeps at its end.
    """

    support_losses: Array
    asked_at: NDArray[np.int64]
    query_losses: Array
    query_scores: Array
    answers: NDArray[Any]
    query_task: NDArray[np.int64]
    task_ends: bool
    seconds: float
    state_bytes: int


def questions_for(env: gym.Env[Any, Any], seed: int = 0) -> Questions:
    """When to ask lifetimes of an environment: a fact about it, not about the episodes that a seed happens to draw.

    A task says by ``interleaving`` whether its sub-tasks follow one another: 0 if they do. Of one that does not say,
    some episodes are looked at, and sub-tasks follow one another if they do so in all of these, with the same ends.

    Args:
        env: any that speaks the episode protocol; it is seeded, and drawn from.
        seed: of what is drawn.
    """
    said = getattr(getattr(env.unwrapped, "task", None), "interleaving", None)
    seed_env(env, seed)
    drawn = [draw_episodes(env, 1) for _ in range(EPISODES_LOOKED_AT if said is None else 1)]
    questions = _questions_of(drawn[0])
    sub_tasks = max(int(episode.support_task.max()) + 1 for episode in drawn)
    if said not in (None, 0) or not all(questions.fit(episode) for episode in drawn) or not questions.in_order:
        return replace(questions, sub_tasks=sub_tasks).of_mixed()
    return questions


@torch.no_grad()
def record_lifetimes(learner: Learner[Any], episode: Episode, questions: Questions | None = None) -> LifetimeRecord:
    """Lives through ``E`` episodes, and asks the query at birth and after every sub-task.

    Where sub-tasks are mixed, it asks as often, at equal distances. A learner that says ``trains_for_query``, since
    each query costs it a training, is asked at the end only.

    Args:
        learner: who lives.
        episode: ``E`` episodes.
        questions: when to ask; none: as these episodes have it, which by chance may be in order.

    Raises:
        NotFinite: naming the first episode and step at which an answer is not finite; or if a loss is beyond use.
    """
    tensors = EpisodeTensors.of(learner, episode)
    support, query = learner.encode(tensors.support_x), learner.encode(tensors.query_x)
    questions = questions or _questions_of(episode)
    asked_at, in_order = questions.asked_at, questions.in_order
    if getattr(learner, "trains_for_query", False):
        asked_at, in_order = asked_at[-1:], False

    losses: list[Array] = []

    def judge(answers: Tensor) -> None:
        step = len(losses)
        _check_finite(answers, f"support step {step}")
        losses.append(_kept(learner.objective.scores(answers, tensors.support_y[:, step]), f"support step {step}"))

    query_losses: list[Array] = []
    answers_then: list[NDArray[Any]] = []
    state, lived, seconds = learner.init(len(episode)), 0, 0.0
    for moment in asked_at.tolist():
        part, started = slice(lived, moment), time.process_time()
        state = inner_loop(learner, state, support[:, part], tensors.support_y[:, part], judge)
        seconds += time.process_time() - started
        lived = moment
        answers = learner.answer_all(state, query)
        _check_finite(answers, f"the query after {lived} support steps")
        query_losses.append(_step_losses(learner, answers, tensors.query_y, lived))
        answers_then.append(learner.objective.actions(answers).cpu().numpy())
    by_step = np.stack(query_losses, 1)
    return LifetimeRecord(
        support_losses=np.stack(losses, 1),
        asked_at=asked_at,
        query_losses=_by_task(by_step, episode.query_task, questions.sub_tasks),
        query_scores=by_step[:, -1].mean(1),
        answers=np.stack(answers_then, 1),
        query_task=episode.query_task,
        task_ends=in_order,
        seconds=seconds / (len(episode) * max(1, episode.support_steps)),
        state_bytes=size_of(state) // len(episode),
    )


def end_of_each_task(episode: Episode) -> NDArray[np.int64] | None:
    """``(K,)`` numbers of support steps after which sub-tasks 0, 1, ... end; none unless they follow one another so in
    every episode, at the same time."""
    order = episode.support_task[0]
    if (np.diff(episode.support_task, axis=1) < 0).any() or (episode.support_task != order).any():
        return None
    return np.asarray([int(np.flatnonzero(order == task)[-1]) + 1 for task in np.unique(order)])


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


def _questions_of(episode: Episode) -> Questions:
    ends = end_of_each_task(episode)
    sub_tasks, steps = int(episode.support_task.max()) + 1, episode.support_steps
    asked_at = np.concatenate([[0], [] if ends is None else ends]).astype(np.int64)
    questions = Questions(steps, asked_at, sub_tasks, ends is not None)
    return questions.of_mixed() if ends is None else questions


def _check_finite(answers: Tensor, where: str) -> None:
    fine = torch.isfinite(answers).flatten(1).all(1)
    if not fine.all():
        raise NotFinite(f"answered NaN or infinity in lifetime {int((~fine).nonzero()[0, 0])}, {where}")


def _step_losses(learner: Learner[Any], answers: Tensor, targets: Tensor, lived: int) -> Array:
    """``(E, Q)``, each query step's."""
    lifetimes, steps = answers.shape[:2]
    scores = learner.objective.scores(answers.flatten(0, 1), targets.flatten(0, 1))
    return _kept(scores.reshape(lifetimes, steps), f"the query after {lived} support steps")


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
