"""Lifetimes of random lengths, drawn anew for each outer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flp_agents.support.settings import option
from flp_agents.training.lifetime_schedules.lifetime_schedule import Stage, register_lifetime_schedule
from flp_agents.training.lifetime_schedules.ranges import check_ranges, ranges_of, stages_at_the_ends


@register_lifetime_schedule("random")
@dataclass(frozen=True)
class RandomLengths:
    """Draws options of the environment for each outer step, each uniformly from the whole numbers of its range.

    Raises:
        InvalidSize: if ``vary`` is neither empty nor names ranges; and when it is used, if it is empty.
    """

    vary: str = option("", "ranges of the environment's options: num_classes=10..200,shots=1..15")

    def __post_init__(self) -> None:
        check_ranges("vary", self.vary)

    def stage(self, step: int, seed: int) -> Stage:
        random = np.random.default_rng([seed, step])
        drawn = {
            name: int(random.integers(low, high + 1)) for name, (low, high) in ranges_of("vary", self.vary).items()
        }
        return Stage(drawn)

    def extremes(self) -> Sequence[Stage]:
        return stages_at_the_ends("vary", self.vary)
