"""The loss of the predictions along the way and that on the query."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flp_agents.lifetime.outer_objectives.outer_objective import Outcome, register_outer_objective
from flp_agents.support.settings import option
from flp_base.errors import check_number


@register_outer_objective("mixed")
@dataclass(frozen=True)
class Mixed:
    """``weight`` times :class:`OnlineLoss` plus ``1 - weight`` times :class:`QueryLoss`.

    Attributes:
        weight: from 0, the query alone, to 1, the predictions along the way alone.

    Raises:
        InvalidSize: for another weight.
    """

    weight: float = option(0.5, "of the predictions along the way; the query has the rest", least=0, most=1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", check_number("weight of Mixed", self.weight, least=0, most=1))

    @property
    def needs_support(self) -> bool:
        return self.weight > 0

    @property
    def needs_query(self) -> bool:
        return self.weight < 1

    def losses(self, outcome: Outcome) -> Tensor:
        if not self.needs_support:
            return outcome.query.losses
        if not self.needs_query:
            return outcome.support.losses
        return self.weight * outcome.support.losses + (1 - self.weight) * outcome.query.losses
