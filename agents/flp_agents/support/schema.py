"""Plain values, as JSON has them, against the types that a class says its arguments have."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flp_base.errors import FLPError, in_short


class WrongValue(FLPError, ValueError):
    """A value of another type than its field has; the text begins with the field's name."""


def argument_types(build: Callable[..., Any]) -> dict[str, Any]:
    """The types of a class's constructor or a function's arguments, by name; none where it says nothing."""
    fields_are_arguments = dataclasses.is_dataclass(build) or typing.is_typeddict(build)
    source: Any = build.__init__ if inspect.isclass(build) and not fields_are_arguments else build
    try:
        return typing.get_type_hints(source)
    except (NameError, TypeError, AttributeError):
        return {}  # annotations that mean nothing here, as a class of somebody else may have


def fit(name: str, value: Any, wanted: Any) -> Any:
    """Returns a value if it has a type; lists where the type is a tuple or a sequence become tuples.

    Args:
        name: of the field, for the error.
        value: made of mappings, lists, numbers, text, truth values, none, and instances of classes.
        wanted: a type, as an annotation writes it: a class, a protocol, a ``TypedDict``, a union, or a tuple, list,
            sequence or mapping of types. ``float`` takes whole numbers too, ``int`` and ``float`` take no truth
            values. What is none of these, as ``Any``, takes everything.

    Raises:
        WrongValue: naming the field, or the part of it, that has not.
    """
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            try:
                return fit(name, value, part)
            except WrongValue as error:
                # Of a list or a table, the part that is wrong says more than the whole union.
                if isinstance(value, list | tuple | Mapping) and part is not type(None) and len(parts) == 2:
                    raise error from None
        raise _wrong(name, value, wanted)
    kind = origin or wanted
    if kind in (tuple, list, Sequence):
        return _fit_sequence(name, value, wanted)
    if kind in (dict, Mapping) or typing.is_typeddict(kind):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _wrong(name, value, wanted)
        known = argument_types(kind) if typing.is_typeddict(kind) else {}
        missing = sorted(getattr(kind, "__required_keys__", frozenset()) - value.keys())
        if missing:
            raise WrongValue(f"{name or 'it'} lacks {missing[0]!r}")
        of_others = parts[1] if parts else Any
        return {
            key: fit(f"{name}.{key}" if name else key, part, known.get(key, of_others)) for key, part in value.items()
        }
    if not _is_a(value, kind):
        raise _wrong(name, value, wanted)
    return value


def _fit_sequence(name: str, value: Any, wanted: Any) -> Any:
    kind, parts = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if not isinstance(value, list | tuple):
        raise _wrong(name, value, wanted)
    if kind is tuple and parts and parts[-1] is not ...:
        if len(value) != len(parts):
            raise _wrong(name, value, wanted)
        of_each = parts
    else:
        of_each = (parts[0] if parts else Any,) * len(value)
    items = (fit(f"{name}[{i}]", item, of) for i, (item, of) in enumerate(zip(value, of_each, strict=True)))
    return list(items) if kind is list else tuple(items)


def _is_a(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is None:
        return value is None
    if getattr(kind, "_is_protocol", False):
        own = {**vars(kind), **getattr(kind, "__annotations__", {})}
        members = [member for member in own if not member.startswith("_") or member == "__call__"]
        return all(hasattr(value, member) for member in members)
    return isinstance(value, kind) if inspect.isclass(kind) and kind is not Any else True


_IN_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", type(None): "none"}
_MANY = {int: "whole numbers", float: "finite numbers", str: "texts"}


def _wrong(name: str, value: Any, wanted: Any) -> WrongValue:
    return WrongValue(f"{name} must be {_in_words(wanted)}, got {in_short(value)}")


def _in_words(wanted: Any) -> str:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(part) for part in parts)
    kind = origin or wanted
    if kind in (tuple, list, Sequence):
        many = _MANY.get(parts[0], "values") if parts and len({*parts} - {...}) == 1 else "values"
        return (
            f"a list of {len(parts)} {many}"
            if kind is tuple and parts and parts[-1] is not ...
            else f"a list of {many}"
        )
    if kind in (dict, Mapping) or typing.is_typeddict(kind):
        return "a table"
    return _IN_WORDS.get(kind, f"a {getattr(kind, '__name__', kind)}")
