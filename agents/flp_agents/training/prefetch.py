"""Draws the next outer step's lifetimes in a thread, while the learner runs through the present ones."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import gymnasium as gym

from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes


class Prefetch:
    """Hands out what ``draw_episodes(env, n)`` would return, call after call, without waiting for it.

    Images are drawn or gathered by NumPy, which lets torch go on meanwhile. Between two calls the env's random state
    belongs to the thread; :meth:`random_state` says what it would be if nothing were prefetched.

    Args:
        env: what to draw from, always.
        n: how many episodes a call.
    """

    def __init__(self, env: gym.Env[Any, Any], n: int) -> None:
        self._env, self._n = env, n
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._pending: Future[Episode] | None = None
        self._state: Any = None

    def take(self) -> Episode:
        """The next episodes; begins to draw those after them."""
        episode = draw_episodes(self._env, self._n) if self._pending is None else self._pending.result()
        self._state = self._env.unwrapped.np_random.bit_generator.state
        self._pending = self._thread.submit(draw_episodes, self._env, self._n)
        return episode

    def random_state(self) -> Any:
        """The env's random state after the episodes that were handed out."""
        return self._env.unwrapped.np_random.bit_generator.state if self._pending is None else self._state

    def stop(self) -> None:
        """Gives the env back, as if nothing had been prefetched."""
        if self._pending is not None:
            self._pending.exception()  # waits
            self._env.unwrapped.np_random.bit_generator.state = self._state
            self._pending = None
        self._thread.shutdown()
