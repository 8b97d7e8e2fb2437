"""One episode: everything that a learner meets in a lifetime, as arrays.

Axis letters used throughout the package:

=====  ==========================================================================
``E``  episodes (one learner running through each: also called lifetimes)
``T``  support steps: the learner answers, then receives the target, then may learn
``Q``  query steps: the learner only answers
``B``  pairs per step (the minibatch)
=====  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Episode:
    """A batch of ``E`` episodes of equal length.

    Attributes:
        support_x: ``(E, T, B, *input)`` inputs, in the order in which they are met.
        support_y: ``(E, T, B, *target)`` their targets.
        support_task: ``(E, T)`` int64, the sub-task that each step belongs to (for analysis only).
        query_x: ``(E, Q, B, *input)`` fresh inputs, answered after the last support step.
        query_y: ``(E, Q, B, *target)`` their targets.
        query_task: ``(E, Q)`` int64, the sub-task of each query step.
    """

    support_x: NDArray[Any]
    support_y: NDArray[Any]
    support_task: NDArray[np.int64]
    query_x: NDArray[Any]
    query_y: NDArray[Any]
    query_task: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.support_x)

    @property
    def support_steps(self) -> int:
        """``T``."""
        return int(self.support_x.shape[1])

    @property
    def query_steps(self) -> int:
        """``Q``."""
        return int(self.query_x.shape[1])

    def input_at(self, step: int) -> NDArray[Any]:
        """The input of one step, support steps first, ``(E, B, *input)``.

        A task whose inputs are large, but cheap to make, makes them here: an environment never needs them all at once.
        """
        split = self.support_steps
        return np.asarray(self.support_x[:, step] if step < split else self.query_x[:, step - split])

    def __getitem__(self, index: slice) -> Episode:
        """Some of the episodes, as views: ``episode[2:5]``."""
        if not isinstance(index, slice):
            raise TypeError(f"expected a slice of episodes, such as episode[0:1], got {index!r}")
        return Episode(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def stack(cls, episodes: Sequence[Episode]) -> Episode:
        """Joins batches of episodes of equal length along ``E``."""
        if not episodes:
            raise ValueError("cannot stack zero episodes: expected at least one")
        if len(episodes) == 1:
            return episodes[0]
        return cls(*(np.concatenate([getattr(e, field.name) for e in episodes]) for field in fields(cls)))
