"""How the outer learning rates change over the outer steps."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine")


def rate_factor(schedule: str, step: int, *, outer_steps: int, warm_up: int) -> float:
    """What the rates are multiplied by in one outer step.

    Args:
        schedule: one of :data:`SCHEDULES`; "cosine" goes from 1 at the first outer step to 0.01 at the last.
        step: counted from 0.
        outer_steps: how many outer steps the schedule spans.
        warm_up: outer steps over which the factor rises from 0.
    """
    factor = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    if schedule == "cosine":
        progress = min(1.0, step / outer_steps)
        factor *= 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))
    return factor
