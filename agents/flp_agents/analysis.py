"""What happens within a lifetime. Source: section 7.2 and figure 2 of Lindsey & Litwin-Kumar (2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flp_agents.learner import Learner
from flp_agents.lifetime_record import end_of_each_task
from flp_agents.meta_gradient import inner_loop
from flp_agents.metrics import interference
from flp_datasets.errors import InvalidSize
from flp_envs.episode import Episode


@torch.no_grad()
def answers_over_lifetime(learner: Learner[Any], episode: Episode, at: Sequence[int]) -> NDArray[np.float64]:
    """What the learner would answer to the query if its lifetime ended earlier.

    Args:
        learner: who lives.
        episode: ``E`` episodes.
        at: ``K`` numbers of support steps, ascending; 0 is at birth.

    Returns:
        ``(K, E, Q, B, n_y)``.

    Raises:
        InvalidSize: if ``at`` does not ascend within 0..T.
    """
    if list(at) != sorted(at) or not at or at[0] < 0 or at[-1] > episode.support_steps:
        raise InvalidSize(f"at must ascend within 0..{episode.support_steps}, got {list(at)}")
    support = learner.encode(learner.tensor(episode.support_x))
    support_y = learner.tensor(episode.support_y)
    query = learner.encode(learner.tensor(episode.query_x))
    state, done, answers = learner.init(len(episode)), 0, []
    for step in at:
        state = inner_loop(learner, state, support[:, done:step], support_y[:, done:step])
        answers.append(learner.answer_all(state, query).cpu().double().numpy())
        done = step
    return np.stack(answers)


def query_loss_over_lifetime(answers: NDArray[np.float64], episode: Episode) -> NDArray[np.float64]:
    """Mean squared error of :func:`answers_over_lifetime` on the whole query, ``(K, E)``."""
    error = answers - episode.query_y.reshape(answers.shape[1:])
    return np.asarray(np.square(error).mean(axis=(2, 3, 4)))


def change_on_earlier_tasks(learner: Learner[Any], episode: Episode) -> NDArray[np.float64]:
    """Figure 2B: how much learning one sub-task changes the answers on all earlier ones.

    Args:
        learner: who lives.
        episode: ``E`` continual episodes: sub-tasks 0, 1, ... one after another.

    Returns:
        ``(E, sub-tasks - 1)``: see :func:`flp_agents.metrics.interference`.

    Raises:
        InvalidSize: if the sub-tasks do not come one after another, all at the same time in every episode.
    """
    ends = end_of_each_task(episode)
    if ends is None:
        raise InvalidSize("expected continual episodes, whose sub-tasks 0, 1, ... come one after another")
    answers = answers_over_lifetime(learner, episode, [0, *ends.tolist()])
    return interference(answers.swapaxes(0, 1), episode.query_task)
