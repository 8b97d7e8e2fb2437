"""Errors that say what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FLPError(Exception):
    """Base of every error that the user can mend. Its text is one line, fit to be shown as it is."""


class InvalidChoice(FLPError, ValueError):
    """A name that is not among the valid ones."""

    def __init__(self, kind: str, name: object, valid: Iterable[str]) -> None:
        names = sorted(valid)
        near = difflib.get_close_matches(str(name).lower(), [n.lower() for n in names], n=3, cutoff=0.5)
        nearest = sorted((n for n in names if n.lower() in near), key=lambda n: near.index(n.lower()))
        hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        super().__init__(f"unknown {kind} {str(name)!r}: {hint}valid: {', '.join(names)}")


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


def check_at_least(name: str, value: int, minimum: int) -> int:
    """Returns ``value`` if it is a whole number of at least ``minimum``.

    Raises:
        InvalidSize: otherwise.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < minimum:
        raise InvalidSize(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    return int(value)


class SourceError(FLPError, ValueError):
    """Files that a dataset cannot be read from."""
