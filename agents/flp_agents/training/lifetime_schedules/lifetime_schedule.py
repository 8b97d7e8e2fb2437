"""What a lifetime schedule is, and the registry of lifetime schedules.

A lifetime schedule says for each outer step with which options the environment is made whose lifetimes are drawn. To
add one: write a frozen dataclass with the members of :class:`LifetimeSchedule`, decorated with
:func:`register_lifetime_schedule`, in a plug-in or in a new file of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from flp_base.registry import Registry, RegistryError

Made = TypeVar("Made", bound=Callable[..., Any])


@dataclass(frozen=True)
class Stage:
    """The lifetimes of an outer step.

    Attributes:
        options: keyword arguments of the environment, besides its own.
        meta_batch: how many; none: the trainer's number.
        num_classes: of labels, where the options do not say it by that name.
        scaled: whether a learner that can makes each update larger, as many times as full lifetimes stay longer with a
            sub-task.
        seed: added to the trainer's when outer steps with other options were before; none: the random numbers go on.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    meta_batch: int | None = None
    num_classes: int = 0
    scaled: bool = False
    seed: int | None = None


class LifetimeSchedule(Protocol):
    """Which lifetimes each outer step runs through."""

    def stage(self, step: int, seed: int) -> Stage:
        """The lifetimes that are drawn at an outer step, the same whenever it is asked.

        Args:
            step: outer steps that are done.
            seed: of the trainer.
        """
        ...

    def extremes(self) -> Sequence[Stage]:
        """The stages at the ends of what comes: the longest lifetimes and the most classes, and the fewest."""
        ...


def _check(name: str, made: Any) -> None:
    lacking = isinstance(made, type) and not all(hasattr(made, part) for part in ("stage", "extremes"))
    if lacking or not callable(made):
        raise RegistryError(
            f"expected the lifetime schedule {name!r} to be a class with stage and extremes, or a function that makes "
            f"one, got {made!r}"
        )


#: Classes of lifetime schedules, or functions that make one, by the name that ``flp train --lifetimes`` takes. They are
#: called with those of ``env``, the environment of full lifetimes, and of the settings that they have parameters for.
LIFETIME_SCHEDULES: Registry[Callable[..., LifetimeSchedule]] = Registry(
    "lifetime schedule",
    package="flp_agents.training.lifetime_schedules",
    entry_points="flp_envs.lifetime_schedules",
    check=_check,
)


def register_lifetime_schedule(name: str) -> Callable[[Made], Made]:
    """Makes a lifetime schedule known by a name, as a decorator of its class: ``flp train --lifetimes NAME``.

    All fields of the class have defaults; those made by :func:`flp_agents.option` can be set.

    Raises:
        RegistryError: if it is none, or if another one has this name.
    """
    return LIFETIME_SCHEDULES.register(name)
