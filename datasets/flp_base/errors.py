"""Errors that say what was expected and what to do."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any

# The largest whole number that every reader of JSON keeps; far above any size, and below what overflows.
LARGEST_WHOLE = 2**53 - 1
# Gymnasium, where none is given, chooses a seed of 128 bits, which must be one that can be given again.
LARGEST_ENV_SEED = 2**128 - 1
# Of more valid names than these, those that are near enough to the one that was given are named alone.
_MANY = 20


class FLPError(Exception):
    """Base of every error that the user can mend. Its text is one line, fit to be shown as it is."""


class FLPWarning(UserWarning):
    """Base of what the user should know and need not mend. Its text is one line, fit to be shown as it is."""


class InvalidChoice(FLPError, ValueError):
    """A name that is not among the valid ones.

    Args:
        kind: of what is named.
        name: that was given.
        valid: names.
        advice: what else may be done, if anything.
    """

    def __init__(self, kind: str, name: object, valid: Iterable[str], advice: str = "") -> None:
        names = sorted(valid)
        near = difflib.get_close_matches(str(name).lower(), [n.lower() for n in names], n=3, cutoff=0.5)
        nearest = sorted((n for n in names if n.lower() in near), key=lambda n: near.index(n.lower()))
        hints = [f"did you mean {' or '.join(map(repr, nearest))}?"] if nearest else []
        if not nearest or len(names) <= _MANY:
            hints.append(f"valid: {', '.join(names)}")
        super().__init__(f"unknown {kind} {str(name)!r}: {' '.join(hints)}{advice and f'; {advice}'}")


class InvalidSize(FLPError, ValueError):
    """A number outside the range in which it makes sense."""


def check_choice(kind: str, name: str, valid: Iterable[str]) -> str:
    """Returns ``name`` if it is valid.

    Raises:
        InvalidChoice: naming the nearest valid names.
    """
    names = list(valid)
    if name not in names:
        raise InvalidChoice(kind, name, names)
    return name


def check_at_least(name: str, value: Any, minimum: int, maximum: int = LARGEST_WHOLE) -> int:
    """Returns ``value`` if it is a whole number from ``minimum`` to ``maximum``.

    Raises:
        InvalidSize: otherwise.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    # A truth value is none; NumPy's is an index to some of its versions.
    if type(value).__name__ in ("bool", "bool_"):
        number = None
    if number is None or number < minimum:
        raise InvalidSize(f"{name} must be a whole number of at least {minimum}, got {in_short(value)}")
    if number > maximum:
        raise InvalidSize(f"{name} must be a whole number of at most {maximum}, got {in_short(value)}")
    return number


def check_seed(value: Any) -> int:
    """Returns the seed of an environment as an int if it is a whole number, Python's or NumPy's, of at least 0.

    Raises:
        InvalidSize: otherwise.
    """
    return check_at_least("seed", value, 0, LARGEST_ENV_SEED)


def check_learner_seed(value: Any) -> int:
    """Returns the seed of a learner as an int that JSON and torch take; see :func:`check_seed`.

    Raises:
        InvalidSize: also for one that readers of JSON would round.
    """
    return check_at_least("seed", value, 0)


def check_number(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> float:
    """Returns ``value`` if it is a finite number in a range.

    Args:
        name: what it is, for the error.
        value: any real number of Python's or NumPy's; a truth value is none.
        least: the smallest that is allowed.
        above: what it must exceed.
        most: the largest that is allowed.

    Raises:
        InvalidSize: otherwise.
    """
    try:
        number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number >= least and number > above and number <= most):
        bounds = [
            *([f"of at least {least:g}"] if math.isfinite(least) else []),
            *([f"above {above:g}"] if math.isfinite(above) else []),
            *([f"at most {most:g}"] if math.isfinite(most) else []),
        ]
        wanted = " ".join(["a finite number", *([" and ".join(bounds)] if bounds else [])])
        raise InvalidSize(f"{name} must be {wanted}, got {in_short(value)}")
    return number


def in_short(value: object) -> str:
    """A value's ``repr``, short enough for one line; Python refuses to print the largest whole numbers."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a whole number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


class SourceError(FLPError, ValueError):
    """Files that a dataset cannot be read from."""
