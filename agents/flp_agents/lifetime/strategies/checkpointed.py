"""Checkpointed: segments of a lifetime are run once more in the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from flp_agents.closed_form.gradient import Keep
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.encoding import encode_episode
from flp_agents.lifetime.inner_loop import Rollout, step_by_step
from flp_agents.lifetime.meta_gradient import rollout_in_closed_form
from flp_agents.lifetime.strategies.strategy import MemoryStrategy, register_strategy, segment_length


@register_strategy("checkpointed")
@dataclass(frozen=True)
class Checkpointed(MemoryStrategy):
    """The exact gradient; only the state before every segment is kept, and each segment is run once more.

    What the trunk computed between inputs and features is computed once more as well.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost".

    Attributes:
        every: inner steps in a segment; by default the square root of the lifetime, which keeps least.
    """

    every: int | None = None

    def check(self, learner: Learner[Any], steps: int) -> None:
        segment_length(self, steps)

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        def encode(x: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return learner.encode(x)
            features: Tensor = checkpoint(learner.encode, x, use_reentrant=False, preserve_rng_state=False)
            return features

        return encode_episode(learner, support, query, encode, online)

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        keep = Keep(segment_length(self, features.shape[1]), activity=False, weights=False)
        return rollout_in_closed_form(learner, state, features, targets, keep, self._by_autograd, online)

    def _by_autograd(
        self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, online: bool
    ) -> Rollout:
        if not torch.is_grad_enabled():
            return step_by_step(learner, state, features, targets, online)
        every = segment_length(self, features.shape[1])
        predictions = []
        for x, y in zip(torch.split(features, every, 1), torch.split(targets, every, 1), strict=True):
            leaves, structure = pytree.tree_flatten(state)

            def segment(x: Tensor, y: Tensor, *leaves: Tensor, structure: Any = structure) -> Rollout:
                return step_by_step(learner, pytree.tree_unflatten(list(leaves), structure), x, y, online)

            state, made = checkpoint(segment, x, y, *leaves, use_reentrant=False, preserve_rng_state=False)
            predictions.append(made)
        return Rollout(state, torch.cat(predictions, 1) if online else None)
