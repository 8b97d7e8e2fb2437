"""Copies of what users bring: made, or refused with what to do.

What is copied, and when: a plain learner once for every lifetime, when that lifetime begins (``evaluate``, ``GymAgent``
and ``flp benchmark`` run many lifetimes side by side, and none may see another's); what a policy remembers of its
lifetime, when it is queried in the middle of it; a network that is analysed. Policies themselves are shared, and
learners of this package keep all that changes in the lifetime's state.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from flp_base.errors import FLPError

Thing = TypeVar("Thing")


class CannotCopy(FLPError, TypeError):
    """Something that must be copied, and cannot be."""


def copy_of(thing: Thing, why: str, instead: str = "", name: str = "") -> Thing:
    """A deep copy.

    Args:
        thing: to be copied.
        why: it has to be, as the end of "... cannot be copied, and ...".
        instead: a further way out than those that Python offers.
        name: of what is copied; by default its class's.

    Raises:
        CannotCopy: if a part of it cannot be copied, as a lock, an open file or a tensor that is no leaf.
    """
    try:
        return copy.deepcopy(thing)
    except FLPError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise CannotCopy(
            f"{name or type(thing).__name__} cannot be copied, and {why} ({type(error).__name__}: {reason}): define "
            f"__deepcopy__, or a __getstate__ that leaves out what cannot be copied{instead}"
        ) from None


def made_by(factory: Any) -> Any:
    """What a class or function makes when it is called without arguments.

    Raises:
        FLPError: if it needs arguments.
    """
    try:
        return factory()
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # of what it does, not of how it is called
        name = getattr(factory, "__name__", type(factory).__name__)
        raise FLPError(
            f"{name} is called without arguments for every lifetime, and cannot be ({error}): give an instance, or "
            f"lambda: {name}(...)"
        ) from None
