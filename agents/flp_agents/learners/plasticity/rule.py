"""What a plasticity rule is, and the registry of rules.

A rule is a pure function of presynaptic activity, postsynaptic activity, weight and coefficient. To add one: write a
frozen dataclass with the same ``__call__``, decorated with :func:`register_rule`, in a plug-in or in a new file of this
package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from flp_agents.support.savable import register_class
from flp_base.registry import Registry, RegistryError

Rule = TypeVar("Rule", bound="type[PlasticityRule]")


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


def _check(name: str, rule: Any) -> None:
    if not is_dataclass(rule) or not any("__call__" in vars(base) for base in getattr(rule, "__mro__", ())):
        raise RegistryError(f"expected the rule {name!r} to be a frozen dataclass with __call__, got {rule}")
    for field in fields(rule):
        if field.init and field.default is field.default_factory is MISSING:
            raise RegistryError(f"the field {field.name} of the rule {name!r} needs a default")


RULES: Registry[type[PlasticityRule]] = Registry(
    "plasticity rule", package="flp_agents.learners.plasticity", entry_points="flp_envs.rules", check=_check
)


def register_rule(name: str) -> Callable[[Rule], Rule]:
    """Makes a plasticity rule known by a name, as a decorator of its class: ``flp train --rule NAME --plugin FILE``.

    The class is a frozen dataclass whose fields, its hyperparameters, all have defaults. Checkpoints can name it.

    Raises:
        RegistryError: if it is not, or if another rule has this name.
    """

    def register(rule: Rule) -> Rule:
        RULES.add(name, rule)
        return register_class(rule)

    return register
