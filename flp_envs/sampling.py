"""Random choices, the same on every machine: made of uniform numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flp_base.errors import InvalidSize, check_at_least
from flp_base.machine_memory import check_fits


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


def generators_of(rng: Any, n: int, episode_bytes: int) -> Sequence[np.random.Generator]:
    """What each of ``n`` episodes is drawn from: the same generator again and again, or one each from several.

    Args:
        rng: a generator, or several.
        n: episodes from a single one.
        episode_bytes: that one episode takes.

    Raises:
        TooMuchMemory: if so many episodes do not fit into memory.
        InvalidSize: if ``n`` is no whole number of at least 1, or not the number of generators, or for anything but
            generators.
    """
    check_at_least("n", n, 1)
    if isinstance(rng, np.random.Generator):
        check_fits(f"{n} episodes", n * episode_bytes, "draw fewer at a time")
        return [rng] * n
    if not isinstance(rng, Sequence) or not all(isinstance(each, np.random.Generator) for each in rng) or not rng:
        raise InvalidSize(
            f"expected a NumPy generator, or several, such as numpy.random.default_rng(0), got {type(rng).__name__}"
        )
    if n not in (1, len(rng)):
        raise InvalidSize(f"each of {len(rng)} generators draws one episode: leave n out, got {n}")
    check_fits(f"{len(rng)} episodes", len(rng) * episode_bytes, "draw fewer at a time")
    return rng


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
