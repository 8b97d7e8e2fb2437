"""Asking the query early: its loss over the lifetime, and what learning one sub-task does to earlier ones.

Source: figure 2B and appendix C of Lindsey & Litwin-Kumar (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.evaluation.metrics import interference
from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import Objective, SquaredError
from flp_agents.lifetime.query_schedule import end_of_each_task
from flp_agents.lifetime.querying import run_and_query
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import InvalidSize
from flp_envs.episode import Episode

Array = NDArray[np.float64]
# Points of a curve over a lifetime, or up to twice as many: more than that, no figure shows.
MOST_POINTS = 80


def distance_of_points(support_steps: int) -> int:
    """Support steps from one point of a curve over a lifetime to the next."""
    return max(1, support_steps // MOST_POINTS)


def moments_of(support_steps: int) -> list[int]:
    """The initial state, the end, and numbers of support steps at equal distances in between."""
    return [*range(0, support_steps, distance_of_points(support_steps)), support_steps]


@torch.no_grad()
def predictions_over_lifetime(learner: Learner[Any], episode: Episode, at: Sequence[int]) -> Array:
    """What the learner would predict for the query if its lifetime ended earlier.

    Args:
        learner: runs through it.
        episode: ``E`` episodes.
        at: ``K`` numbers of support steps, ascending; 0 is in the initial state.

    Returns:
        ``(K, E, Q, B, n_y)`` of the output units, whatever the objective makes of them.

    Raises:
        InvalidSize: if ``at`` does not ascend within 0..T.
    """
    if list(at) != sorted(at) or not at or at[0] < 0 or at[-1] > episode.support_steps:
        raise InvalidSize(f"at must ascend within 0..{episode.support_steps}, got {list(at)}")
    queried = run_and_query(learner, EpisodeTensors.of(learner, episode), at)
    return np.stack([then.predictions.cpu().double().numpy() for then in queried])


def query_loss_over_lifetime(predictions: Array, episode: Episode, objective: Objective = SquaredError()) -> Array:
    """The loss that meta-training minimises, on the whole query, over the lifetime.

    Args:
        predictions: ``(K, E, Q, B, n_y)`` of :func:`predictions_over_lifetime`.
        episode: the same ``E`` episodes.
        objective: the learner's.

    Returns:
        ``(K, E)``, mean squared error, or cross-entropy in nats.
    """
    return _scored(predictions, episode, objective, objective.losses)


def query_score_over_lifetime(predictions: Array, episode: Episode, objective: Objective = SquaredError()) -> Array:
    """The environment's metric instead: squared error, or per cent of wrong labels; otherwise the same."""
    return _scored(predictions, episode, objective, objective.scores)


def change_on_earlier_tasks(learner: Learner[Any], episode: Episode) -> Array:
    """Figure 2B: how much learning one sub-task changes the predictions on all earlier ones.

    Args:
        learner: runs through it.
        episode: ``E`` continual episodes: sub-tasks 0, 1, ... one after another.

    Returns:
        ``(E, sub-tasks - 1)``, mean squared change, or per cent of labels that became another: see
        :func:`flp_agents.evaluation.metrics.interference`.

    Raises:
        InvalidSize: if the sub-tasks do not come one after another, all at the same time in every episode.
    """
    ends = end_of_each_task(episode)
    if ends is None:
        raise InvalidSize("expected continual episodes, whose sub-tasks 0, 1, ... come one after another")
    predictions = torch.from_numpy(predictions_over_lifetime(learner, episode, [0, *ends.tolist()]))
    return interference(learner.objective.actions(predictions).numpy().swapaxes(0, 1), episode.query_task)


def _scored(
    predictions: Array, episode: Episode, objective: Objective, score: Callable[[Tensor, Tensor], Tensor]
) -> Array:
    targets = objective.targets(torch.from_numpy(episode.query_y))
    values = [score(torch.from_numpy(then), targets.reshape(then.shape)).numpy() for then in predictions]
    return np.stack(values).astype(np.float64)
