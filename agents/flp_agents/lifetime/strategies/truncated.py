"""Truncated: the gradient goes through the last inner steps only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import Rollout, with_constant_updates
from flp_agents.lifetime.strategies.store_all import Full
from flp_agents.lifetime.strategies.strategy import MemoryStrategy, register_strategy
from flp_base.errors import InvalidSize, check_at_least


@register_strategy("truncated")
@dataclass(frozen=True)
class Truncated(MemoryStrategy):
    """An approximate gradient: through the last inner steps only.

    What happened before them is taken for a shift of the initial weights that depends on nothing, so that with 0 steps
    it is first-order MAML (Finn et al., 2017) and with all of them exact. Predictions made before them are
    differentiated like that too: in the weights that made them, and through these in the initial ones.

    Attributes:
        steps: how many of the last inner steps.
    """

    steps: int

    def check(self, learner: Learner[Any], steps: int) -> None:
        if check_at_least("steps of Truncated", self.steps, 0) > steps:
            raise InvalidSize(f"{self}: a lifetime has {steps} inner steps: choose at most as many")

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        self.check(learner, features.shape[1])
        cut = features.shape[1] - self.steps
        if online and not torch.is_grad_enabled():
            return Full().rollout(learner, state, features, targets, online=True)
        early = None
        if cut and online:
            state, early = with_constant_updates(learner, state, features[:, :cut], targets[:, :cut])
        elif cut:
            with torch.no_grad():
                after = Full().rollout(learner, state, features[:, :cut], targets[:, :cut], online=False).state
            state = pytree.tree_map(
                lambda initial, now: initial + (now - initial).detach(), learner.settle(state), after
            )
        if cut == features.shape[1]:
            return Rollout(state, early)
        late = Full().rollout(learner, state, features[:, cut:], targets[:, cut:], online=online)
        if early is None or late.predictions is None:
            return late
        return Rollout(late.state, torch.cat([early, late.predictions], 1))
