"""Turns any env that speaks the protocol into episodes, by stepping through it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from flp_base.errors import FLPError, check_at_least, check_seed
from flp_base.machine_memory import check_fits
from flp_envs.episode import Episode
from flp_envs.online_env import OnlineLearningEnv
from flp_envs.task import episode_bytes

# Wrappers that Gymnasium adds by itself, or that only watch: they change nothing that a learner sees.
_TRANSPARENT = (
    gym.wrappers.PassiveEnvChecker,
    gym.wrappers.OrderEnforcing,
    gym.wrappers.RecordEpisodeStatistics,
)


class ProtocolError(FLPError, ValueError):
    """An env that does not speak the episode protocol."""


def draw_episodes(env: gym.Env[Any, Any], n: int) -> Episode:
    """The next ``n`` episodes of an env: what ``n`` calls of ``env.reset()`` would stream.

    An env of this package, if nothing changes its observations, is asked for its task's samples directly; any other
    is stepped through with answers of zero, which changes nothing, as the stream does not depend on the actions.

    Args:
        env: one env, wrapped or not; seed it beforehand with ``env.reset(seed=...)`` or :func:`seed_env`.
        n: how many.

    Raises:
        ProtocolError: naming what the env lacks.
        TooMuchMemory: if so many do not fit into memory.
    """
    check_at_least("the number of episodes", n, 1)
    inner: Any = env
    while isinstance(inner, _TRANSPARENT):
        inner = inner.env
    if type(inner) is OnlineLearningEnv:
        check_fits(f"{n} episodes", n * episode_bytes(inner.task), "use fewer lifetimes at once, or shorter ones")
        return inner.task.sample(inner.np_random, n)
    return Episode.stack([record_episode(env) for _ in range(n)])


def seed_env(env: gym.Env[Any, Any], seed: int) -> None:
    """Seeds an env without beginning an episode: its next one is the first of that seed, not the second.

    An env of another package is reset instead, as only ``reset(seed=...)`` is sure to seed it; its next episode is then
    the second of that seed.

    Raises:
        ProtocolError: for a vector env.
        InvalidSize: for a seed that is no whole number of at least 0.
    """
    seed = check_seed(seed)
    if not isinstance(env, gym.Env):
        raise ProtocolError(f"expected a single env, made by gym.make, got {type(env).__name__}")
    if isinstance(env.unwrapped, OnlineLearningEnv):
        env.unwrapped.np_random = gym.utils.seeding.np_random(seed)[0]
    else:
        env.reset(seed=seed)


def record_episode(env: gym.Env[Any, Any]) -> Episode:
    """Steps through one episode and returns what the env showed, ``E = 1``.

    Inputs and support targets are read from the observations, so what a wrapper makes of them is what is recorded.
    Query targets, which no observation shows, come from ``info["target"]``.

    Raises:
        ProtocolError: naming what the env lacks.
    """
    observation, _ = env.reset()
    if not isinstance(observation, dict) or not {"x", "y", "has_target", "phase"} <= observation.keys():
        raise ProtocolError(
            "expected observations to be a dict with x, y, has_target and phase, as docs of flp_envs.OnlineLearningEnv "
            f"describe, got {sorted(observation) if isinstance(observation, dict) else type(observation).__name__}"
        )
    shape, dtype = env.action_space.shape, env.action_space.dtype
    # An env that is answered with a label shows a single pair a step; in an Episode it is a minibatch of one.
    space = env.action_space
    pairs = (None,) if isinstance(space, gym.spaces.Discrete) else ()
    answer: Any = np.zeros(shape or (), dtype)
    if isinstance(space, gym.spaces.Discrete):
        answer = answer + space.start
    x: list[list[NDArray[Any]]] = [[], []]
    y: list[list[NDArray[Any]]] = [[], []]
    task: list[list[int]] = [[], []]
    done = False
    while not done:
        phase = int(observation["phase"])
        x[phase].append(np.array(observation["x"])[pairs])
        observation, _, terminated, truncated, info = env.step(answer)
        if truncated and not terminated:  # a TimeLimit of a lifetime's length says both at its end
            raise ProtocolError("expected an episode to end by termination after its last query step, it was truncated")
        if phase == 1 and "target" not in info:
            raise ProtocolError('expected info["target"] after a query step: meta-training scores the query with it')
        y[phase].append(np.array(info["target"] if phase == 1 else observation["y"])[pairs])
        task[phase].append(int(info.get("task", 0)))
        done = terminated
    if not x[0] or not x[1]:
        raise ProtocolError(f"expected support and query steps, got {len(x[0])} and {len(x[1])}")
    return Episode(
        np.stack(x[0])[None],
        np.stack(y[0])[None],
        np.array(task[0])[None],
        np.stack(x[1])[None],
        np.stack(y[1])[None],
        np.array(task[1])[None],
    )
