"""A preset as its TOML file has it, and the registry of presets.

A file may hold:

* ``extends = "paper"``: the preset whose values it has besides its own;
* tables ``[numbers]`` and ``[images]``, for the two kinds of environments, with a table for each section of settings;
* ``[[cases]]``: what is set where ``when`` holds, by ``kind``, ``learner``, ``env`` or the value of any option; the
  later case wins;
* ``[[environments]]``: ``options`` of all environments whose id begins with ``env``, on all ``splits``, on those that
  are "meta-trained on", or on the "others".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flp_agents.learners.registered import LEARNERS
from flp_agents.support.settings import checked, option_fields, option_names, options_of
from flp_agents.training.presets.lines import Keys, line_of
from flp_agents.training.settings import Settings
from flp_base.errors import FLPError, InvalidChoice, check_choice, in_short
from flp_base.files import UnreadableContent, parse_toml, read_bytes
from flp_base.registry import Registry, RegistryError
from flp_envs.registration import known_ids

KINDS = ("numbers", "images")
ALL, META_TRAINED_ON, OTHERS = SPLITS = ("all", "meta-trained on", "others")
# What a case may ask for besides the values of options.
_KNOWN = ("kind", "learner", "env")


class PresetError(FLPError, ValueError):
    """A file that holds no preset; the text names the file, the line and what was expected."""


@dataclass(frozen=True)
class Case:
    """What a preset sets under some conditions.

    Attributes:
        when: the values that hold then, of ``kind``, ``learner``, ``env`` and of options by their names.
        values: of options by their names.
    """

    when: Mapping[str, Any]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class EnvironmentOptions:
    """What a preset says of environments.

    Attributes:
        env: what their ids begin with.
        options: keyword arguments.
        splits: one of :data:`SPLITS`.
    """

    env: str
    options: Mapping[str, Any]
    splits: str = ALL


@dataclass(frozen=True)
class Preset:
    """What a preset's file says, with that of the preset which it extends.

    Attributes:
        name: of the preset.
        values: of options by their names, for each kind of environments.
        cases: what is set for some learners and environments besides; the later one wins.
        environments: options of environments.
    """

    name: str
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    environments: tuple[EnvironmentOptions, ...] = ()

    def values_for(self, kind: str) -> Mapping[str, Any]:
        """The options that it sets for a kind of environments and every learner, by their names.

        Raises:
            InvalidChoice: for an unknown kind.
        """
        return self.values.get(check_choice("kind of environments", kind, KINDS), {})


def _check(name: str, preset: Any) -> None:
    if not isinstance(preset, Preset):
        raise RegistryError(f"expected the preset {name!r} to be a Preset, see load_preset(), got {preset!r}")


#: Presets by name: those beside this module, and files of users that were loaded.
PRESETS: Registry[Preset] = Registry("preset", check=_check, advice="a file of your own ends in .toml")


def load_preset(path: str | Path) -> str:
    """Reads a preset from a file of the user's, so that it is known by the file's name without its ending.

    Args:
        path: of the file.

    Returns:
        The preset's name.

    Raises:
        PresetError: if the file holds no preset, naming the line.
        FLPError: if it cannot be read, or if one of these packages' presets has its name.
    """
    file = Path(path)
    if PRESETS.is_built_in(file.stem):
        raise PresetError(f"{file}: a preset of this package is called {file.stem}: rename the file")
    PRESETS.add(file.stem, read_preset(file), of_user=True)
    return file.stem


def read_preset(path: Path) -> Preset:
    """A preset of a file, which is not registered.

    Raises:
        PresetError: if the file holds no preset, naming the line.
        FLPError: if it cannot be read.
    """
    try:
        data = read_bytes(path)
        content = parse_toml(data)
    except UnreadableContent as error:
        raise PresetError(f"{path} {error}") from None
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return _preset_of(path.stem, content)
    except _Wrong as error:
        line = line_of(data.decode("utf-8-sig"), error.keys)
        raise PresetError(f"{path}{f', line {line}' if line else ''}: {error}") from None


class _Wrong(Exception):
    """What is wrong with the value at some keys."""

    def __init__(self, keys: Keys, error: object) -> None:
        super().__init__(str(error))
        self.keys = keys


def _preset_of(name: str, content: Mapping[str, Any]) -> Preset:
    _check_keys((), content, ("extends", *KINDS, "cases", "environments"))
    if not content:
        raise _Wrong((), "expected extends, or one of the tables [numbers], [images], [[cases]] and [[environments]]")
    base = Preset(name)
    if "extends" in content:
        extended = content["extends"] if isinstance(content["extends"], str) else ""
        _add_built_in(extended)
        try:
            base = PRESETS[extended]
        except InvalidChoice as error:
            raise _Wrong(("extends",), error) from None
    values = {kind: {**base.values.get(kind, {}), **_values((kind,), content.get(kind, {}))} for kind in KINDS}
    cases = [_case(("cases", i), case) for i, case in enumerate(_list(("cases",), content.get("cases", [])))]
    environments = [
        _environment(("environments", i), entry)
        for i, entry in enumerate(_list(("environments",), content.get("environments", [])))
    ]
    return Preset(name, values, (*base.cases, *cases), (*base.environments, *environments))


def _case(keys: Keys, content: Any) -> Case:
    if "when" not in _table(keys, content):
        raise _Wrong(keys, 'a case needs when, the conditions under which it holds, such as when.learner = "flp"')
    conditions = _table((*keys, "when"), content["when"])
    fields = option_fields()
    for name, value in conditions.items():
        place = (*keys, "when", name)
        _checked(place, lambda name=name: check_choice("condition", name, (*_KNOWN, *fields)))
        if name not in _KNOWN:
            _checked(place, lambda name=name, value=value: checked(fields[name], value, name))
        elif not isinstance(value, str):
            raise _Wrong(place, f"{name} must be text, got {in_short(value)}")
    for name, kind, valid in (("kind", "kind of environments", KINDS), ("learner", "learner", LEARNERS)):
        if name in conditions:
            _checked(
                (*keys, "when", name),
                lambda name=name, kind=kind, valid=valid: check_choice(kind, conditions[name], valid),
            )
    return Case(conditions, _values(keys, {name: of for name, of in content.items() if name != "when"}))


def _environment(keys: Keys, content: Any) -> EnvironmentOptions:
    _check_keys(keys, _table(keys, content), ("env", "options", "splits"))
    env, splits = content.get("env"), content.get("splits", ALL)
    if not isinstance(env, str) or not env:
        raise _Wrong((*keys, "env"), f"env must be the beginning of environments' ids, got {in_short(env)}")
    if not any(env_id.startswith(env) for env_id in known_ids()):
        raise _Wrong(
            (*keys, "env"), InvalidChoice("environment", env, known_ids(), "a plug-in's are known with --plugin")
        )
    _checked((*keys, "splits"), lambda: check_choice("splits", splits, SPLITS))
    return EnvironmentOptions(env, _table((*keys, "options"), content.get("options", {})), splits)


def _values(keys: Keys, content: Any) -> dict[str, Any]:
    """Options by their names, of a table of sections."""
    options_by_name = option_names()
    names = {place: name for name, place in options_by_name.items()}
    found = {}
    known = Settings().parts
    for section, values in _table(keys, content).items():
        if section in options_by_name and section not in known:
            of = options_by_name[section][0]
            raise _Wrong((*keys, section), f"{section} is an option of {of}: write {of}.{section}")
        _checked((*keys, section), lambda s=section: check_choice("section", s, known))
        options = options_of(known[section])
        for own, value in _table((*keys, section), values).items():
            place = (*keys, section, own)
            _checked(place, lambda o=own, s=section, of=options: check_choice(f"option of {s}", o, of))
            found[names[section, own]] = _checked(place, lambda o=own, v=value, of=options: checked(of[o], v))
    return found


def _checked(keys: Keys, check: Any) -> Any:
    try:
        return check()
    except FLPError as error:
        raise _Wrong(keys, error) from None


def _check_keys(keys: Keys, content: Mapping[str, Any], valid: tuple[str, ...]) -> None:
    for name in content:
        _checked((*keys, name), lambda name=name: check_choice("key", name, valid))


def _table(keys: Keys, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong(keys, f"{keys[-1]} must be a table, got {in_short(value)}")
    return value


def _list(keys: Keys, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Wrong(keys, f"{keys[-1]} must be a list of tables, [[{keys[-1]}]], got {in_short(value)}")
    return value


def _add_built_in(name: str) -> None:
    """Registers a preset of this folder, which another one may have needed before its turn."""
    path = _BUILT_IN.get(name)
    if path is not None and name not in PRESETS.snapshot():
        PRESETS.add(name, read_preset(path))


_BUILT_IN = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
for _name in _BUILT_IN:
    _add_built_in(_name)
