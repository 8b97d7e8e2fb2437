"""What a meta-trainer is made with, by a preset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import torch

from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import CrossEntropy
from flp_agents.lifetime.estimators.estimator import ESTIMATORS, Estimator
from flp_agents.lifetime.outer_objectives.outer_objective import OUTER_OBJECTIVES, OuterObjective
from flp_agents.lifetime.strategies.strategy import make_strategy
from flp_agents.support.plugins import call
from flp_agents.support.settings import options_of
from flp_agents.training.adam import Adam
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES, LifetimeSchedule
from flp_agents.training.settings import Settings

# Arguments of a meta-trainer that are settings of the outer loop as they are.
_AS_THEY_ARE = ("meta_batch", "device_data", "cuda_graph")


def trainer_arguments(
    learner: Learner[Any], env: gym.Env[Any, Any], settings: Settings, rates: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """What the outer loop that settings describe is made with, as keyword arguments of a meta-trainer.

    Args:
        learner: whose meta-parameters are trained, in place.
        env: of full lifetimes.
        settings: its rates for kinds of meta-parameters that the learner has not are ignored.
        rates: for kinds of meta-parameters that no preset has a rate for.
    """
    groups, outer_loop = learner.parameter_groups(), settings.outer_loop
    optimizer = Adam(
        {**{name: rate for name, rate in outer_loop.rates.items() if name in groups}, **(rates or {})},
        outer_loop.gradient_clip,
        outer_loop.schedule,
        outer_loop.outer_steps,
        outer_loop.warm_up,
        outer_loop.restart_adam_every,
    )
    return {
        "optimizer": optimizer,
        "estimator": estimator_of(settings),
        "outer_objective": outer_objective_of(settings),
        "lifetimes": lifetimes_of(settings, env),
        "prefetch": isinstance(learner.objective, CrossEntropy),
        **{name: getattr(outer_loop, name) for name in _AS_THEY_ARE},
    }


def estimator_of(settings: Settings) -> Estimator:
    """The estimator of the outer gradient that settings describe."""
    name, kept = settings.outer_loop.estimator, settings.backpropagation
    build = ESTIMATORS[name]
    strategy = make_strategy(kept.meta_gradient, kept.gradient_steps)
    offered: dict[str, Callable[[], Any]] = {
        **settings.offered(name),
        "strategy": lambda: strategy,
        "steps": lambda: settings.window,
    }
    return build(**{name: offered[name]() for name in inspect.signature(build).parameters if name in offered})


def outer_objective_of(settings: Settings) -> OuterObjective:
    """The outer objective that settings describe, with its options if it has any."""
    name = settings.outer_loop.outer_objective
    made = OUTER_OBJECTIVES[name]
    return made(**{option: getattr(settings[name], option) for option in options_of(made)})


def lifetimes_of(settings: Settings, env: gym.Env[Any, Any]) -> LifetimeSchedule:
    """The lifetime schedule that settings describe, for an environment of full lifetimes.

    Raises:
        PluginError: if it needs an argument that is not offered.
    """
    name = settings.outer_loop.lifetimes
    made: LifetimeSchedule = call(LIFETIME_SCHEDULES[name], {**settings.offered(name), "env": lambda: env})
    return made


def set_precision(learner: Learner[Any], precision: str) -> str:
    """Computes as a preset's ``precision`` says; returns the trunk's precision."""
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    of_trunk = "bfloat16" if precision == "bfloat16" else "float32"
    learner.set_precision(of_trunk)
    return of_trunk
