"""Oja's rule with a bounded step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flp_agents.learners.plasticity.oja import Oja
from flp_agents.learners.plasticity.rule import register_rule


@register_rule("normalised-oja")
@dataclass(frozen=True)
class NormalisedOja:
    """Oja's rule, its step divided by ``1 + |alpha| sum_n b^2``.

    A positive ``alpha``, however large, takes a synapse part of the way to where Oja's rule would settle on this
    minibatch, and never beyond: weights cannot grow by oscillating. As long as ``alpha sum_n b^2`` is small it is Oja's
    rule. Has no closed-form meta-gradient.
    Source: the division is that of normalised least mean squares; for ``alpha > 0`` it is the same as taking the decay
    of Oja's rule at the weights after the step.
    """

    def __call__(self, weight: Tensor, pre: Tensor, post: Tensor, coefficient: Tensor, unit: float = 1.0) -> Tensor:
        step = unit * coefficient
        return Oja()(weight, pre, post, step / (1 + step.abs() * post.square().sum(dim=1).unsqueeze(-1)))
