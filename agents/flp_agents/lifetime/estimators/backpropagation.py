"""Back-propagation through whole lifetimes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.estimators.estimator import Estimate, Estimator, register_estimator
from flp_agents.lifetime.outer_objectives.outer_objective import OuterObjective, UnsupportedObjective
from flp_agents.lifetime.running import EpisodeTensors, run_lifetime
from flp_agents.lifetime.strategies.store_all import Full
from flp_agents.lifetime.strategies.strategy import STRATEGIES, MetaGradient
from flp_agents.support.settings import Section, option, register_settings


@register_settings("backpropagation")
@dataclass(frozen=True)
class BackpropagationSettings(Section):
    """Of back-propagation through whole lifetimes, and through windows of them."""

    meta_gradient: str = option("full", "memory strategy", choices=STRATEGIES)
    gradient_steps: int = option(0, "inner steps in a segment (0: their square root), or truncated to")


@register_estimator("backpropagation")
@dataclass(frozen=True)
class Backpropagation(Estimator):
    """Back-propagates the outer loss through the whole lifetime.

    Source: section 4.1 of Lindsey & Litwin-Kumar (2020).

    Attributes:
        strategy: what is kept of a lifetime for that.
    """

    strategy: MetaGradient = Full()

    def check(self, learner: Learner[Any], steps: int) -> None:
        self.strategy.check(learner, steps)

    def differentiate(
        self, learner: Learner[Any], episodes: EpisodeTensors, state: Any, outer_objective: OuterObjective
    ) -> Estimate:
        return Estimate(backpropagate(self.strategy, learner, episodes, state, outer_objective)[0])


def backpropagate(
    strategy: MetaGradient,
    learner: Learner[Any],
    episodes: EpisodeTensors,
    state: Any,
    outer_objective: OuterObjective,
) -> tuple[Tensor, Any]:
    """The mean outer loss without a graph, and the state after the last support step; gradients are added to ``grad``.

    Raises:
        UnsupportedObjective: if the outer loss depends on none of the meta-parameters.
    """
    lifetime = run_lifetime(learner, episodes, state, meta_gradient=strategy, outer_objective=outer_objective)
    loss = lifetime.outer_loss.mean()
    if not loss.requires_grad:
        raise UnsupportedObjective(
            f"{outer_objective} of {type(learner).__name__} depends on none of its meta-parameters: use another outer "
            "objective, or a learner whose predictions are differentiable"
        )
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), lifetime.state
