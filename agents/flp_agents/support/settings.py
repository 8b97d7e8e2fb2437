"""Settings: named values with a help text and a range, in frozen dataclasses, one for each part of a run.

Each part (a learner, an estimator, the network, the outer loop) has a dataclass of its own, a *section*, beside the
code that reads it. Presets, the command line and checkpoints read what is registered here. To give a learner of your
own settings: decorate a dataclass with :func:`register_settings`. A plasticity rule, an estimator or an outer objective
that is a dataclass needs no second one: those of its fields that are made by :func:`option` are its settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from flp_agents.support.savable import SAVABLE
from flp_base.errors import (
    LARGEST_WHOLE,
    FLPError,
    InvalidChoice,
    InvalidSize,
    check_at_least,
    check_choice,
    check_number,
    in_short,
)
from flp_base.registry import Registry, RegistryError

Made = TypeVar("Made", bound=type[Any])

# No unit of a network, and no length, is above this; sizes whose products torch cannot even count never reach it.
LARGEST_SIZE = 2**20
# Products of three such numbers still fit float32.
_LARGEST_NUMBER = 1e12


def option(
    default: Any,
    text: str,
    *,
    least: float | None = None,
    above: float = -math.inf,
    most: float | None = None,
    choices: Collection[str] | None = None,
) -> Any:
    """A field with its own help text, and its range or its valid values.

    Args:
        default: value of the field.
        text: what it is.
        least: the smallest; none: 0 for whole numbers, minus :data:`_LARGEST_NUMBER` for others.
        above: what a number that is not whole must exceed.
        most: the largest; none: :data:`_LARGEST_NUMBER`, or what whole numbers may be at all.
        choices: of a field that names something: the valid values, such as a registry; none: any.
    """
    usual = (-_LARGEST_NUMBER, _LARGEST_NUMBER) if isinstance(default, float) else (0, LARGEST_WHOLE)
    bounds = (usual[0] if least is None else least, above, usual[1] if most is None else most)
    return field(default=default, metadata={"help": text, "bounds": bounds, "choices": choices})


@dataclass(frozen=True)
class Section:
    """Base of a frozen dataclass of options, which checks its values.

    Raises:
        InvalidSize: for a value of another type than the field's default, or out of its range.
        InvalidChoice: for a value that is none of the field's choices.
    """

    def __post_init__(self) -> None:
        for of in options_of(type(self)).values():
            object.__setattr__(self, of.name, checked(of, getattr(self, of.name)))


def checked(of: Field[Any], value: Any, name: str = "") -> Any:
    """An option's value, if it has the type of the option's default and lies in its range.

    Args:
        of: the option's field.
        value: of it.
        name: that messages call it by; empty: the field's.

    Raises:
        InvalidSize: for another type, or out of range.
        InvalidChoice: if it is none of the option's choices.
    """
    name, (least, above, most) = name or of.name, of.metadata["bounds"]
    if isinstance(of.default, float):
        return check_number(name, value, least=least, above=above, most=most)
    if isinstance(of.default, bool | str):
        if type(value) is not type(of.default):
            kind = "true or false" if isinstance(of.default, bool) else "text"
            raise InvalidSize(f"{name} must be {kind}, got {in_short(value)}")
        choices = of.metadata["choices"]
        # Going through a registry asks all installed packages; a look-up does not.
        return value if choices is None or value in choices else check_choice(name, str(value), choices)
    if isinstance(of.default, int):
        return check_at_least(name, value, least, most)
    if not isinstance(value, list | tuple):
        raise InvalidSize(f"{name} must be a list of whole numbers, got {in_short(value)}")
    return tuple(check_at_least(f"each of {name}", item, least, most) for item in value)


def options_of(section: Any) -> dict[str, Field[Any]]:
    """The options of a dataclass, by name; nothing of what is none."""
    return {of.name: of for of in fields(section) if "bounds" in of.metadata} if is_dataclass(section) else {}


def _check(name: str, section: Any) -> None:
    if not isinstance(section, type) or not options_of(section):
        raise RegistryError(
            f"expected the settings {name!r} to be a frozen dataclass with fields made by option(), got {section!r}"
        )


#: Dataclasses of options by the name of what reads them: of a learner, an estimator, the network or the outer loop.
SECTIONS: Registry[type[Any]] = Registry("section of settings", check=_check)


def register_settings(name: str) -> Callable[[Made], Made]:
    """Makes a frozen dataclass of options the settings of a part, as a decorator of it.

    Its fields, made by :func:`option`, become options of ``flp train`` and values that a preset can set. A learner
    that is registered by the same name is built with those that its constructor has parameters for.

    Args:
        name: that the learner, or other part, is registered by.

    Raises:
        RegistryError: if it has no options, or if other settings have this name.
    """
    return SECTIONS.register(name)


def sections() -> dict[str, type[Any]]:
    """All sections by name: what is registered as such, and every registered part that has options itself."""
    found = dict(SECTIONS.snapshot())
    for registry in Registry.every:
        if registry is not SECTIONS and registry is not SAVABLE:
            for name, thing in registry.snapshot().items():
                if isinstance(thing, type) and options_of(thing):
                    found.setdefault(name, thing)
    return found


def is_users(section: str) -> bool:
    """Whether a user brings a section: its options are then saved only where they are not the default."""
    return not any(registry.is_built_in(section) for registry in Registry.every if section in registry.snapshot())


def option_names() -> dict[str, tuple[str, str]]:
    """Every option by the name that commands, presets and checkpoints know it by: its section's name and its own.

    The name is the option's own. Where a section is a user's, or is a registered part itself, it is ``section.option``.
    """
    dotted = {name: name not in SECTIONS.snapshot() or is_users(name) for name in sections()}
    return {
        f"{section}.{name}" if dotted[section] else name: (section, name)
        for section, made in sorted(sections().items(), key=lambda item: dotted[item[0]])
        for name in options_of(made)
    }


def option_fields() -> dict[str, Field[Any]]:
    """Every option's field by its name, see :func:`option_names`."""
    return {name: options_of(sections()[section])[own] for name, (section, own) in option_names().items()}


def option_named(name: str) -> str:
    """An option's full name, of that or of a short one that only one option has.

    Raises:
        InvalidChoice: for an unknown name, naming the nearest, or one that several options of users have.
    """
    known = option_names()
    if name in known:
        return name
    full = [other for other, (section, own) in known.items() if name in (own, f"{section}.{own}")]
    if len(full) > 1:
        raise FLPError(f"several options are called {name}: use one of {', '.join(full)}")
    if not full:
        raise InvalidChoice("preset field", name, known)
    return full[0]


def by_section(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options by name, sorted into their sections.

    Raises:
        InvalidChoice: see :func:`option_named`.
    """
    known, found = option_names(), dict[str, dict[str, Any]]()
    for name, value in values.items():
        section, own = known[option_named(name)]
        found.setdefault(section, {})[own] = value
    return found
