"""Local plasticity rules: a synapse changes by what its two ends do, and by nothing else.

A rule is a pure function of presynaptic activity, postsynaptic activity, weight and coefficient. To add one: write a
frozen dataclass with the same ``__call__``, and decorate it with :func:`register_rule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from flp_base.errors import FLPError

Rule = TypeVar("Rule", bound="type[PlasticityRule]")


class RuleError(FLPError, ValueError):
    """A plasticity rule that cannot be registered."""


class PlasticityRule(Protocol):
    """How a layer's weights change in one inner step."""

    def __call__(self, weight: Tensor, pre: Tensor, post: Tensor, coefficient: Tensor, unit: float = 1.0) -> Tensor:
        """The weights after one inner step.

        Args:
            weight: ``(E, out, in)``, one set for each lifetime.
            pre: ``(E, B, in)`` presynaptic activity.
            post: ``(E, B, out)`` postsynaptic activity, after feedback.
            coefficient: plasticity coefficients, of any shape that broadcasts to ``(out, in)``.
            unit: what the coefficients are multiplied by.

        Returns:
            ``(E, out, in)``.
        """
        ...


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


@dataclass(frozen=True)
class Hebb:
    """Hebb's rule, ``w += alpha sum_n b a``: Oja's without the decay."""

    def __call__(self, weight: Tensor, pre: Tensor, post: Tensor, coefficient: Tensor, unit: float = 1.0) -> Tensor:
        return torch.addcmul(weight, coefficient, post.transpose(1, 2) @ pre, value=unit)


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


RULES: dict[str, type[PlasticityRule]] = {"oja": Oja, "hebb": Hebb, "normalised-oja": NormalisedOja}


def register_rule(name: str) -> Callable[[Rule], Rule]:
    """Makes a plasticity rule known by a name, as a decorator of its class: ``flp train --rule NAME --plugin FILE``.

    The class is a frozen dataclass whose fields, its hyperparameters, all have defaults. Checkpoints can name it.

    Raises:
        RuleError: if it is not, or if another rule has this name.
    """

    def register(rule: Rule) -> Rule:
        if not is_dataclass(rule) or not any("__call__" in vars(base) for base in rule.__mro__):
            raise RuleError(f"expected the rule {name!r} to be a frozen dataclass with __call__, got {rule}")
        for field in fields(rule):
            if field.init and field.default is field.default_factory is MISSING:
                raise RuleError(f"the field {field.name} of the rule {name!r} needs a default")
        earlier = RULES.get(name)
        if earlier is not None and (earlier.__module__, earlier.__qualname__) != (rule.__module__, rule.__qualname__):
            raise RuleError(f"another plasticity rule is named {name!r} already: choose another name")
        RULES[name] = rule
        return rule

    return register
