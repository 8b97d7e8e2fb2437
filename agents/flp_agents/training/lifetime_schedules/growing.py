"""Lifetimes that grow from outer step to outer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flp_agents.support.settings import option
from flp_agents.training.lifetime_schedules.lifetime_schedule import Stage, register_lifetime_schedule
from flp_agents.training.lifetime_schedules.ranges import check_ranges, ranges_of, stages_at_the_ends


@register_lifetime_schedule("growing")
@dataclass(frozen=True)
class Growing:
    """Moves options of the environment evenly from the low to the high end of their ranges, and leaves them there.

    Raises:
        InvalidSize: if ``grow`` is neither empty nor names ranges; and when it is used, if it is empty.
    """

    grow: str = option("", "ranges of the environment's options: num_classes=5..100")
    steps: int = option(1000, "outer steps until they are at the high end", least=1)

    def __post_init__(self) -> None:
        check_ranges("grow", self.grow)

    def stage(self, step: int, seed: int) -> Stage:
        share = min(1.0, step / self.steps)
        return Stage(
            {name: round(low + share * (high - low)) for name, (low, high) in ranges_of("grow", self.grow).items()}
        )

    def extremes(self) -> Sequence[Stage]:
        return stages_at_the_ends("grow", self.grow)
