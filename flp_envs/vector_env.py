"""Many episodes at once, from the same sampler as the single env, array for array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from flp_datasets.errors import InvalidSize, check_at_least
from flp_envs.episode import Episode
from flp_envs.stream import QUERY, Observation, Stream, observation_space
from flp_envs.task import Task


class OnlineLearningVectorEnv(gym.vector.VectorEnv[Observation, NDArray[Any], Any]):
    """``num_envs`` lifetimes of equal length side by side; see :class:`flp_envs.online_env.OnlineLearningEnv`.

    Every array gains a leading axis of ``num_envs``. ``reset(seed=s)`` gives env ``i`` the seed ``s + i``, as
    Gymnasium's own vector envs do, so env ``i`` streams what the single env streams after ``reset(seed=s + i)``. All
    episodes end together; the step after that begins new ones (``AutoresetMode.NEXT_STEP``) and ignores its action.

    Args:
        task: what to draw episodes from.
        num_envs: how many.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, task: Task, num_envs: int = 1, *, render_mode: str | None = None) -> None:
        if render_mode is not None:
            raise InvalidSize(
                "the vector env does not render: use gym.make, or gym.make_vec with vectorization_mode='sync', and "
                "render_mode='rgb_array'"
            )
        self.task = task
        self.num_envs = check_at_least("num_envs", num_envs, 1)
        self.single_observation_space = observation_space(task)
        self.single_action_space = task.answer_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._shape: tuple[int, ...] = self.action_space.shape or ()
        self._rngs: list[np.random.Generator] = []
        self._episode: Episode | None = None
        self._stream: Stream | None = None
        self._step = 0
        self._everyone = np.ones(self.num_envs, np.bool_)
        self._flags = np.repeat([[0], [1]], self.num_envs, axis=1)

    @property
    def episode(self) -> Episode:
        """The episodes under way, ``E = num_envs``."""
        if self._episode is None:
            raise gym.error.ResetNeeded("there is no episode yet: call reset() first")
        return self._episode

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins a new episode in every env.

        Raises:
            InvalidSize: for a list of seeds of another length than ``num_envs``.
        """
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + i for i in range(self.num_envs)]
        elif seed is None:
            seed = [None] * self.num_envs
        if len(seed) != self.num_envs:
            raise InvalidSize(f"seed must be one number or {self.num_envs} of them, one for each env, got {len(seed)}")
        for i, number in enumerate(seed):
            if i == len(self._rngs):
                self._rngs.append(seeding.np_random(number)[0])
            elif number is not None:
                self._rngs[i] = seeding.np_random(number)[0]
        return self._begin(), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Takes the answers ``(num_envs, B, *target)`` of all envs.

        Raises:
            InvalidAction: if they have the wrong shape, or are not finite.
            ResetNeeded: before the first ``reset``.
        """
        stream, step, n = self._stream, self._step, self.num_envs
        if stream is None:
            raise gym.error.ResetNeeded("there is no episode yet: call reset() first")
        if step == stream.steps:
            return self._begin(), np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_), {}
        scoring = self.task.scoring
        answers = scoring.check(actions, self._shape)
        target = stream.target(step)
        losses = scoring.losses(answers, target)
        is_query = stream.phase(step) == QUERY
        rewards = scoring.rewards(losses, stream.query_steps) if is_query else np.zeros(n)
        everyone = self._everyone.copy()
        info = {
            "loss": losses,
            "_loss": everyone,
            "task": stream.tasks(step),
            "_task": everyone,
            "target": target.copy(),
            "_target": everyone,
        }
        if not self.task.minibatches:
            info |= {"correct": losses == 0, "_correct": everyone}
        self._step = step + 1
        terminated = everyone.copy() if self._step == stream.steps else ~everyone
        return self._observe(stream), rewards, terminated, ~everyone, info

    def _begin(self) -> Observation:
        self._episode = self.task.sample(self._rngs)
        self._stream = Stream(self._episode, minibatches=self.task.minibatches)
        self._step = 0
        return self._observe(self._stream)

    def _observe(self, stream: Stream) -> Observation:
        step = self._step
        return {
            "x": stream.x(step),
            "y": stream.shown_target(step),
            "has_target": self._flags[stream.has_target(step)].copy(),
            "phase": self._flags[stream.phase(step)].copy(),
        }
