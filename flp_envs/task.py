"""What an environment needs of a task: one sampler, the same for one env, for many at once, and for the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_base.errors import FLPError
from flp_envs.episode import Episode
from flp_envs.scoring import Scoring


class Renderer(Protocol):
    """Draws the lifetimes of one task.

    Attributes:
        predict: what the learner would answer now, or none.
    """

    predict: Callable[[NDArray[Any]], NDArray[Any]] | None

    def begin(self, episode: Episode) -> None:
        """Takes a new episode, ``E = 1``."""
        ...

    def record(self, step: int, answer: NDArray[Any]) -> None:
        """Takes the learner's answer at ``step``."""
        ...

    def draw(self, step: int) -> NDArray[np.uint8]:
        """The picture before the answer to ``step``, ``(height, width, 3)``."""
        ...


class Task(Protocol):
    """A family of episodes of equal length.

    A task may also have ``make_renderer()``, which returns a :class:`Renderer` (without it, lifetimes are drawn by
    :func:`flp_envs.default_rendering.renderer_of`), ``first_lifetimes``, see :func:`first_lifetimes_of`, and ``data``,
    see :func:`data_of`.

    Attributes:
        split: which part of the data it draws from.
        scoring: scores answers.
        minibatches: whether a step shows ``B`` pairs, with an axis of their own, or a single one without.
    """

    split: str
    scoring: Scoring
    minibatches: bool

    @property
    def input_space(self) -> spaces.Space[Any]:
        """Of one step's inputs, ``([B,] *input)``."""
        ...

    @property
    def target_space(self) -> spaces.Space[Any]:
        """Of one step's targets, ``([B,] *target)``."""
        ...

    @property
    def answer_space(self) -> spaces.Space[Any]:
        """Of one step's answers: like the targets', but wider."""
        ...

    @property
    def support_steps(self) -> int:
        """``T``."""
        ...

    @property
    def query_steps(self) -> int:
        """``Q``."""
        ...

    def sample(self, rng: np.random.Generator | Sequence[np.random.Generator], n: int = 1) -> Episode:
        """Draws ``n`` episodes one after another from ``rng``, or one from each of several."""
        ...


def episode_bytes(task: Task) -> int:
    """What the arrays of one episode of a task take, inputs and targets, by its spaces."""
    spaces_of_a_step = (task.input_space, task.target_space)
    of_a_step = sum(math.prod(s.shape or ()) * np.dtype(s.dtype or np.int64).itemsize for s in spaces_of_a_step)
    return lifetime_of(task) * (of_a_step + 8)


def lifetime_of(task: Task) -> int:
    """The number of steps of each of its lifetimes, support and query."""
    return task.support_steps + task.query_steps


def first_lifetimes_of(env: Any, *, steps_per_task: int, num_classes: int) -> dict[str, Any] | None:
    """The options of an environment for the cheaper lifetimes with which its meta-training may begin.

    They are the task's to describe, by an optional method ``first_lifetimes(steps_per_task, num_classes)``. It returns
    keyword arguments for the environment's id, of those that the task reads of the two wishes: shorter lifetimes, or
    lifetimes of more classes. An environment without a task may have the method itself. One that has none is
    meta-trained on full lifetimes alone.

    Args:
        env: any env, or a task.
        steps_per_task: the support steps wished for of each sub-task.
        num_classes: the classes wished for, where targets are labels.

    Returns:
        The options; none, if the environment does not say.

    Raises:
        FLPError: if the method returns anything but named options.
    """
    inner = getattr(env, "unwrapped", env)
    describe = getattr(getattr(inner, "task", inner), "first_lifetimes", None)
    if describe is None:
        return None
    options = describe(steps_per_task=steps_per_task, num_classes=num_classes)
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise FLPError(
            f"first_lifetimes must return options of the environment by name, such as {{'steps': {steps_per_task}}}, "
            f"got {options!r}"
        )
    return dict(options)


def data_of(env: Any) -> dict[str, str]:
    """Which data an environment draws from, so that results on other data are told apart.

    A task that reads files says so by an attribute ``data``: the data's ``name``, and the ``sha256`` of their content.

    Args:
        env: any env, or a task.

    Returns:
        Both, as text; nothing of a task that reads no files, or does not say.
    """
    task = getattr(getattr(env, "unwrapped", env), "task", env)
    data = getattr(task, "data", None)
    if not isinstance(data, Mapping):
        return {}
    return {name: str(data[name]) for name in ("name", "sha256") if name in data}
