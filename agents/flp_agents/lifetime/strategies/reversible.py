"""Reversible: the plasticity rule's steps are undone in the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flp_agents.closed_form.gradient import Keep
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import Rollout, step_by_step
from flp_agents.lifetime.meta_gradient import not_covered, rollout_in_closed_form
from flp_agents.lifetime.strategies.strategy import (
    MemoryStrategy,
    UnsupportedStrategy,
    register_strategy,
    segment_length,
)


@register_strategy("reversible")
@dataclass(frozen=True)
class Reversible(MemoryStrategy):
    """The exact gradient up to rounding: activities are kept, and weights are found by undoing the plasticity rule.

    The weights before every segment are kept as well, so that rounding errors do not add up over a lifetime. A segment
    with a step that cannot be undone, or only by magnifying errors, is replayed from them.

    Attributes:
        every: inner steps in a segment; by default the square root of the lifetime.
    """

    every: int | None = None

    def check(self, learner: Learner[Any], steps: int) -> None:
        segment_length(self, steps)
        reason = not_covered(learner)
        if reason is not None:
            raise UnsupportedStrategy(f"Reversible undoes plasticity in closed form: {reason}: use Checkpointed")

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        self.check(learner, features.shape[1])
        keep = Keep(segment_length(self, features.shape[1]), activity=True, weights=False)
        return rollout_in_closed_form(learner, state, features, targets, keep, step_by_step, online)
