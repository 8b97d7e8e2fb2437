"""Makes environments by their ids, of all families. Importing this registers the ids, cheaply: no torch, no data."""

from __future__ import annotations

import importlib
import keyword
import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from flp_base.errors import FLPError, InvalidChoice, InvalidSize, check_choice, in_short
from flp_base.files import LARGEST_INTEGER
from flp_envs.families.family import FAMILIES
from flp_envs.online_env import OnlineLearningEnv
from flp_envs.recording import ProtocolError
from flp_envs.task import Task, lifetime_of
from flp_envs.vector_env import OnlineLearningVectorEnv


class InvalidOption(FLPError, ValueError):
    """A keyword argument that no environment is to be given."""


# Gymnasium's own ids, and those of packages that were imported earlier.
_REGISTERED_BEFORE = frozenset(gym.registry)
FAMILIES.discover()
FAMILIES.load_all()
#: The ids of this package.
ENV_IDS = tuple(env_id for name in FAMILIES.built_in() for env_id in FAMILIES[name].ids)


# Keyword arguments that are no options of an environment's own, and what sets each.
RESERVED_OPTIONS = {
    "split": "--split, or a plan's split, sets it",
    "render_mode": "flp render sets it",
    "id": "the environment is named by its id",
    "env_id": "the environment is named by its id",
    "family": "the environment's id says it",
    "max_episode_steps": "an episode ends after its query",
    "disable_env_checker": "it changes no episode",
    "data_root": "--data-root or FLP_DATA_ROOT sets it",
}


def option_names(family: str) -> list[str]:
    """The keyword arguments of a family's ids, besides ``render_mode``."""
    return sorted(FAMILIES[family].parameters)


def resolved_options(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """All options that an environment was made with: those given, those registered, and this package's defaults.

    Where the data lies, and how an episode is drawn on a screen, are none of them: they change no episode.
    """
    given = dict(env.spec.kwargs) if env.spec else {}
    family = given.get("family")
    known = FAMILIES[family].parameters if isinstance(family, str) and family in FAMILIES else {}
    defaults = {name: p.default for name, p in known.items() if p.default is not p.empty}
    return {name: value for name, value in {**defaults, **given}.items() if name not in ("data_root", "render_mode")}


def check_options(where: str, options: Mapping[str, Any]) -> None:
    """Makes sure that keyword arguments are ones that a user may give to an environment, as plain values.

    Args:
        where: they come from, for the error, such as "--env-option".
        options: by name.

    Raises:
        InvalidOption: for what is not the name of a keyword argument, or reserved (:data:`RESERVED_OPTIONS`), or for a
            value other than numbers, truth values, text, and lists or tables of them.
    """
    for name, value in options.items():
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise InvalidOption(f"{where}: {in_short(name)} is no name of an option, such as steps_per_function")
        if name in RESERVED_OPTIONS:
            raise InvalidOption(f"{where}: {name} is not set here: {RESERVED_OPTIONS[name]}")
        if not _is_plain(value):
            raise InvalidOption(
                f"{where}: {name} must be a finite number, true or false, text, or a list or table of these, "
                f"got {in_short(value)}"
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for name in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) <= LARGEST_INTEGER if isinstance(value, int) else math.isfinite(value)
    return value is None or isinstance(value, bool | str)


def make_task(family: str, **options: Any) -> Task:
    """The task of a family's ids.

    Raises:
        InvalidChoice: for an unknown option, naming the nearest valid ones.
    """
    for name in options:
        check_choice(f"option of the {family} environments", name, option_names(family))
    return FAMILIES[family].make(**options)


def make_env(family: str, *, render_mode: str | None = None, **task: Any) -> OnlineLearningEnv:
    """One env of a family."""
    return OnlineLearningEnv(make_task(family, **task), render_mode=render_mode)


def make_vector_env(
    family: str,
    num_envs: int = 1,
    *,
    render_mode: str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    **task: Any,
) -> OnlineLearningVectorEnv:
    """Many at once. ``max_episode_steps`` comes with the spec of an env, and can only be what it is."""
    made = make_task(family, **task)
    if max_episode_steps not in (None, lifetime_of(made)):
        raise InvalidSize(
            f"lifetimes have {lifetime_of(made)} steps with these options, got max_episode_steps={max_episode_steps}: "
            "leave it out, and change the options that say how many steps there are"
        )
    return OnlineLearningVectorEnv(made, num_envs, render_mode=render_mode, autoreset_mode=autoreset_mode)


def known_ids() -> list[str]:
    """The ids of this package, and all that were registered since: those of plug-ins."""
    return [*ENV_IDS, *(env_id for env_id in gym.registry if env_id not in {*_REGISTERED_BEFORE, *ENV_IDS})]


# The modules that make() imported ids from, by id.
_MODULES: dict[str, str] = {}


def id_to_make(env: gym.Env[Any, Any]) -> str:
    """The id by which :func:`make` makes such an env in another process: with the module that it comes from."""
    if env.spec is None:
        return type(env.unwrapped).__name__
    module = _MODULES.get(env.spec.id, "")
    return f"{module}:{env.spec.id}" if module else env.spec.id


def options_given(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """The keyword arguments that say which env of an id it is, without those that the id brings.

    They say nothing of its split, of its pictures and of where its data lie.
    """
    if env.spec is None:
        return {}
    of_id = gym.registry[env.spec.id].kwargs if env.spec.id in gym.registry else {}
    beside = ("split", "render_mode", "data_root")
    return {
        name: value
        for name, value in env.spec.kwargs.items()
        if name not in beside and (name not in of_id or of_id[name] != value)
    }


def made_with(env: gym.Env[Any, Any], **changes: Any) -> gym.Env[Any, Any]:
    """Another environment like one, with some of its keyword arguments changed.

    Raises:
        ProtocolError: if it has no id by which it can be made again.
        InvalidChoice: for an unknown option.
    """
    if env.spec is None:
        raise ProtocolError(
            f"{type(env.unwrapped).__name__} has no id, so it cannot be made again with other options: register it "
            "(gymnasium.register), and make it by its id"
        )
    if env.spec.additional_wrappers:
        return gym.make(env.spec, **changes)
    return make(id_to_make(env), **{**env.spec.kwargs, **changes})


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    """``gym.make``, with clear errors.

    Raises:
        InvalidChoice: for an unknown id, naming the nearest of :func:`known_ids`.
        ProtocolError: if the env does not take the options that every env of the protocol takes, or if the module that
            stands before an id cannot be imported.
    """
    if module := env_id.rpartition(":")[0]:
        try:
            importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a user's module does, SystemExit too
            reason = f"{type(error).__name__}: {error}"
            raise ProtocolError(f"cannot make {env_id}: importing {module} fails: {reason}") from None
    elif env_id not in gym.registry:
        raise InvalidChoice("environment", env_id, known_ids(), "one of your own is named with its module, MODULE:ID")
    try:
        env = gym.make(env_id, **options)
        if module and env.spec is not None:
            _MODULES[env.spec.id] = module
        return env
    except FLPError:
        raise
    except Exception as error:  # of a user's environment, whatever its constructor raises
        known = isinstance(error, TypeError | gym.error.Error | ImportError)
        reason = str(error).split(" was raised from")[0] if known else f"{type(error).__name__}: {error}"
        raise ProtocolError(f"cannot make {env_id} with {options}: {reason}") from error
