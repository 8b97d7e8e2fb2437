"""The protocol of an episode, step by step; the single and the vector environment both speak it through here.

A learner answers before it is told: the observation after step ``k`` carries input ``k + 1`` and the target of input
``k``. Support inputs come first, then query inputs, whose targets are never shown.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_envs.episode import Episode
from flp_envs.errors import FLPError
from flp_envs.task import Task

SUPPORT, QUERY = 0, 1


class InvalidAction(FLPError, ValueError):
    """An action of the wrong shape, or one that holds NaN or infinity."""


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


def check_action(action: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Returns the action as an array; whether it is finite shows in :func:`squared_errors`.

    Raises:
        InvalidAction: if its shape is not ``shape``.
    """
    try:
        answer = np.asarray(action, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidAction(
            f"expected an action of {shape} finite numbers, got {type(action).__name__}: "
            "answer every input of the step with a number"
        ) from None
    if answer.shape != shape:
        raise InvalidAction(f"expected an action of shape {shape}, got {answer.shape}: answer every input of the step")
    return answer


def squared_errors(answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    """The mean squared error of each row, ``(E, ...) -> (E,)``.

    Raises:
        InvalidAction: if a number in the answers is not finite.
    """
    difference = (answers - targets).reshape(len(answers), -1)
    with np.errstate(over="ignore"):
        errors: NDArray[np.float64] = np.vecdot(difference, difference) / np.float64(difference.shape[1])
    if not np.isfinite(errors).all():
        if not np.isfinite(answers).all():
            raise InvalidAction("expected an action of finite numbers, got NaN or infinity in it")
        # Wild answers, whose squares are beyond float32.
        difference = np.subtract(answers, targets, dtype=np.float64).reshape(len(answers), -1)
        errors = np.vecdot(difference, difference) / difference.shape[1]
    return errors


class Stream:
    """Episodes laid out along time: what is shown at each step, and what an answer scores.

    Arrays are handed out as views, each of memory that is shown once and never read again.
    """

    def __init__(self, episode: Episode) -> None:
        self.support_steps = episode.support_steps
        self.query_steps = episode.query_steps
        self.steps = self.support_steps + self.query_steps
        self._episode = episode
        self._support_y, self._query_y = episode.support_y, episode.query_y

    def x(self, step: int) -> NDArray[Any]:
        """The input to be answered at ``step``, ``(E, B, *input)``; zeros once all is answered."""
        if step < self.steps:
            return self._episode.input_at(step)
        return np.zeros_like(self._episode.input_at(step - 1))

    def target(self, step: int) -> NDArray[Any]:
        """The true target of ``step``, ``(E, B, *target)``."""
        split = self.support_steps
        target: NDArray[Any] = self._support_y[:, step] if step < split else self._query_y[:, step - split]
        return target

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
