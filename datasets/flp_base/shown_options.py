"""How an object with options is printed: as the call that makes it, never as an address in memory."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

# In characters; a learner that an agent holds fits in.
LONGEST_VALUE = 2000


class ShowsOptions:
    """Base of what is made with options: its ``repr`` is the call that makes it, with the values in use."""

    def __repr__(self) -> str:
        return as_call(self, options_of(self))


def options_of(thing: Any) -> dict[str, Any]:
    """The constructor's arguments that an object keeps, as attributes of the same name or with ``_`` before it."""
    kept = vars(thing)
    options = {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        attribute = next((candidate for candidate in (name, f"_{name}") if candidate in kept), None)
        if attribute is not None and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            options[name] = kept[attribute]
    return options


def as_call(thing: Any, options: Mapping[str, Any]) -> str:
    """``Name(option=value, ...)``; arrays by their shape."""
    return f"{type(thing).__name__}({', '.join(f'{name}={_shown(value)}' for name, value in options.items())})"


def _shown(value: Any) -> str:
    """A value's own ``repr`` without addresses, in one line of readable length."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{type(value).__name__} {tuple(value.shape)} {value.dtype}>"
    text = re.sub(r"(?: object)? at 0x[0-9A-Fa-f]+", "", " ".join(repr(value).split()))
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
