"""The protocol of an episode, step by step; the single and the vector environment both speak it through here.

A learner answers before it sees the target: the observation after step ``k`` carries input ``k + 1`` and the target of
input ``k``. Support inputs come first, then query inputs, whose targets are never shown.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.task import Task

SUPPORT, QUERY = 0, 1


class Observation(TypedDict):
    """What a learner sees at every step."""

    x: NDArray[Any]
    y: NDArray[Any]
    has_target: Any
    phase: Any


def observation_space(task: Task) -> spaces.Dict:
    """The space of :class:`Observation` for one env."""
    return spaces.Dict(
        {
            "x": task.input_space,
            "y": task.target_space,
            "has_target": spaces.Discrete(2),
            "phase": spaces.Discrete(2),
        }
    )


class Stream(ShowsOptions):
    """Episodes laid out along time: what is shown at each step, and what an answer scores.

    Arrays are handed out as views, each of memory that is shown once and never read again.

    Args:
        episode: what is shown.
        minibatches: whether a step shows ``B`` pairs, with an axis of their own, or a single one without.
    """

    def __init__(self, episode: Episode, *, minibatches: bool = True) -> None:
        self._minibatches = minibatches
        self.support_steps = episode.support_steps
        self.query_steps = episode.query_steps
        self.steps = self.support_steps + self.query_steps
        self._episode = episode
        self._support_y, self._query_y = episode.support_y, episode.query_y

    def x(self, step: int) -> NDArray[Any]:
        """The input to be answered at ``step``, ``(E, [B,] *input)``; zeros once all is answered."""
        if step < self.steps:
            return self._pairs(self._episode.input_at(step))
        return np.zeros_like(self._pairs(self._episode.input_at(step - 1)))

    def target(self, step: int) -> NDArray[Any]:
        """The true target of ``step``, ``(E, [B,] *target)``."""
        split = self.support_steps
        target: NDArray[Any] = self._support_y[:, step] if step < split else self._query_y[:, step - split]
        return self._pairs(target)

    def shown_target(self, step: int) -> NDArray[Any]:
        """The target shown together with input ``step``: the one before, if that was a support step."""
        return self.target(step - 1) if 0 < step <= self.support_steps else np.zeros_like(self.target(0))

    def has_target(self, step: int) -> int:
        """Whether :meth:`shown_target` holds a target."""
        return int(0 < step <= self.support_steps)

    def phase(self, step: int) -> int:
        """0 while the target of input ``step`` will follow, 1 when it will not."""
        return SUPPORT if step < self.support_steps else QUERY

    def tasks(self, step: int) -> NDArray[np.int64]:
        """The sub-task of ``step``, ``(E,)``."""
        split = self.support_steps
        episode = self._episode
        tasks = episode.support_task[:, step] if step < split else episode.query_task[:, step - split]
        return tasks.copy()

    def _pairs(self, array: NDArray[Any]) -> NDArray[Any]:
        return array if self._minibatches else array[:, 0]
