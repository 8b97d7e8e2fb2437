"""Old names of what was renamed: each works for one more version, with a warning that says the new name.

For a method or an attribute write ``old = Renamed("new")`` in the class. Where users subclass it, call
:func:`take_old_names` in ``__init_subclass__``, so that what they define under an old name counts as the new one. For a
parameter there is the decorator :func:`renamed_parameters`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from inspect import getattr_static
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def warn_renamed(old: str, new: str, *, stacklevel: int = 2) -> None:
    """Says that a name is an old one; ``stacklevel`` as in :func:`warnings.warn`, 1 the caller of this function."""
    message = f"{old} is now called {new}; the old name goes with the next version"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 1)


class Renamed:
    """The old name of a method or an attribute, as a class attribute.

    Args:
        new: its name now.
    """

    def __init__(self, new: str) -> None:
        self.new, self._old = new, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:  # looked up by what inspects classes
            return self
        warn_renamed(f"{owner.__name__}.{self._old}", self.new)
        # Where a class overrides the old name and calls super(), what comes after it is meant: itself would not end.
        overriding = [
            cls for cls in owner.__mro__ if self._old in vars(cls) and not isinstance(vars(cls)[self._old], Renamed)
        ]
        return getattr(super(overriding[-1], instance) if overriding else instance, self.new)


def take_old_names(cls: type) -> None:
    """Makes what a subclass defines under an old name count as the new one."""
    for old, value in list(vars(cls).items()):
        renamed = next((found for base in cls.__mro__[1:] if isinstance(found := vars(base).get(old), Renamed)), None)
        if renamed is not None and not isinstance(value, Renamed):
            warn_renamed(f"{cls.__name__}.{old}", renamed.new, stacklevel=3)
            if renamed.new not in vars(cls):
                setattr(cls, renamed.new, value)


def renamed_parameters(**new_names: str) -> Callable[[Function], Function]:
    """Lets a function take keyword arguments by their old names.

    Args:
        new_names: the new name of each old one.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in new_names.keys() & kwargs.keys():
                new = new_names[old]
                if new in kwargs:
                    raise TypeError(f"{function.__qualname__} got both {new} and {old}, its old name")
                warn_renamed(f"{old} of {function.__qualname__}", new)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast("Function", call)

    return decorate


def renamed_method(of: Any, new: str, old: str) -> Any:
    """A method of an object that somebody may have written when it had another name."""
    if getattr_static(of, new, None) is None and hasattr(of, old):
        warn_renamed(f"{type(of).__name__}.{old}", new, stacklevel=3)
        return getattr(of, old)
    return getattr(of, new)
