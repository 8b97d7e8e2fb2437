"""Cheaper lifetimes first, then full ones: shorter ones, or ones of more classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from flp_agents.training.lifetime_schedules.lifetime_schedule import Stage, register_lifetime_schedule
from flp_base.errors import check_at_least
from flp_envs.task import first_lifetimes_of


@dataclass(frozen=True)
class FullLifetimes:
    """The environment as it is, at every outer step."""

    def stage(self, step: int, seed: int) -> Stage:
        return Stage()

    def extremes(self) -> Sequence[Stage]:
        return [Stage()]


@dataclass(frozen=True)
class CheaperFirst:
    """Lifetimes with some options for the first outer steps, then full ones.

    Attributes:
        steps: outer steps on the first ones.
        options: of these, keyword arguments of the environment.
        meta_batch: how many of these in each outer step; none: as many as later.
        num_classes: of these, where the options do not say it by that name.
    """

    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    meta_batch: int | None = None
    num_classes: int = 0

    def __post_init__(self) -> None:
        check_at_least("steps of CheaperFirst", self.steps, 1)

    def stage(self, step: int, seed: int) -> Stage:
        if step < self.steps:
            return Stage(self.options, self.meta_batch, self.num_classes, scaled=True, seed=0)
        return Stage(seed=1)

    def extremes(self) -> Sequence[Stage]:
        return [self.stage(0, 0), Stage()]


@register_lifetime_schedule("cheaper-first")
def cheaper_first(
    env: gym.Env[Any, Any],
    short_outer_steps: int,
    short_steps_per_function: int,
    first_classes: int,
    first_meta_batch: int,
) -> CheaperFirst | FullLifetimes:
    """What an environment says of its cheaper lifetimes (:func:`flp_envs.task.first_lifetimes_of`), if it does.

    Args:
        env: of full lifetimes.
        short_outer_steps: outer steps on cheaper ones.
        short_steps_per_function: inner steps that these stay with a function.
        first_classes: classes of these.
        first_meta_batch: how many of these in each outer step; 0: as many as later.
    """
    options = first_lifetimes_of(env, steps_per_task=short_steps_per_function, num_classes=first_classes)
    if not short_outer_steps or options is None:
        return FullLifetimes()
    return CheaperFirst(short_outer_steps, options, first_meta_batch or None, first_classes)
