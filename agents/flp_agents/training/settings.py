"""All settings of a run, section by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from flp_agents.learners.flp import FLPSettings
from flp_agents.learners.network import NetworkSettings
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.learners.registered import LEARNERS
from flp_agents.lifetime.estimators.backpropagation import BackpropagationSettings
from flp_agents.lifetime.estimators.estimator import ESTIMATORS
from flp_agents.lifetime.estimators.windows import WindowsSettings
from flp_agents.lifetime.outer_objectives.outer_objective import OUTER_OBJECTIVES
from flp_agents.lifetime.strategies.strategy import STRATEGIES, takes_steps
from flp_agents.support.settings import (
    by_section,
    checked,
    is_users,
    option_fields,
    option_named,
    option_names,
    options_of,
    sections,
)
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES
from flp_agents.training.outer_loop_settings import OuterLoopSettings
from flp_base.errors import InvalidSize

for _registry in (LEARNERS, RULES, ESTIMATORS, OUTER_OBJECTIVES, LIFETIME_SCHEDULES):
    _registry.discover()  # so that the sections of what these packages bring are all registered


@dataclass(frozen=True)
class Settings:
    """The settings of every part of a run: one frozen dataclass a section, see :mod:`flp_agents.support.settings`.

    What a section is for is up to who reads it: a learner is built with those of its own and of the network.

    Args:
        parts: sections by name; those left out have their defaults.

    Raises:
        InvalidSize: if settings contradict one another.
    """

    parts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = {name: section() for name, section in sections().items() if name not in self.parts}
        object.__setattr__(self, "parts", {**made, **self.parts})
        _check_together(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings of options by their names; those left out have their defaults.

        Raises:
            InvalidChoice: for an unknown name, or a value that is none of the option's choices.
            InvalidSize: for a value of the wrong type or out of range.
        """
        return cls().replaced(values)

    def replaced(self, values: Mapping[str, Any]) -> Settings:
        """The same with some options changed, by their names; raises what :meth:`of` does."""
        changed = dict(self.parts)
        for name, of_section in by_section(values).items():
            changed[name] = _made(name, {**_values(self[name]), **of_section})
        return Settings(changed)

    def __getitem__(self, section: str) -> Any:
        """The settings of a section.

        Raises:
            InvalidChoice: for an unknown section.
        """
        if section not in self.parts:  # registered since
            return sections()[section]()
        return self.parts[section]

    @property
    def network(self) -> NetworkSettings:
        """Of the network."""
        return cast("NetworkSettings", self["network"])

    @property
    def flp(self) -> FLPSettings:
        """Of FLP."""
        return cast("FLPSettings", self["flp"])

    @property
    def outer_loop(self) -> OuterLoopSettings:
        """Of the outer loop."""
        return cast("OuterLoopSettings", self["outer-loop"])

    @property
    def backpropagation(self) -> BackpropagationSettings:
        """Of back-propagation."""
        return cast("BackpropagationSettings", self["backpropagation"])

    @property
    def window(self) -> int:
        """Inner steps of each outer step; 0: whole lifetimes."""
        return cast("WindowsSettings", self["windows"]).window

    def get(self, name: str) -> Any:
        """The value of an option.

        Raises:
            InvalidChoice: for an unknown name.
        """
        section, own = option_names()[option_named(name)]
        return getattr(self[section], own)

    def values(self) -> dict[str, Any]:
        """All options by name; of those with a dot, of parts and of users, what is not the default."""
        fields = option_fields()
        found = {name: getattr(self[section], own) for name, (section, own) in option_names().items()}
        return {name: value for name, value in found.items() if "." not in name or value != fields[name].default}

    def offered(self, first: str = "") -> dict[str, Callable[[], Any]]:
        """All options by their own names, as functions that read their values.

        Of one name it is the option of these packages, but before it that of the section ``first``.
        """
        order = sorted(self.parts, key=lambda name: (name == first, not is_users(name)))
        return {own: partial(getattr, self.parts[name], own) for name in order for own in options_of(sections()[name])}


def _values(section: Any) -> dict[str, Any]:
    return {name: getattr(section, name) for name in options_of(section)}


def _made(section: str, values: Mapping[str, Any]) -> Any:
    """A section; one of users may not check its values itself."""
    made = sections()[section]
    return made(**{name: checked(of, values[name]) for name, of in options_of(made).items()})


def _check_together(settings: Settings) -> None:
    estimator, gradient = settings.outer_loop.estimator, settings.backpropagation
    if estimator == "windows" and not settings.window:
        raise InvalidSize("the estimator windows needs window, the inner steps of each: expected at least 1, got 0")
    if estimator == "backpropagation" and settings.window:
        raise InvalidSize(f"window is of the estimator windows: backpropagation has none, got {settings.window}")
    if gradient.gradient_steps and not takes_steps(gradient.meta_gradient):
        *others, last = sorted(filter(takes_steps, STRATEGIES.built_in()))
        raise InvalidSize(
            f"gradient_steps are of {', '.join(others)} and {last}: meta_gradient {gradient.meta_gradient} has none, "
            f"got {gradient.gradient_steps}"
        )
