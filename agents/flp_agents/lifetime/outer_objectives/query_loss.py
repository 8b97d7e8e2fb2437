"""The loss on the query, as in the paper."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flp_agents.lifetime.outer_objectives.outer_objective import Outcome, register_outer_objective


@register_outer_objective("query")
@dataclass(frozen=True)
class QueryLoss:
    """The mean loss on the query after the last support step.

    Source: section 4.1 of Lindsey & Litwin-Kumar (2020).
    """

    needs_support = False
    needs_query = True

    def losses(self, outcome: Outcome) -> Tensor:
        return outcome.query.losses
