"""Outer objectives: what lifetimes are optimised for, a number that meta-training makes small.

An outer objective says which predictions of a lifetime it needs, and what they amount to. How the lifetime is
differentiated, or whether it is at all, is no concern of its: see :mod:`flp_agents.lifetime.meta_gradient` for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from flp_agents.learners.objective import Objective
from flp_base.errors import FLPError, check_number, in_short


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


@dataclass(frozen=True)
class QueryLoss:
    """The mean loss on the query after the last support step.

    Source: section 4.1 of Lindsey & Litwin-Kumar (2020).
    """

    needs_support = False
    needs_query = True

    def losses(self, outcome: Outcome) -> Tensor:
        return outcome.query.losses


@dataclass(frozen=True)
class OnlineLoss:
    """The mean loss over the support steps of the predictions along the way, each made before its target is seen.

    Source: the prequential loss of Dawid (1984), "Statistical Theory: The Prequential Approach".
    """

    needs_support = True
    needs_query = False

    def losses(self, outcome: Outcome) -> Tensor:
        return outcome.support.losses


@dataclass(frozen=True)
class Mixed:
    """``weight`` times :class:`OnlineLoss` plus ``1 - weight`` times :class:`QueryLoss`.

    Attributes:
        weight: from 0, the query alone, to 1, the predictions along the way alone.

    Raises:
        InvalidSize: for another weight.
    """

    weight: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", check_number("weight of Mixed", self.weight, least=0, most=1))

    @property
    def needs_support(self) -> bool:
        return self.weight > 0

    @property
    def needs_query(self) -> bool:
        return self.weight < 1

    def losses(self, outcome: Outcome) -> Tensor:
        if not self.needs_support:
            return outcome.query.losses
        if not self.needs_query:
            return outcome.support.losses
        return self.weight * outcome.support.losses + (1 - self.weight) * outcome.query.losses


def check_outer_objective(given: Any) -> OuterObjective:
    """Returns ``given`` if it is an outer objective.

    Raises:
        UnsupportedObjective: if it is none, or the class of one.
    """
    parts = ("needs_support", "needs_query", "losses")
    if isinstance(given, type) or (missing := [name for name in parts if not hasattr(given, name)]):
        lacks = "is a class" if isinstance(given, type) else f"has no {missing[0]}"
        raise UnsupportedObjective(
            f"expected an outer objective such as QueryLoss(), OnlineLoss() or Mixed(0.5), got {in_short(given)}, "
            f"which {lacks}"
        )
    return cast("OuterObjective", given)
