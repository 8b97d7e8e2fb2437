"""Store all: weights and activities of every inner step are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flp_agents.closed_form.gradient import Keep
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import Rollout, step_by_step
from flp_agents.lifetime.meta_gradient import rollout_in_closed_form
from flp_agents.lifetime.strategies.strategy import MemoryStrategy, register_strategy


@register_strategy("full")
@dataclass(frozen=True)
class Full(MemoryStrategy):
    """The exact gradient; weights and activities of every inner step are kept."""

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        return rollout_in_closed_form(learner, state, features, targets, Keep(), step_by_step, online)
