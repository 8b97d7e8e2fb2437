"""A learner as plain values: what a checkpoint says of it, and how it is built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from flp_agents.learners.learner import Learner
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins
from flp_agents.support.bounded_allocations import TooLarge
from flp_agents.support.savable import class_name
from flp_agents.support.schema import WrongValue, argument_types, fit
from flp_agents.training.checkpoint_content import CheckpointError as CheckpointError
from flp_base.errors import FLPError, in_short


class MissingClass(CheckpointError):
    """A checkpoint of a class that a plug-in has to bring."""

    def __init__(self, text: str, module: str) -> None:
        super().__init__(text)
        self.module = module


def describe(value: Any) -> Any:
    """A learner, one of its parts, or a plain value, as JSON.

    Raises:
        CheckpointError: for a class that :func:`rebuild` would not build, or a value that is not plain.
    """
    if isinstance(value, Learner):
        arguments: Mapping[str, Any] = _settings_of(value)
    elif is_dataclass(value) and not isinstance(value, type):
        arguments = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    elif isinstance(value, list | tuple):
        return [describe(v) for v in value]
    elif value is None or isinstance(value, str | bool | int | float):
        return value
    else:
        raise CheckpointError(
            f"cannot save {in_short(value)}: expected numbers, text, tuples of them, or dataclasses that are registered"
        )
    return {"type": _name_of(type(value)), **{name: describe(v) for name, v in arguments.items()}}


def _name_of(cls: type[Any]) -> str:
    """As descriptions name a class: those of this package by themselves, all others with their module."""
    name = class_name(cls)
    registered = plugins.registered_class(name)
    if registered is cls:
        return name
    if registered is not None:
        raise CheckpointError(f"cannot save {cls.__name__}: its class was defined anew since: build the learner again")
    how = "@flp_agents.register_learner(NAME)" if issubclass(cls, Learner) else "@flp_agents.register_class"
    raise CheckpointError(f"cannot save {cls.__name__}: decorate it with {how}, so that a checkpoint may name it")


def _settings_of(learner: Learner[Any]) -> Mapping[str, Any]:
    """The constructor's arguments, all of them: what is left out would silently be another one's default."""
    settings: Mapping[str, Any] = getattr(learner, "settings", {})
    wanted = plugins.parameters_of(type(learner))
    for name in [n for n, p in wanted.items() if p.kind is not p.VAR_KEYWORD and n not in settings]:
        raise CheckpointError(
            f"cannot save {type(learner).__name__}: its settings lack the constructor's argument {name!r}: add "
            f"self.settings = {{**self.settings, {name!r}: {name}}} after super().__init__(...)"
        )
    return settings


def rebuild(description: Any, wanted: Any = Any, name: str = "learner") -> Any:
    """What :func:`describe` described.

    Args:
        description: plain values.
        wanted: the type that it must have, see :func:`flp_agents.support.schema.fit`.
        name: of the field that holds it, for errors.

    Raises:
        CheckpointError: if it names an unknown class or argument, or a value is not of the type that its argument has,
            or out of its range; the text names the field.
    """
    if isinstance(description, list):
        description = tuple(rebuild(part, name=f"{name}[{i}]") for i, part in enumerate(description))
    elif isinstance(description, dict):
        description = _build(description, name)
    try:
        return fit(name, description, wanted)
    except WrongValue as error:
        raise CheckpointError(str(error)) from None


def _build(description: Mapping[str, Any], name: str) -> Any:
    # The learners' modules bring their classes, and those of their parts; who loads a checkpoint may have none yet.
    LEARNERS.discover()
    kind = description.get("type")
    brought = isinstance(kind, str) and ":" in kind
    build: Any = plugins.registered_class(kind) if isinstance(kind, str) else None
    if build is None and brought:
        module = str(kind).partition(":")[0]
        raise MissingClass(f"the checkpoint names the class {kind}, which is not registered here", module)
    if build is None:
        raise CheckpointError(
            f"{name}: the description names the unknown class {in_short(kind)}: was it saved by a newer version?"
        )
    # What somebody else's class says of its arguments may be less than true; its constructor says what it refuses.
    types = {} if brought else argument_types(build)
    arguments = {
        key: rebuild(value, types.get(key, Any), f"{name}.{key}") for key, value in description.items() if key != "type"
    }
    try:
        return build(**arguments)
    except (CheckpointError, TooLarge, MemoryError):
        raise
    except FLPError as error:
        raise CheckpointError(f"{name}: {error}") from None
    except Exception as error:  # whatever a class says of arguments that are not its own
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{name}: the description does not fit {kind}: {reason}") from None
