"""How two errors stand to each other, given how much they vary between networks, and what a claim makes of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

SEEN, NOT_SEEN, OPPOSITE, OPEN = "seen", "not seen", "opposite", "open"
# How the first of two errors stands to the second, and what a claim makes of it; where it cannot be told, it is open.
LESS, SAME, MORE, UNCLEAR = "less", "same", "more", "unclear"
IS_LESS = {LESS: SEEN, SAME: NOT_SEEN, MORE: OPPOSITE, UNCLEAR: OPEN}
IS_NOT_MORE = {LESS: SEEN, SAME: SEEN, MORE: NOT_SEEN, UNCLEAR: OPEN}
IS_NOT_LESS = {LESS: OPPOSITE, SAME: SEEN, MORE: SEEN, UNCLEAR: OPEN}
# Standard errors beyond which a ratio counts, and the one that must show for errors to be called the same.
SURE, SHOWS = 2.0, 2.0
# Up to which factor errors are "similar".
SIMILAR = 2.0


def relation(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str | None:
    """How the first of two cells of a table stands to the second: less, same, more or unclear; none without figures."""
    if (bounds := log_ratio(one, other)) is None:
        return None
    return named(*bounds)


def named(ratio: float, margin: float) -> str:
    """A ratio's logarithm, and what it must exceed to count, in a word."""
    if abs(ratio) > margin:
        return LESS if ratio < 0 else MORE
    return SAME if margin <= math.log(SHOWS) else UNCLEAR


def log_ratio(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """The logarithm of two cells' ratio, and what it must exceed to count; none without figures."""
    if one is None or other is None or one["standard_error"] is None or other["standard_error"] is None:
        return None
    means = [max(cell["mean"], sys.float_info.min) for cell in (one, other)]
    errors = [cell["standard_error"] / mean for cell, mean in zip((one, other), means, strict=True)]
    return math.log(means[0]) - math.log(means[1]), SURE * math.hypot(*errors)


def similar(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """Whether two errors are within a factor of each other, whatever varies between networks; else open."""
    if (bounds := log_ratio(one, other)) is None:
        return OPEN
    ratio, margin = abs(bounds[0]), bounds[1]
    return SEEN if ratio + margin <= math.log(SIMILAR) else NOT_SEEN if ratio - margin > math.log(SIMILAR) else OPEN
