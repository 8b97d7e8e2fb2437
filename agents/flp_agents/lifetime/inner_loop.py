"""The inner loop, step after step, in operations that autograd can differentiate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from flp_agents.learners.learner import Learner


class Rollout(NamedTuple):
    """What a pass through a lifetime's support steps leaves.

    Attributes:
        state: after the last of them.
        predictions: ``(E, T, B, n_y)`` made along the way, each before its target was seen; none: not wanted.
    """

    state: Any
    predictions: Tensor | None


def inner_loop(
    learner: Learner[Any],
    state: Any,
    features: Tensor,
    targets: Tensor,
    on_prediction: Callable[[Tensor], None] | None = None,
    on_update: Callable[[Any, Tensor, Any], None] | None = None,
) -> Any:
    """Predicts and learns, step after step.

    Args:
        learner: runs through the steps.
        state: of ``E`` lifetimes.
        features: ``(E, T, B, ...)`` encoded inputs.
        targets: ``(E, T, B, n_y)``.
        on_prediction: is given every prediction ``(E, B, n_y)``, before the learner receives the target.
        on_update: is given the state after every prediction, the target ``(E, B, n_y)``, and the state after learning.

    Returns:
        The state after the last step.
    """
    for x, y in zip(features.unbind(1), targets.unbind(1), strict=True):
        predictions, state = learner.predict(state, x)
        if on_prediction is not None:
            on_prediction(predictions)
        learned = learner.update(state, y)
        if on_update is not None:
            on_update(state, y, learned)
        state = learned
    return learner.settle(state)


def step_by_step(learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, online: bool) -> Rollout:
    """By automatic differentiation."""
    predictions: list[Tensor] = []
    state = inner_loop(learner, state, features, targets, predictions.append if online else None)
    return Rollout(state, torch.stack(predictions, 1) if online else None)


def with_constant_updates(learner: Learner[Any], state: Any, features: Tensor, targets: Tensor) -> Rollout:
    """A lifetime in which every update counts as a shift of the initial state that depends on nothing.

    Every prediction has a graph of one step, from the initial state. Few of them are there at once: each segment of a
    square root of the lifetime is run once more in the backward pass.
    """
    every = max(1, math.isqrt(features.shape[1]))
    initial = learner.settle(state)
    leaves, structure = pytree.tree_flatten(initial)

    def segment(x: Tensor, y: Tensor, now: Any, *leaves: Tensor) -> Rollout:
        initial = pytree.tree_unflatten(list(leaves), structure)
        predictions = []
        for x_t, y_t in zip(x.unbind(1), y.unbind(1), strict=True):
            made, after = learner.predict(pytree.tree_map(shifted, initial, now), x_t)
            predictions.append(made)
            with torch.no_grad():
                # Detached as well: what an update leaves as it was still has its graph.
                now = pytree.tree_map(Tensor.detach, learner.settle(learner.update(after, y_t)))
        return Rollout(now, torch.stack(predictions, 1))

    now = pytree.tree_map(Tensor.detach, initial)
    predictions = []
    for x, y in zip(torch.split(features, every, 1), torch.split(targets, every, 1), strict=True):
        now, made = checkpoint(segment, x, y, now, *leaves, use_reentrant=False, preserve_rng_state=False)
        predictions.append(made)
    return Rollout(pytree.tree_map(shifted, initial, now), torch.cat(predictions, 1))


def shifted(initial: Tensor, now: Tensor) -> Tensor:
    """The value of ``now``, which has no graph, with the gradient of ``initial``."""
    return now + (initial - initial.detach()) if initial.is_floating_point() else now
