"""Every environment id, flat: from an id to its file in one hop. Importing this is cheap: no torch, no data."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym

from flp_envs.errors import FLPError, InvalidChoice, check_choice
from flp_envs.online_env import OnlineLearningEnv
from flp_envs.recording import ProtocolError
from flp_envs.sine import SineTask
from flp_envs.vector_env import OnlineLearningVectorEnv

ENV_IDS = ("FLPSine-IID-v0", "FLPSine-Continual-v0")


def make_sine_task(**options: Any) -> SineTask:
    """A :class:`flp_envs.sine.SineTask`, with the nearest valid names for an unknown option."""
    for name in options:
        check_choice("option of the sine environments", name, inspect.signature(SineTask).parameters)
    return SineTask(**options)


def make_sine_env(*, render_mode: str | None = None, **task: Any) -> OnlineLearningEnv:
    """``FLPSine-*``: keyword arguments are those of :class:`flp_envs.sine.SineTask`."""
    return OnlineLearningEnv(make_sine_task(**task), render_mode=render_mode)


def make_sine_vector_env(num_envs: int = 1, *, render_mode: str | None = None, **task: Any) -> OnlineLearningVectorEnv:
    """Many ``FLPSine-*`` at once."""
    return OnlineLearningVectorEnv(make_sine_task(**task), num_envs, render_mode=render_mode)


def register() -> None:
    """Registers all ids with Gymnasium."""
    for env_id, interleaving in (("FLPSine-IID-v0", 1.0), ("FLPSine-Continual-v0", 0.0)):
        gym.register(
            id=env_id,
            entry_point="flp_envs.registration:make_sine_env",
            vector_entry_point="flp_envs.registration:make_sine_vector_env",
            kwargs={"interleaving": interleaving},
        )


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    """``gym.make``, with clear errors.

    Raises:
        InvalidChoice: for an unknown id, naming the nearest ids of this package.
        ProtocolError: if the env does not take the options that every env of the protocol takes.
    """
    if env_id not in gym.registry and ":" not in env_id:
        raise InvalidChoice("environment", env_id, ENV_IDS)
    try:
        return gym.make(env_id, **options)
    except (TypeError, gym.error.Error, ImportError) as error:
        if isinstance(error, FLPError):
            raise
        reason = str(error).split(" was raised from")[0]
        raise ProtocolError(f"cannot make {env_id} with {options}: {reason}") from None
