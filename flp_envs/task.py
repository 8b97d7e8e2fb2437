"""What an environment needs of a task: one sampler, the same for one env, for many at once, and for the trainer."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from flp_envs.episode import Episode


class Task(Protocol):
    """A family of episodes of equal length.

    Attributes:
        input_space: of one step's inputs, ``(B, *input)``.
        target_space: of one step's targets, ``(B, *target)``.
        answer_space: of one step's answers; like the targets', but wider.
        metric: "mse" or "error_percent", what a query score means.
        split: which part of the data it draws from.
    """

    metric: str
    split: str
    input_space: spaces.Space[Any]
    target_space: spaces.Space[Any]
    answer_space: spaces.Space[Any]

    @property
    def support_steps(self) -> int:
        """``T``."""
        ...

    @property
    def query_steps(self) -> int:
        """``Q``."""
        ...

    def sample(self, rng: np.random.Generator, n: int = 1) -> Episode:
        """Draws ``n`` episodes one after another from ``rng``."""
        ...
