"""Random numbers that depend on nothing but a seed and a counter, for many seeds at once: the same bits everywhere.

Source: Steele, Lea & Flood (2014), "Fast splittable pseudorandom number generators".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flp_base.shown_options import ShowsOptions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]


def mix(words: Words) -> Words:
    """The finaliser of SplitMix64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class Chance(ShowsOptions):
    """A stream of random numbers for each of K seeds: hashes of the seed and a counter."""

    def __init__(self, seeds: Words) -> None:
        self._keys = mix(seeds)
        self._count = 0

    def _words(self, shape: tuple[int, ...]) -> Words:
        counters = np.arange(self._count, self._count + math.prod(shape), dtype=np.uint64)
        self._count += len(counters)
        words = mix(self._keys[:, None] + (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
        return words.reshape(-1, *shape)

    def uniform(self, *shape: int) -> Floats:
        """``(K, *shape)``, uniform in [0, 1)."""
        return (self._words(shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def noise(self, *shape: int) -> Floats:
        """``(K, *shape)`` in [-1, 1), mostly small: the sum of two uniform numbers."""
        words = self._words(shape)
        halves = (words >> np.uint64(32)) + (words & np.uint64(0xFFFFFFFF))
        return halves.astype(np.float64) * 2.0**-32 - 1.0

    def sign(self, *shape: int) -> Floats:
        """``(K, *shape)``, -1 or 1."""
        return np.where(self.uniform(*shape) < 0.5, -1.0, 1.0)

    def choice(self, weights: tuple[float, ...], *shape: int) -> Ints:
        """``(K, *shape)`` indices into ``weights``, which sum to one."""
        bounds = np.array([sum(weights[: i + 1]) for i in range(len(weights) - 1)])
        index: Ints = (self.uniform(*shape)[..., None] >= bounds).sum(axis=-1, dtype=np.int64)
        return index
