"""Learning rates of policies over their training; saved policies hold them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Falling:
    """A learning rate that falls to 0 in a straight line.

    Attributes:
        first: at the beginning of the training.
    """

    first: float

    def __call__(self, remaining: float) -> float:
        """The rate when the share ``remaining`` of the training lies ahead."""
        return self.first * max(0.0, remaining)  # the last rollout may go beyond the end
