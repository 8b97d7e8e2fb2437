"""Every environment id, flat: from an id to its file in one hop. Importing this is cheap: no torch, no data."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from flp_datasets.errors import FLPError, InvalidChoice, check_choice
from flp_envs.few_shot import FewShotTask
from flp_envs.online_env import OnlineLearningEnv
from flp_envs.recording import ProtocolError
from flp_envs.sine import SineTask
from flp_envs.task import Task
from flp_envs.vector_env import OnlineLearningVectorEnv

# Every id is a family and a schedule.
SCHEDULES = {"IID": 1.0, "Continual": 0.0}


def make_sine_task(**options: Any) -> SineTask:
    """``FLPSine-*``: options are those of :class:`flp_envs.sine.SineTask`."""
    return SineTask(**options)


def make_glyph_task(split: str = "meta-train", *, image_size: int = 28, **options: Any) -> FewShotTask:
    """``FLPGlyph-*``: drawn on the fly; further options are those of :class:`flp_envs.few_shot.FewShotTask`."""
    from flp_datasets.glyphs import Glyphs

    return FewShotTask(Glyphs(split, image_size), split, **options)


def make_omniglot_task(
    split: str = "meta-train",
    *,
    image_size: int = 28,
    data_root: str | os.PathLike[str] | None = None,
    rotations: bool = False,
    **options: Any,
) -> FewShotTask:
    """``FLPOmniglot-*``, from a pack that ``flp data prepare omniglot`` made.

    With ``rotations``, a character that is meta-trained on (``split`` "meta-train" or "meta-trainval") is four
    classes, one for each quarter turn.
    """
    from flp_datasets.catalogue import open_classes
    from flp_datasets.rotated import Rotated

    if not isinstance(rotations, bool):
        raise InvalidChoice("value of rotations", str(rotations), ("True", "False"))
    classes = open_classes("omniglot", split, image_size=image_size, data_root=data_root)
    turned = rotations and split in ("meta-train", "meta-trainval")
    return FewShotTask(Rotated(classes) if turned else classes, split, **options)


def make_mini_imagenet_task(
    split: str = "meta-train",
    *,
    image_size: int = 84,
    data_root: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FewShotTask:
    """``FLPMiniImageNet-*``, from a pack that ``flp data prepare mini_imagenet`` made."""
    from flp_datasets.catalogue import open_classes

    return FewShotTask(
        open_classes("mini_imagenet", split, image_size=image_size, data_root=data_root), split, **options
    )


FAMILIES: dict[str, Callable[..., Task]] = {
    "FLPSine": make_sine_task,
    "FLPGlyph": make_glyph_task,
    "FLPOmniglot": make_omniglot_task,
    "FLPMiniImageNet": make_mini_imagenet_task,
}
ENV_IDS = tuple(f"{family}-{schedule}-v0" for family in FAMILIES for schedule in SCHEDULES)


def option_names(family: str) -> list[str]:
    """The keyword arguments of a family's ids, besides ``render_mode``."""
    makers: list[Callable[..., Any]] = [FAMILIES[family], SineTask if family == "FLPSine" else FewShotTask]
    parameters = [p for maker in makers for p in inspect.signature(maker).parameters.values()]
    return sorted({p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"classes"})


def make_task(family: str, **options: Any) -> Task:
    """The task of a family's ids.

    Raises:
        InvalidChoice: for an unknown option, naming the nearest valid ones.
    """
    for name in options:
        check_choice(f"option of the {family} environments", name, option_names(family))
    return FAMILIES[family](**options)


def make_env(family: str, *, render_mode: str | None = None, **task: Any) -> OnlineLearningEnv:
    """One env of a family."""
    return OnlineLearningEnv(make_task(family, **task), render_mode=render_mode)


def make_vector_env(
    family: str,
    num_envs: int = 1,
    *,
    render_mode: str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **task: Any,
) -> OnlineLearningVectorEnv:
    """Many at once."""
    return OnlineLearningVectorEnv(
        make_task(family, **task), num_envs, render_mode=render_mode, autoreset_mode=autoreset_mode
    )


def register() -> None:
    """Registers all ids with Gymnasium."""
    for family in FAMILIES:
        for schedule, interleaving in SCHEDULES.items():
            gym.register(
                id=f"{family}-{schedule}-v0",
                entry_point="flp_envs.registration:make_env",
                vector_entry_point="flp_envs.registration:make_vector_env",
                kwargs={"family": family, "interleaving": interleaving},
            )


# Gymnasium's own ids, and those of packages that were imported earlier.
_REGISTERED_BEFORE = frozenset(gym.registry)


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
        raise InvalidChoice("environment", env_id, known_ids())
    try:
        env = gym.make(env_id, **options)
        if module and env.spec is not None:
            _MODULES[env.spec.id] = module
        return env
    except (TypeError, gym.error.Error, ImportError) as error:
        if isinstance(error, FLPError):
            raise
        reason = str(error).split(" was raised from")[0]
        raise ProtocolError(f"cannot make {env_id} with {options}: {reason}") from None
