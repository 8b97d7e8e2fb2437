"""What a family of environments is, and the registry of families."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gymnasium as gym

from flp_base.registry import Registry, RegistryError
from flp_envs.task import Task

Make = TypeVar("Make", bound=Callable[..., Task])

#: Sub-tasks mixed at random, or one after another.
IID_AND_CONTINUAL: Mapping[str, Mapping[str, Any]] = {"IID": {"interleaving": 1.0}, "Continual": {"interleaving": 0.0}}


@dataclass(frozen=True)
class Family:
    """Environments that differ in their schedule: ``FAMILY-SCHEDULE-v0``.

    Attributes:
        name: the beginning of the ids.
        make: the task, from options by keyword.
        schedules: by the name of a schedule, the options that make it.
        task: the class whose constructor takes those options that ``make`` hands on; none: it hands on none.
        short: options of short lifetimes, for quick checks of learners.
        version: the end of the ids.
    """

    name: str
    make: Callable[..., Task]
    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: IID_AND_CONTINUAL)
    task: type[Any] | None = None
    short: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def ids(self) -> dict[str, Mapping[str, Any]]:
        """Options by id."""
        return {f"{self.name}-{schedule}-v{self.version}": options for schedule, options in self.schedules.items()}

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The options of its ids, but for ``render_mode``."""
        makers: list[Callable[..., Any]] = [*([] if self.task is None else [self.task]), self.make]
        parameters = [p for maker in makers for p in inspect.signature(maker).parameters.values()]
        return {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "classes"}


def _check(name: str, family: Any) -> None:
    if "-" in name or not name.replace("_", "").isalnum():
        raise RegistryError(
            f"a family's name is the beginning of ids, letters and digits such as FLPSine, got {name!r}"
        )
    if not family.schedules:
        raise RegistryError(f"the family {name} has no schedule, so no id")


FAMILIES: Registry[Family] = Registry(
    "family of environments",
    package="flp_envs.families",
    entry_points="flp_envs.families",
    check=_check,
    made_by=lambda family: family.make,
)


def register_family(name: str, **attributes: Any) -> Callable[[Make], Make]:
    """Registers a family's ids with Gymnasium, as a decorator of the function or class that makes the task.

    Args:
        name: the beginning of the ids.
        attributes: further ones of :class:`Family`: ``schedules`` (by default the task has an option
            ``interleaving``), ``task``, ``short``, ``version``.

    Raises:
        RegistryError: if another family has this name, or if the name cannot begin an id.
    """

    def register(make: Make) -> Make:
        family = Family(name, make, **attributes)
        FAMILIES.add(name, family)
        for env_id, options in family.ids.items():
            gym.register(
                id=env_id,
                entry_point="flp_envs.registration:make_env",
                vector_entry_point="flp_envs.registration:make_vector_env",
                kwargs={"family": name, **options},
            )
        return make

    return register
