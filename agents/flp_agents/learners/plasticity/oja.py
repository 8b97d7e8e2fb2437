"""Oja's rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flp_agents.learners.plasticity.rule import register_rule


@register_rule("oja")
@dataclass(frozen=True)
class Oja:
    """Oja's rule, ``w += alpha (sum_n b a - (sum_n b^2) w)``, summed over the minibatch.

    The decay bounds the weights as long as ``alpha sum_n b^2`` stays well under 2.
    Source: section 4 of Lindsey & Litwin-Kumar (2020), after Oja (1982).
    """

    def __call__(self, weight: Tensor, pre: Tensor, post: Tensor, coefficient: Tensor, unit: float = 1.0) -> Tensor:
        decay = post.square().sum(dim=1).unsqueeze(-1)
        hebb = post.transpose(1, 2) @ pre
        # Without a gradient nobody needs the steps in between, and large ones cost as much in memory as in arithmetic.
        place = None if torch.is_grad_enabled() else hebb
        change = torch.addcmul(hebb, decay, weight, value=-1.0, out=place)
        return torch.addcmul(weight, coefficient, change, value=unit, out=place)
