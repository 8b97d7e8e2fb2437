"""Lifetimes in progress as a checkpoint holds them: their state, and what their episodes are drawn from once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.estimators.estimator import Estimator
from flp_agents.lifetime.in_progress import LifetimesInProgress
from flp_agents.training.trainer_state import InvalidState
from flp_envs.recording import draw_episodes

# Before the number of a tensor of the state, among the optimizer's tensors.
_PREFIX = "carried/"


def carried_tensors(lifetimes: LifetimesInProgress | None) -> dict[str, Tensor]:
    """The state's tensors by name; nothing if no lifetimes are in progress."""
    leaves = [] if lifetimes is None else pytree.tree_leaves(lifetimes.state)
    return {f"{_PREFIX}{i}": leaf.contiguous() for i, leaf in enumerate(leaves)}


def parted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state's tensors, and all others."""
    carried = {name: tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
    return carried, {name: tensor for name, tensor in tensors.items() if name not in carried}


def resumed(
    learner: Learner[Any],
    env: gym.Env[Any, Any],
    meta_batch: int,
    estimator: Estimator,
    inner_steps: int,
    carried: Mapping[str, Tensor],
) -> LifetimesInProgress | None:
    """Lifetimes in progress, whose episodes are drawn from ``env`` once more; none if none were saved.

    Raises:
        InvalidState: if they are not of a trainer like this one.
    """
    if not inner_steps and not carried:
        return None
    drawn_from = env.unwrapped.np_random.bit_generator.state
    lifetimes = LifetimesInProgress(draw_episodes(env, meta_batch), estimator.window, drawn_from)
    if not 0 < inner_steps < lifetimes.steps or inner_steps % lifetimes.window:
        raise InvalidState(
            f"progress.inner_steps_done is {inner_steps}, which is between no two windows of {lifetimes.window} inner "
            f"steps in lifetimes of {lifetimes.steps}"
        )
    with torch.random.fork_rng(devices=[]):  # some draw their initial state; that is not what comes next
        expected, structure = pytree.tree_flatten(estimator.init(learner, meta_batch))
    saved = [carried.get(f"{_PREFIX}{i}") for i in range(len(expected))]
    forms = [None if leaf is None else (leaf.shape, leaf.dtype) for leaf in saved]
    if len(carried) != len(expected) or forms != [(leaf.shape, leaf.dtype) for leaf in expected]:
        raise InvalidState("the optimizer's tensors hold no state of the lifetimes in progress, or another learner's")
    leaves = [leaf.to(as_.device, copy=True) for leaf, as_ in zip(saved, expected, strict=True) if leaf is not None]
    lifetimes.position, lifetimes.state = inner_steps, pytree.tree_unflatten(leaves, structure)
    return lifetimes
