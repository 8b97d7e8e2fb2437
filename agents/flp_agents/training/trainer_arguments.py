"""What a meta-trainer is made with, by a preset."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import CrossEntropy
from flp_agents.lifetime.estimators.estimator import ESTIMATORS, Estimator
from flp_agents.lifetime.strategies.strategy import make_strategy
from flp_agents.training.presets import Preset

# Arguments of a meta-trainer that are fields of a preset as they are.
_OF_PRESET = (
    "meta_batch",
    "gradient_clip",
    "schedule",
    "outer_steps",
    "warm_up",
    "restart_adam_every",
    "device_data",
    "cuda_graph",
)


def trainer_arguments(
    learner: Learner[Any], settings: Preset, rates: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """What the outer loop that a preset describes is made with, as keyword arguments of a meta-trainer.

    Args:
        learner: whose meta-parameters are trained, in place.
        settings: its rates for kinds of meta-parameters that the learner has not are ignored.
        rates: for kinds of meta-parameters that no preset has a rate for.
    """
    of_preset = {
        name: getattr(settings, f"rate_{name}")
        for name in learner.parameter_groups()
        if hasattr(settings, f"rate_{name}")
    }
    return {
        "rates": {**of_preset, **(rates or {})},
        "estimator": estimator_of(settings),
        "prefetch": isinstance(learner.objective, CrossEntropy),
        **{name: getattr(settings, name) for name in _OF_PRESET},
    }


def estimator_of(settings: Preset) -> Estimator:
    """The estimator of the outer gradient that a preset describes."""
    build = ESTIMATORS[settings.estimator]
    offered = {"strategy": make_strategy(settings.meta_gradient, settings.gradient_steps), "steps": settings.window}
    return build(**{name: offered[name] for name in inspect.signature(build).parameters if name in offered})


def set_precision(learner: Learner[Any], precision: str) -> str:
    """Computes as a preset's ``precision`` says; returns the trunk's precision."""
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    of_trunk = "bfloat16" if precision == "bfloat16" else "float32"
    learner.set_precision(of_trunk)
    return of_trunk
