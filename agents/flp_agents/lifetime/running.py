"""One lifetime: the library's only inner loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import Rollout
from flp_agents.lifetime.outer_objectives.outer_objective import (
    Outcome,
    OuterObjective,
    Predictions,
    UnsupportedObjective,
    check_outer_objective,
)
from flp_agents.lifetime.outer_objectives.query_loss import QueryLoss
from flp_agents.lifetime.strategies.store_all import Full
from flp_agents.lifetime.strategies.strategy import MetaGradient
from flp_base.errors import FLPError
from flp_base.renamed import Renamed, renamed_method
from flp_envs.episode import Episode


@dataclass(frozen=True)
class Lifetime:
    """The results of ``E`` lifetimes.

    Attributes:
        state: the learner's state after the last support step.
        outer_loss: ``(E,)`` what the outer objective makes of the predictions, differentiable in the meta-parameters.
        outcome: the predictions that the outer objective needs.
    """

    state: Any
    outer_loss: Tensor
    outcome: Outcome
    query_answers: ClassVar[Any] = Renamed("query_predictions")

    @property
    def support_predictions(self) -> Tensor | None:
        """``(E, T, B, n_y)`` made along the way, each before its target was seen; none: the outer objective does not
        need them."""
        return None if self.outcome.kept_support is None else self.outcome.kept_support.values

    @property
    def query_predictions(self) -> Tensor:
        """``(E, Q, B, n_y)``.

        Raises:
            UnsupportedObjective: if the query was not run, as the outer objective does not need it.
        """
        return self.outcome.query.values

    @property
    def query_loss(self) -> Tensor:
        """``(E,)`` the learner's objective's loss on the query, differentiable in the meta-parameters; raises like
        :attr:`query_predictions`."""
        return self.outcome.query.losses

    @property
    def query_score(self) -> Tensor:
        """``(E,)`` its metric; raises like :attr:`query_predictions`."""
        return self.outcome.query.scores


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
    learner: Learner[Any],
    episode: Episode | EpisodeTensors,
    state: Any = None,
    *,
    meta_gradient: MetaGradient = Full(),
    outer_objective: OuterObjective = QueryLoss(),
) -> Lifetime:
    """Runs through a batch of episodes at once, and predicts the query at the end if the outer objective needs it.

    The trunk never enters the inner loop, and the query is predicted once, after the last support step.

    Args:
        learner: whose parameters' device and dtype are used.
        episode: ``E`` episodes.
        state: of ``E`` lifetimes before the first step; none: the initial one.
        meta_gradient: how the loop is differentiated.
        outer_objective: what lifetimes are optimised for. What it does not need is not computed.

    Returns:
        The final state, the predictions that the outer objective needs, and its loss for each lifetime.

    Raises:
        FLPError: if the predictions have another shape than the targets.
        UnsupportedObjective: if ``outer_objective`` is none, or the strategy does not provide what it needs.
    """
    wanted = check_outer_objective(outer_objective)
    tensors = episode if isinstance(episode, EpisodeTensors) else EpisodeTensors.of(learner, episode)
    support, query = meta_gradient.encode(
        learner, tensors.support_x, tensors.query_x if wanted.needs_query else None, online=wanted.needs_support
    )
    initial = learner.init(len(tensors.support_x)) if state is None else state
    # A strategy of a user's own may have been written under the old name.
    roll_out = renamed_method(meta_gradient, "rollout", "live")
    rollout: Rollout = roll_out(learner, initial, support, tensors.support_y, online=wanted.needs_support)
    if wanted.needs_support and rollout.predictions is None:
        raise UnsupportedObjective(
            f"{wanted} needs the predictions along the way, which {meta_gradient} does not provide: use another "
            "strategy, such as Full()"
        )
    outcome = Outcome(
        _predictions(learner, rollout.predictions, tensors.support_y),
        None if query is None else _predictions(learner, learner.predict_all(rollout.state, query), tensors.query_y),
    )
    losses = wanted.losses(outcome)
    if losses.shape != (len(tensors.support_x),):
        raise UnsupportedObjective(
            f"expected of {wanted} one loss for each of {len(tensors.support_x)} lifetimes, got losses of shape "
            f"{tuple(losses.shape)}"
        )
    return Lifetime(rollout.state, losses, outcome)


def _predictions(learner: Learner[Any], values: Tensor | None, targets: Tensor) -> Predictions | None:
    if values is None:
        return None
    if values.shape != targets.shape:
        raise FLPError(f"expected predictions of shape {tuple(targets.shape)}, got {tuple(values.shape)}")
    return Predictions(values, targets, learner.objective)
