"""The loss of the predictions along the way."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flp_agents.lifetime.outer_objectives.outer_objective import Outcome, register_outer_objective


@register_outer_objective("online")
@dataclass(frozen=True)
class OnlineLoss:
    """The mean loss over the support steps of the predictions along the way, each made before its target is seen.

    Source: the prequential loss of Dawid (1984), "Statistical Theory: The Prequential Approach".
    """

    needs_support = True
    needs_query = False

    def losses(self, outcome: Outcome) -> Tensor:
        return outcome.support.losses
