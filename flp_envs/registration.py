"""Every environment id, flat: from an id to its file in one hop. Importing this is cheap: no torch, no data."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from flp_envs.errors import InvalidChoice
from flp_envs.online_env import OnlineLearningEnv
from flp_envs.sine import SineTask
from flp_envs.vector_env import OnlineLearningVectorEnv

ENV_IDS = ("FLPSine-IID-v0", "FLPSine-Continual-v0")


def make_sine_env(*, render_mode: str | None = None, **task: Any) -> OnlineLearningEnv:
    """``FLPSine-*``: keyword arguments are those of :class:`flp_envs.sine.SineTask`."""
    return OnlineLearningEnv(SineTask(**task), render_mode=render_mode)


def make_sine_vector_env(num_envs: int = 1, *, render_mode: str | None = None, **task: Any) -> OnlineLearningVectorEnv:
    """Many ``FLPSine-*`` at once."""
    return OnlineLearningVectorEnv(SineTask(**task), num_envs, render_mode=render_mode)


def register() -> None:
    """Registers all ids with Gymnasium."""
    gym.register(
        id="FLPSine-IID-v0",
        entry_point="flp_envs.registration:make_sine_env",
        vector_entry_point="flp_envs.registration:make_sine_vector_env",
        kwargs={"interleaving": 1.0},
    )
    gym.register(
        id="FLPSine-Continual-v0",
        entry_point="flp_envs.registration:make_sine_env",
        vector_entry_point="flp_envs.registration:make_sine_vector_env",
        kwargs={"interleaving": 0.0},
    )


def check_env_id(env_id: str) -> str:
    """Returns ``env_id`` if Gymnasium knows it.

    Raises:
        InvalidChoice: naming the nearest ids of this package.
    """
    if env_id not in gym.registry:
        raise InvalidChoice("environment", env_id, ENV_IDS)
    return env_id
