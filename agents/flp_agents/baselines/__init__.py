"""Learners to compare with, none of them meta-trained here.

One file for each, which cites its source; ``building`` makes them to fit an environment.
Imports ``training`` and packages below it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from flp_agents.learners.learner import Learner

__all__ = ["ALTERNATIVES", "META_TRAINED_START"]


def _build(name: str, env: gym.Env[Any, Any], seed: int = 0) -> Learner[Any]:
    from flp_agents.baselines.building import build_alternative  # only when one is wanted

    return build_alternative(name, env, seed)


# Name to builder, called with an environment and the seed of all that the learner draws.
ALTERNATIVES: dict[str, Callable[[gym.Env[Any, Any], int], Learner[Any]]] = {
    name: partial(_build, name)
    for name in (
        "sgd",
        "adam",
        "sgd-meta-trained",
        "adam-meta-trained",
        "direct-feedback-alignment",
        "feedback-alignment",
        "experience-replay",
        "ewc",
        "joint-training",
        "nearest-neighbour",
        "kernel",
        "ridge",
    )
}
# Those whose weights at birth are of the bundled gradient-based checkpoint of an environment.
META_TRAINED_START = ("sgd-meta-trained", "adam-meta-trained")
