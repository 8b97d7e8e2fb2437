"""A lifetime's inputs through the trunk, which never enters the inner loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.meta_gradient import is_first_order


def encode_episode(
    learner: Learner[Any], support: Tensor, query: Tensor | None, encode: Callable[[Tensor], Tensor], online: bool
) -> tuple[Tensor, Tensor | None]:
    """Inputs ``(E, T, B, ...)`` and ``(E, Q, B, ...)`` through ``encode``; without a query nothing for it.

    To the support's features of what learns to first order, a gradient comes from predictions along the way at most:
    where there are none, they have no graph.
    """
    if online or query is None or not is_first_order(learner) or not torch.is_grad_enabled():
        return encode_together(support, query, encode)
    with torch.no_grad():
        features = learner.encode(support)
    return features, encode(query)


def encode_together(
    support: Tensor, query: Tensor | None, encode: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Inputs ``(E, T, B, ...)`` and ``(E, Q, B, ...)`` in one pass through ``encode``."""
    if query is None:
        return encode(support), None
    features = encode(torch.cat([support, query], 1))
    return features[:, : support.shape[1]], features[:, support.shape[1] :]
