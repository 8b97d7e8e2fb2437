"""Random choices, the same on every machine: made of uniform numbers alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flp_datasets.errors import InvalidSize


def choose_distinct(rng: np.random.Generator, n: int, among: int) -> NDArray[np.int64]:
    """``n`` distinct numbers below ``among``, in random order: the first steps of a Fisher-Yates shuffle.

    Args:
        rng: gives ``n`` uniform numbers.
        n: at most ``among``.
        among: at most 2**53.
    """
    places = np.arange(n)
    others = (rng.random(n) * (among - places)).astype(np.int64) + places
    moved: dict[int, int] = {}
    chosen = []
    for place, other in zip(places.tolist(), others.tolist(), strict=True):
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return np.array(chosen, np.int64)


def check_interleaving(value: float) -> float:
    """Returns ``value`` if it is one that :func:`mixed_order` takes.

    Raises:
        InvalidSize: unless it is a number from 0 to 1.
    """
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise InvalidSize(f"interleaving must lie between 0 (continual) and 1 (i.i.d.), got {value!r}")
    return float(value)


def mixed_order(rng: np.random.Generator, steps: int, interleaving: float) -> NDArray[np.int64]:
    """Which step of the orderly stream comes at each place, ``(steps,)``.

    Args:
        rng: asked for nothing where ``interleaving`` is 0.
        steps: how many.
        interleaving: 0 keeps the order, 1 mixes it fully, and in between it goes by
            ``(1 - interleaving) * place + interleaving * noise``, both uniform in [0, 1].
    """
    if interleaving == 0.0:
        return np.arange(steps)
    jitter = rng.random(steps)
    position = np.arange(steps) / steps
    keys = (1.0 - interleaving) * position + interleaving * jitter
    return np.argsort(keys)
