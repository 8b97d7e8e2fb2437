"""What an outer objective is, and the registry of outer objectives.

An outer objective says which predictions of a lifetime it needs, and what they amount to. How the lifetime is
differentiated, or whether it is at all, is no concern of its: see :mod:`flp_agents.lifetime.estimators` for that. To
add one: write a frozen dataclass with the members of :class:`OuterObjective`, decorated with
:func:`register_outer_objective`, in a plug-in or in a new file of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from flp_agents.learners.objective import Objective
from flp_base.errors import FLPError, in_short
from flp_base.registry import Registry, RegistryError

Made = TypeVar("Made", bound=type[Any])
_PARTS = ("needs_support", "needs_query", "losses")


class UnsupportedObjective(FLPError, ValueError):
    """An outer objective that is none, or that a learner or a strategy does not provide what it needs."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A learner's predictions for ``E`` lifetimes, with their targets.

    Attributes:
        values: ``(E, S, B, n_y)`` predictions of ``S`` steps.
        targets: of the same shape.
        objective: of the learner: what makes a loss of both.
    """

    values: Tensor
    targets: Tensor
    objective: Objective

    @cached_property
    def losses(self) -> Tensor:
        """``(E,)`` means over all steps, differentiable."""
        return self.objective.losses(self.values, self.targets)

    @property
    def losses_by_step(self) -> Tensor:
        """``(E, S)`` means over each step's minibatch, differentiable."""
        losses = self.objective.losses(self.values.flatten(0, 1), self.targets.flatten(0, 1))
        return losses.reshape(self.values.shape[:2])

    @cached_property
    def scores(self) -> Tensor:
        """``(E,)`` of the objective's metric."""
        with torch.no_grad():
            return self.objective.scores(self.values, self.targets)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a lifetime predicted, as far as the outer objective needs it.

    Attributes:
        kept_support: the predictions along the way, each made before its target was seen; none: not needed.
        kept_query: the predictions of the query after the last support step; none: not needed.
    """

    kept_support: Predictions | None = None
    kept_query: Predictions | None = None

    @property
    def support(self) -> Predictions:
        """The predictions along the way.

        Raises:
            UnsupportedObjective: if the outer objective does not need them.
        """
        if self.kept_support is None:
            raise UnsupportedObjective(
                "the predictions along the way were not kept: use an outer objective whose needs_support is True"
            )
        return self.kept_support

    @property
    def query(self) -> Predictions:
        """The predictions of the query.

        Raises:
            UnsupportedObjective: if the outer objective does not need them.
        """
        if self.kept_query is None:
            raise UnsupportedObjective("the query was not run: use an outer objective whose needs_query is True")
        return self.kept_query


class OuterObjective(Protocol):
    """What lifetimes are optimised for. Nothing that it does not need is computed."""

    @property
    def needs_support(self) -> bool:
        """Whether it looks at the predictions along the way."""
        ...

    @property
    def needs_query(self) -> bool:
        """Whether it looks at the query."""
        ...

    def losses(self, outcome: Outcome) -> Tensor:
        """``(E,)``, one number for each lifetime, differentiable in the predictions that it needs."""
        ...


def _check(name: str, made: Any) -> None:
    if not isinstance(made, type) or not is_dataclass(made) or not all(hasattr(made, part) for part in _PARTS):
        raise RegistryError(
            f"expected the outer objective {name!r} to be a frozen dataclass with {', '.join(_PARTS)}, got {made!r}"
        )
    for field in fields(made):
        if field.init and field.default is field.default_factory is MISSING:
            raise RegistryError(f"the field {field.name} of the outer objective {name!r} needs a default")


#: Classes of outer objectives by the name that ``flp train --outer-objective`` takes.
OUTER_OBJECTIVES: Registry[type[OuterObjective]] = Registry(
    "outer objective",
    package="flp_agents.lifetime.outer_objectives",
    entry_points="flp_envs.outer_objectives",
    check=_check,
)


def register_outer_objective(name: str) -> Callable[[Made], Made]:
    """Makes an outer objective known by a name, as a decorator of its class: ``flp train --outer-objective NAME``.

    The class is a frozen dataclass whose fields all have defaults; those made by :func:`flp_agents.option` can be set.

    Raises:
        RegistryError: if it is not, or if another outer objective has this name.
    """
    return OUTER_OBJECTIVES.register(name)


def check_outer_objective(given: Any) -> OuterObjective:
    """Returns ``given`` if it is an outer objective.

    Raises:
        UnsupportedObjective: if it is none, or the class of one.
    """
    if isinstance(given, type) or (missing := [name for name in _PARTS if not hasattr(given, name)]):
        lacks = "is a class" if isinstance(given, type) else f"has no {missing[0]}"
        raise UnsupportedObjective(
            f"expected an outer objective such as QueryLoss(), OnlineLoss() or Mixed(0.5), got {in_short(given)}, "
            f"which {lacks}"
        )
    return cast("OuterObjective", given)
