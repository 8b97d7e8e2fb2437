"""Large arrays, used again once nobody holds them: a fresh one costs more to page in than to fill."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray


class RecycledArray:
    """Hands out uninitialised float32 arrays, and the last one again as soon as no view of it is left."""

    def __init__(self) -> None:
        self._spare: list[NDArray[np.float32]] = []

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Like ``np.empty(shape, np.float32)``."""
        # Taken out of the list first, so that two threads cannot both take it.
        array = self._spare.pop() if self._spare else None
        # Every view refers to the array that owns the memory: two references are ours and getrefcount's own.
        if array is None or array.shape != shape or sys.getrefcount(array) > 2:
            array = np.empty(shape, np.float32)
        self._spare.append(array)
        return array.view()
