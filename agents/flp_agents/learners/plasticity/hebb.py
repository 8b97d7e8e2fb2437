"""Hebb's rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flp_agents.learners.plasticity.rule import register_rule


@register_rule("hebb")
@dataclass(frozen=True)
class Hebb:
    """Hebb's rule, ``w += alpha sum_n b a``: Oja's without the decay."""

    def __call__(self, weight: Tensor, pre: Tensor, post: Tensor, coefficient: Tensor, unit: float = 1.0) -> Tensor:
        return torch.addcmul(weight, coefficient, post.transpose(1, 2) @ pre, value=unit)
