"""Automatic differentiation of the whole lifetime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.encoding import encode_together
from flp_agents.lifetime.inner_loop import Rollout, step_by_step
from flp_agents.lifetime.strategies.strategy import MemoryStrategy, register_strategy


@register_strategy("autograd")
@dataclass(frozen=True)
class Autograd(MemoryStrategy):
    """The exact gradient, by automatic differentiation even of learners that are known a shorter way."""

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        return encode_together(support, query, learner.encode)

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        return step_by_step(learner, state, features, targets, online)
