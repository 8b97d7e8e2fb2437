"""How an outer step moves the meta-parameters: by Adam, with a learning rate for each kind of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flp_agents.learners.learner import Learner
from flp_agents.training.rates import checked_rates
from flp_agents.training.schedules import SCHEDULES, rate_factor
from flp_base.errors import check_at_least, check_choice, check_number
from flp_base.renamed import warn_renamed


@dataclass(frozen=True)
class Adam:
    """Adam on the meta-parameters.

    Source: Kingma & Ba (2015), "Adam: A Method for Stochastic Optimization", with its own defaults but for the rates.

    Attributes:
        rates: outer learning rate for every one of ``learner.parameter_groups()``; 0 freezes a group.
        gradient_clip: largest norm of the gradient of all meta-parameters together; 0: no clipping.
        schedule: "constant", or "cosine": from the full rate at the first outer step to 1 % at the last.
        outer_steps: how many outer steps the schedule spans.
        warm_up: outer steps over which the rates rise from 0.
        restart_every: outer steps after which Adam forgets its moments, as the released code's sine script does; 0:
            never.

    Raises:
        InvalidChoice: for an unknown schedule.
        InvalidSize: for numbers out of range.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    gradient_clip: float = 1.0
    schedule: str = "constant"
    outer_steps: int = 20_000
    warm_up: int = 0
    restart_every: int = 0

    def __post_init__(self) -> None:
        check_number("gradient_clip", self.gradient_clip, least=0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_at_least("outer_steps", self.outer_steps, 1)
        for name in ("warm_up", "restart_every"):
            check_at_least(name, getattr(self, name), 0)

    def on(self, learner: Learner[Any]) -> AppliedAdam:
        """Adam at work on a learner's meta-parameters.

        Raises:
            UntrainedParameters: for a kind of meta-parameter without a rate, or a parameter that belongs to no kind, or
                to two.
            InvalidChoice: for a rate of a kind of meta-parameter that the learner has not.
            InvalidSize: for a rate that is none, or if all are 0.
        """
        return AppliedAdam(self, learner)


class AppliedAdam:
    """Adam at work on a learner's meta-parameters: see :meth:`Adam.on`.

    Attributes:
        rates: outer learning rate of every kind of meta-parameter.
        moments: torch's optimizer, which keeps Adam's moments; it has a group for each kind whose rate is not 0.
        parameters: those that it moves.
    """

    def __init__(self, settings: Adam, learner: Learner[Any]) -> None:
        self._settings, self.rates = settings, checked_rates(learner, settings.rates)
        self.moments = torch.optim.Adam(
            [
                {"params": parameters, "lr": self.rates[name], "name": name}
                for name, parameters in learner.parameter_groups().items()
                if self.rates[name] > 0
            ]
        )
        self.parameters = [p for group in self.moments.param_groups for p in group["params"]]

    def restart(self, step: int) -> None:
        """Forgets the moments at the outer steps at which it is to."""
        if self._settings.restart_every and step % self._settings.restart_every == 0:
            self.moments.state.clear()

    def clip(self) -> Tensor:
        """The norm of the gradient of all meta-parameters together, which is at most the largest one then."""
        return nn.utils.clip_grad_norm_(self.parameters, self._settings.gradient_clip or math.inf)

    def move(self, step: int) -> None:
        """Moves the meta-parameters by their gradients, with the rates of an outer step, counted from 0."""
        settings = self._settings
        factor = rate_factor(settings.schedule, step, outer_steps=settings.outer_steps, warm_up=settings.warm_up)
        for group in self.moments.param_groups:
            group["lr"] = self.rates[group["name"]] * factor
        self.moments.step()


# What the trainer took itself before it took an optimizer, by the optimizer's name for it.
_OF_ADAM = {"restart_adam_every": "restart_every"} | {
    name: name for name in ("gradient_clip", "schedule", "outer_steps", "warm_up")
}


def optimizer_of(given: Adam | None, rates: Mapping[str, float] | None, others: Mapping[str, Any]) -> Adam:
    """The optimizer that arguments of a meta-trainer describe.

    Raises:
        TypeError: for an unknown one, or for both an optimizer and what is of one.
    """
    for name in others:
        if name not in _OF_ADAM:
            raise TypeError(f"MetaTrainer got an unexpected keyword argument {name!r}")
        warn_renamed(f"MetaTrainer({name}=...)", f"MetaTrainer(optimizer=Adam({_OF_ADAM[name]}=...))", stacklevel=4)
    if given is not None and (rates is not None or others):
        raise TypeError("MetaTrainer takes an optimizer, or the rates of Adam, not both")
    return given or Adam(rates or {}, **{_OF_ADAM[name]: value for name, value in others.items()})
