"""Draws the lifetimes of each outer step from the environment of its stage, ahead of time if need be."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from flp_agents.learners.objective import IncompatibleSpaces, in_words
from flp_agents.training.lifetime_schedules.lifetime_schedule import LifetimeSchedule, Stage
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env
from flp_envs.registration import made_with

# Environments that are kept at once; with random lengths there may be thousands of kinds.
_KEPT = 16


class LifetimeSource:
    """Hands out the lifetimes of one outer step after another.

    With ``prefetch`` the next ones are drawn in a thread, while the learner runs through the present ones: images are
    drawn or gathered by NumPy, which lets torch go on meanwhile. Between two calls of :meth:`take` the environments
    belong to that thread; :meth:`random_state` says what their random numbers would be if nothing were prefetched.

    Args:
        env: of full lifetimes.
        meta_batch: lifetimes for each outer step, where the stage does not say it.
        schedule: which lifetimes each outer step has.
        seed: of their stream.
        prefetch: whether the next ones are drawn meanwhile.

    Attributes:
        full: the environment of full lifetimes.
        stage: of the lifetimes that were handed out last, or are the first.
        drawn_from: the random numbers' state before these were drawn.
        drawn_at: the outer step at which they were drawn.
    """

    _state: Any
    drawn_from: Any

    def __init__(
        self, env: gym.Env[Any, Any], meta_batch: int, schedule: LifetimeSchedule, seed: int, *, prefetch: bool
    ) -> None:
        self.full, self._meta_batch, self._schedule, self._seed = env, meta_batch, schedule, seed
        self._kept: dict[str, gym.Env[Any, Any]] = {}
        self._prefetch = prefetch
        self._thread: ThreadPoolExecutor | None = None
        self._pending: tuple[Stage, Future[tuple[Any, Episode]]] | None = None
        self.stage = self._drawn = schedule.stage(0, seed)
        self._state = self.drawn_from = None
        self.drawn_at = 0

    def env_of(self, stage: Stage) -> gym.Env[Any, Any]:
        """The environment of a stage."""
        if not stage.options:
            return self.full
        key = json.dumps(dict(stage.options), sort_keys=True, default=repr)
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = env_of_stage(self.full, stage)
        self._kept[key] = self._kept.pop(key)  # used last, so forgotten last
        return self._kept[key]

    def update_scale_of(self, stage: Stage) -> float:
        """What a learner's updates are multiplied by in the lifetimes of a stage."""
        if not stage.scaled:
            return 1.0
        return _steps_of_a_task(made_with(self.full)) / _steps_of_a_task(made_with(self.full, **stage.options))

    def count_of(self, stage: Stage) -> int:
        """Lifetimes for each outer step of a stage."""
        return stage.meta_batch or self._meta_batch

    def seed(self) -> None:
        """Begins the stream."""
        seed_env(self.env_of(self.stage), self._seed)

    def enter(self, step: int) -> Stage:
        """The stage of an outer step whose lifetimes are drawn now, in its environment's random numbers."""
        stage = self._schedule.stage(step, self._seed)
        if self._pending is not None and self._pending[0] != stage:
            self.stop()
        if self._pending is None:
            self._go_to(stage)
        self.stage, self.drawn_at = stage, step
        return stage

    def take(self, step: int) -> Episode:
        """The lifetimes of an outer step; begins to draw those of the next."""
        stage = self.enter(step)
        self.drawn_from, episode = self._draw(stage) if self._pending is None else self._pending[1].result()
        if self._prefetch:
            self._state = self._random_state_of(stage)
            next_stage = self._schedule.stage(step + 1, self._seed)
            self._thread = self._thread or ThreadPoolExecutor(1, "prefetch")
            self._pending = next_stage, self._thread.submit(self._draw, next_stage)
        return episode

    def _draw(self, stage: Stage) -> tuple[Any, Episode]:
        self._go_to(stage)
        return self._random_state_of(stage), draw_episodes(self.env_of(stage), self.count_of(stage))

    def _go_to(self, stage: Stage) -> None:
        """Sees to it that a stage's environment has the random numbers that it is to have."""
        if stage == self._drawn:
            return
        env, before = self.env_of(stage), self.env_of(self._drawn)
        if stage.seed is not None:
            seed_env(env, self._seed + stage.seed)
        elif env is not before:
            env.unwrapped.np_random = before.unwrapped.np_random
        self._drawn = stage

    def random_state(self) -> Any:
        """The random numbers' state after the lifetimes that were handed out."""
        return self._random_state_of(self.stage) if self._pending is None else self._state

    def _random_state_of(self, stage: Stage) -> Any:
        return self.env_of(stage).unwrapped.np_random.bit_generator.state

    def set_random_state(self, state: Any, step: int) -> None:
        """Resumes after the lifetimes that were drawn at an outer step; raises what NumPy raises for no state."""
        self.stop()
        self.stage = self._drawn = self._schedule.stage(step, self._seed)
        self.drawn_at = step
        self.env_of(self.stage).unwrapped.np_random.bit_generator.state = state

    def stop(self) -> None:
        """Gives the environments back, as if nothing had been prefetched."""
        if self._pending is not None:
            self._pending[1].exception()  # waits
            self._pending, self._drawn = None, self.stage
            self.env_of(self.stage).unwrapped.np_random.bit_generator.state = self._state
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None


def _steps_of_a_task(env: gym.Env[Any, Any]) -> float:
    """Support steps for each function or class."""
    episode = draw_episodes(env, 1)
    return episode.support_steps / len(np.unique(episode.support_task))


def env_of_stage(full: gym.Env[Any, Any], stage: Stage) -> gym.Env[Any, Any]:
    """Another environment like that of full lifetimes, with the options of a stage.

    Raises:
        IncompatibleSpaces: if its inputs are not those of full lifetimes.
    """
    env = made_with(full, **stage.options)
    before, now = (cast("spaces.Dict", of.observation_space)["x"] for of in (full, env))
    if before != now:
        raise IncompatibleSpaces(
            f"lifetimes with {dict(stage.options)} have inputs of {in_words(now)}, the environment's own are of "
            f"{in_words(before)}: vary options that leave the inputs as they are, such as lengths and numbers of "
            "classes"
        )
    return env
