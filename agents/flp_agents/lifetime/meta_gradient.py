"""How the meta-gradient of a learner is computed: in closed form, to first order, or by automatic differentiation.

Learners whose plastic tail is a plain chain (see ``closed_form/description.py``) are differentiated in closed form; all
others by automatic differentiation. What is kept for that is a memory strategy's choice, see ``strategies``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flp_agents.closed_form import gradient as chain_gradient
from flp_agents.closed_form.description import ChainTensors, Form
from flp_agents.closed_form.gradient import Keep, NotCovered
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import Rollout


class ByAutograd(UserWarning):
    """A learner that the closed form does not cover is differentiated by autograd: the same gradient, more slowly."""


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
    if is_first_order(learner):
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


def is_first_order(learner: Learner[Any]) -> bool:
    """Whether a learner's gradient is to first order, and found without a graph of the lifetime."""
    return learner.first_order and _overridden(learner, "rollout_to_first_order") is None


def rollout_in_closed_form(
    learner: Learner[Any],
    state: Any,
    features: Tensor,
    targets: Tensor,
    keep: Keep,
    otherwise: Callable[[Learner[Any], Any, Tensor, Tensor, bool], Rollout],
    online: bool,
) -> Rollout:
    """Runs through the plastic chain if the learner is one, in one step to first order, and ``otherwise`` if not."""
    if is_first_order(learner) and torch.is_grad_enabled():
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
