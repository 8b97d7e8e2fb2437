"""How the outer loss is differentiated through a lifetime: swappable strategies.

A strategy runs through the support steps. What it keeps of them decides what the gradient costs in memory and time.
The outer loss may depend on the state after the last step and on the predictions along the way.
Learners whose plastic tail is a plain chain (see ``closed_form/description.py``) are differentiated in closed form; all
others by automatic differentiation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from flp_agents.closed_form import gradient as chain_gradient
from flp_agents.closed_form.description import ChainTensors, Form
from flp_agents.closed_form.gradient import Keep, NotCovered
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import Rollout, step_by_step, with_constant_updates
from flp_base.errors import FLPError, InvalidSize, check_at_least
from flp_base.renamed import Renamed


class UnsupportedStrategy(FLPError, ValueError):
    """A strategy that this learner cannot be meta-trained with."""


class ByAutograd(UserWarning):
    """A learner that the closed form does not cover is differentiated by autograd: the same gradient, more slowly."""


class MetaGradient(Protocol):
    """A way to run through a lifetime so that what comes out can be differentiated.

    ``online`` says whether predictions along the way are wanted, and will be differentiated as well.
    """

    def check(self, learner: Learner[Any], steps: int) -> None:
        """Makes sure that it can be used on lifetimes of so many inner steps.

        Raises:
            UnsupportedStrategy: if the learner cannot be meta-trained in this way.
            InvalidSize: if the strategy does not fit the number of inner steps.
        """
        ...

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        """A lifetime's inputs ``(E, T, B, ...)`` and ``(E, Q, B, ...)`` encoded; without a query nothing for it."""
        ...

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        """Runs through the support steps, as :func:`inner_loop` does with the same arguments; checks first."""
        ...


class _Encodes:
    live: Any = Renamed("rollout")

    def check(self, learner: Learner[Any], steps: int) -> None:
        """Fits always."""

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        return _encoded(learner, support, query, learner.encode, online)


class _EncodesTwice:
    """Forgets what the trunk did between input and features, and does it once more on the way back."""

    live: Any = Renamed("rollout")

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        def encode(x: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return learner.encode(x)
            features: Tensor = checkpoint(learner.encode, x, use_reentrant=False, preserve_rng_state=False)
            return features

        return _encoded(learner, support, query, encode, online)


@dataclass(frozen=True)
class Autograd(_Encodes):
    """The exact gradient, by automatic differentiation even of learners that are known a shorter way."""

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        return _encoded_together(support, query, learner.encode)

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        return step_by_step(learner, state, features, targets, online)


@dataclass(frozen=True)
class Full(_Encodes):
    """The exact gradient; weights and activities of every inner step are kept."""

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        return _in_closed_form(learner, state, features, targets, Keep(), step_by_step, online)


@dataclass(frozen=True)
class Checkpointed(_EncodesTwice):
    """The exact gradient; only the state before every segment is kept, and each segment is run once more.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost".

    Attributes:
        every: inner steps in a segment; by default the square root of the lifetime, which keeps least.
    """

    every: int | None = None

    def check(self, learner: Learner[Any], steps: int) -> None:
        _segment(self, steps)

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        keep = Keep(_segment(self, features.shape[1]), activity=False, weights=False)
        return _in_closed_form(learner, state, features, targets, keep, self._by_autograd, online)

    def _by_autograd(
        self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, online: bool
    ) -> Rollout:
        if not torch.is_grad_enabled():
            return step_by_step(learner, state, features, targets, online)
        every = _segment(self, features.shape[1])
        predictions = []
        for x, y in zip(torch.split(features, every, 1), torch.split(targets, every, 1), strict=True):
            leaves, structure = pytree.tree_flatten(state)

            def segment(x: Tensor, y: Tensor, *leaves: Tensor, structure: Any = structure) -> Rollout:
                return step_by_step(learner, pytree.tree_unflatten(list(leaves), structure), x, y, online)

            state, made = checkpoint(segment, x, y, *leaves, use_reentrant=False, preserve_rng_state=False)
            predictions.append(made)
        return Rollout(state, torch.cat(predictions, 1) if online else None)


@dataclass(frozen=True)
class Reversible(_Encodes):
    """The exact gradient up to rounding: activities are kept, and weights are found by undoing the plasticity rule.

    The weights before every segment are kept as well, so that rounding errors do not add up over a lifetime. A segment
    with a step that cannot be undone, or only by magnifying errors, is replayed from them.

    Attributes:
        every: inner steps in a segment; by default the square root of the lifetime.
    """

    every: int | None = None

    def check(self, learner: Learner[Any], steps: int) -> None:
        _segment(self, steps)
        reason = not_covered(learner)
        if reason is not None:
            raise UnsupportedStrategy(f"Reversible undoes plasticity in closed form: {reason}: use Checkpointed")

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        self.check(learner, features.shape[1])
        keep = Keep(_segment(self, features.shape[1]), activity=True, weights=False)
        return _in_closed_form(learner, state, features, targets, keep, step_by_step, online)


@dataclass(frozen=True)
class Truncated(_Encodes):
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


STRATEGIES: dict[str, Callable[[int], MetaGradient]] = {
    "full": lambda _: Full(),
    "checkpointed": lambda steps: Checkpointed(steps or None),
    "reversible": lambda steps: Reversible(steps or None),
    "truncated": lambda steps: Truncated(steps),
    "autograd": lambda _: Autograd(),
}


def not_covered(learner: Learner[Any]) -> str | None:
    """Why a learner has no meta-gradient in closed form, or none if it has."""
    try:
        with torch.random.fork_rng(devices=[]):  # some draw their initial state; this must not change what comes next
            _plastic_chain(learner, learner.init(1))
    except NotCovered as reason:
        return str(reason)
    return None


def describe(learner: Learner[Any]) -> str:
    """How a learner's meta-gradient is computed here, in a few words."""
    if _to_first_order(learner):
        return "to first order, without a graph of the lifetime"
    reason = not_covered(learner)
    if reason is not None:
        return f"by autograd ({reason})"
    parameter = next(learner.parameters())
    return f"in closed form, {chain_gradient.engine_name(parameter.device, parameter.dtype)}"


# What a closed form does in one go.
_INNER_STEP = ("predict", "update", "settle", "_after_feedback")


def _overridden(learner: Learner[Any], closed_form: str) -> str | None:
    """The part of an inner step that a subclass does in another way than the closed form that it inherits, if any."""
    order = type(learner).__mro__
    first = {
        name: next((place for place, cls in enumerate(order) if name in vars(cls)), len(order))
        for name in (*_INNER_STEP, closed_form)
    }
    return next((name for name in _INNER_STEP if first[name] < first[closed_form]), None)


def _plastic_chain(learner: Learner[Any], state: Any) -> tuple[Form, ChainTensors]:
    """The learner as a plastic chain.

    Raises:
        NotCovered: if it is not one, or is a subclass of one that learns in another way.
    """
    described = learner.plastic_chain(state)
    if (name := _overridden(learner, "plastic_chain")) is not None:
        raise NotCovered(f"{type(learner).__name__} has its own {name}(), and no plastic_chain()", surprising=True)
    return described


def _to_first_order(learner: Learner[Any]) -> bool:
    return learner.first_order and _overridden(learner, "rollout_to_first_order") is None


def _encoded(
    learner: Learner[Any], support: Tensor, query: Tensor | None, encode: Callable[[Tensor], Tensor], online: bool
) -> tuple[Tensor, Tensor | None]:
    """Nothing but predictions along the way comes back to the support's features of what learns to first order."""
    if online or query is None or not _to_first_order(learner) or not torch.is_grad_enabled():
        return _encoded_together(support, query, encode)
    with torch.no_grad():
        features = learner.encode(support)
    return features, encode(query)


def _encoded_together(
    support: Tensor, query: Tensor | None, encode: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """In one pass through the trunk."""
    if query is None:
        return encode(support), None
    features = encode(torch.cat([support, query], 1))
    return features[:, : support.shape[1]], features[:, support.shape[1] :]


def _segment(strategy: Checkpointed | Reversible, steps: int) -> int:
    if strategy.every is None:
        return max(1, math.isqrt(steps))
    if check_at_least(f"every of {type(strategy).__name__}", strategy.every, 1) > steps:
        raise InvalidSize(f"{strategy}: a lifetime has {steps} inner steps: choose every of at most {steps}")
    return strategy.every


def _in_closed_form(
    learner: Learner[Any],
    state: Any,
    features: Tensor,
    targets: Tensor,
    keep: Keep,
    otherwise: Callable[[Learner[Any], Any, Tensor, Tensor, bool], Rollout],
    online: bool,
) -> Rollout:
    """Runs through the plastic chain if the learner is one, in one step to first order, and ``otherwise`` if not."""
    if _to_first_order(learner) and torch.is_grad_enabled():
        if not online:
            return Rollout(learner.rollout_to_first_order(state, features, targets), None)
        if _overridden(learner, "predict_to_first_order") is None:
            predictions, state = learner.predict_to_first_order(state, features, targets)
            return Rollout(state, predictions)
    try:
        form, tensors = _plastic_chain(learner, state)
    except NotCovered as reason:
        if reason.surprising and torch.is_grad_enabled():
            warnings.warn(f"the meta-gradient is found by autograd: {reason}", ByAutograd, stacklevel=3)
        return otherwise(learner, state, features, targets, online)
    if not online:
        return Rollout(
            learner.with_weights(state, chain_gradient.rollout(form, tensors, features, targets, keep)), None
        )
    predictions, weights = chain_gradient.predict(form, tensors, features, targets, keep)
    return Rollout(learner.with_weights(state, weights), predictions)
