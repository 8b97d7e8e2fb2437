"""Ranges of an environment's options, as text: ``num_classes=10..200,shots=1..15``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flp_agents.training.lifetime_schedules.lifetime_schedule import Stage
from flp_base.errors import InvalidSize

_RANGE = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(\d{1,9})\s*\.\.\s*(\d{1,9})\s*")


def check_ranges(name: str, text: str) -> None:
    """Makes sure that a text names ranges, or is empty, as it is where nobody has named any; see :func:`ranges_of`.

    Raises:
        InvalidSize: if it is neither.
    """
    if text:
        ranges_of(name, text)


def ranges_of(name: str, text: str) -> Mapping[str, tuple[int, int]]:
    """The lowest and the highest value of each option.

    Args:
        name: of the option whose value the text is, for messages.
        text: the ranges.

    Raises:
        InvalidSize: if it is none, or a range of nothing.
    """
    found = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if not match or int(match[2]) > int(match[3]) or match[1] in found:
            raise InvalidSize(
                f"{name} must name ranges of the environment's options, such as num_classes=10..200,shots=1..15, got "
                f"{text!r}"
            )
        found[match[1]] = int(match[2]), int(match[3])
    return found


def stages_at_the_ends(name: str, text: str) -> list[Stage]:
    """The stages with all options at the high ends of their ranges, and at the low ends; see :func:`ranges_of`."""
    ranges = ranges_of(name, text).items()
    return [Stage({option: ends[i] for option, ends in ranges}) for i in (1, 0)]
