"""One lifetime: the library's only inner loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.meta_gradient import Full, MetaGradient
from flp_base.errors import FLPError
from flp_envs.episode import Episode


@dataclass(frozen=True)
class Lifetime:
    """What came of ``E`` lifetimes.

    Attributes:
        state: the learner's state after the last support step.
        query_answers: ``(E, Q, B, n_y)``.
        query_loss: ``(E,)`` the objective's loss on the query, differentiable in the meta-parameters.
        query_score: ``(E,)`` its metric.
    """

    state: Any
    query_answers: Tensor
    query_loss: Tensor
    query_score: Tensor


class EpisodeTensors(NamedTuple):
    """``E`` episodes on the learner's device; shapes as in :class:`~flp_envs.episode.Episode`, labels one-hot."""

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    @classmethod
    def of(cls, learner: Learner[Any], episode: Episode) -> EpisodeTensors:
        """An episode's arrays as tensors of the learner's device and type."""
        return cls(
            learner.tensor(episode.support_x),
            learner.targets(episode.support_y),
            learner.tensor(episode.query_x),
            learner.targets(episode.query_y),
        )

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of all four."""
        return tuple(tensor.shape for tensor in self)

    def part(self, lifetimes: slice) -> EpisodeTensors:
        """Some of the lifetimes."""
        return EpisodeTensors(*(tensor[lifetimes] for tensor in self))


def run_lifetime(
    learner: Learner[Any], episode: Episode | EpisodeTensors, state: Any = None, *, meta_gradient: MetaGradient = Full()
) -> Lifetime:
    """Lives through a batch of episodes at once and answers the query at the end.

    The trunk never enters the inner loop, and the query is answered once, after the last support step.

    Args:
        learner: who lives; its parameters' device and dtype are used.
        episode: ``E`` episodes.
        state: of ``E`` lifetimes before the first step; none: newborn.
        meta_gradient: how the loop is differentiated.

    Returns:
        The final state, the answers to the query, and their loss for each lifetime.

    Raises:
        FLPError: if the answers have another shape than the targets.
    """
    tensors = episode if isinstance(episode, EpisodeTensors) else EpisodeTensors.of(learner, episode)
    support, query = meta_gradient.encode(learner, tensors.support_x, tensors.query_x)
    born = learner.init(len(tensors.support_x)) if state is None else state
    state = meta_gradient.live(learner, born, support, tensors.support_y)
    answers = learner.answer_all(state, query)
    if answers.shape != tensors.query_y.shape:
        raise FLPError(f"expected answers of shape {tuple(tensors.query_y.shape)}, got {tuple(answers.shape)}")
    loss = learner.objective.losses(answers, tensors.query_y)
    with torch.no_grad():
        score = learner.objective.scores(answers, tensors.query_y)
    return Lifetime(state, answers, loss, score)
