"""A meta-trainer that a program made as a plan: the settings that describe it."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

import gymnasium as gym

from flp_agents.learners.learner import Learner
from flp_agents.learners.network import Network
from flp_agents.lifetime.estimators.estimator import ESTIMATORS, Estimator
from flp_agents.lifetime.outer_objectives.outer_objective import OUTER_OBJECTIVES, OuterObjective
from flp_agents.lifetime.strategies.strategy import STRATEGIES, MetaGradient
from flp_agents.support import plugins
from flp_agents.support.settings import checked, option_fields, options_of
from flp_agents.training.adam import Adam
from flp_agents.training.checkpoint import CheckpointError
from flp_agents.training.described_env import TEST_SPLIT, described_env
from flp_agents.training.factory import learner_name
from flp_agents.training.lifetime_schedules.cheaper_first import FullLifetimes
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES, LifetimeSchedule
from flp_agents.training.plan import NO_PRESET, Plan, split_to_evaluate_on
from flp_agents.training.settings import Settings
from flp_agents.training.trainer_arguments import estimator_of, lifetimes_of, outer_objective_of
from flp_base.errors import FLPError


class DescribedTrainer:
    """What of a meta-trainer is described.

    Attributes:
        learner: whose meta-parameters are trained.
        full_env: that it was made with.
        estimator: how the gradient of the loss is found.
        outer_objective: what the loss is.
        lifetimes: which lifetimes each outer step runs through.
        optimizer: how the meta-parameters are moved.
        rates: outer learning rate of every kind of meta-parameter.
        seed: of the stream of lifetimes.
        cuda_graph: whether loss and gradient are a CUDA graph.
    """

    learner: Learner[Any]
    estimator: Estimator
    outer_objective: OuterObjective
    lifetimes: LifetimeSchedule
    full_env: gym.Env[Any, Any]
    optimizer: Adam
    rates: dict[str, float]
    seed: int
    cuda_graph: bool


def plan_of(trainer: DescribedTrainer) -> Plan:
    """What ``flp train --resume`` needs to know of a trainer that a program made.

    The environment is described where its id and plain keyword arguments describe it: not if it has none, or is
    wrapped by more than Gymnasium's own.

    Raises:
        CheckpointError: if no settings describe its estimator or its outer objective.
    """
    learner = trainer.learner
    env_id, env_options, split = described_env(trainer.full_env)
    known = option_fields()
    values = {
        **{name: getattr(of, name) for of in (trainer, trainer.optimizer) for name in known if hasattr(of, name)},
        "restart_adam_every": trainer.optimizer.restart_every,
        **{f"rate_{name}": rate for name, rate in trainer.rates.items()},
        **learner.settings,
        **_of_estimator(trainer.estimator),
        **_of_outer_objective(trainer.outer_objective),
        **_of_lifetimes(trainer.lifetimes, trainer.full_env),
        "cuda_graph": trainer.cuda_graph,
        "precision": getattr(getattr(learner, "layers", None), "precision", known["precision"].default),
    }
    network = learner.settings.get("network")
    if isinstance(network, Network):
        values["hidden_widths"] = network.widths[1:-1]
    fitting = {name: values[name] for name in known if name in values and _fits(known[name], values[name])}
    return Plan(
        env_id,
        env_options,
        learner_name(learner),
        NO_PRESET,
        Settings.of(fitting),
        trainer.seed,
        "MetaTrainer.save",
        split,
        split_to_evaluate_on(env_id, env_options) if env_id else TEST_SPLIT,
        tuple(plugins.shareable(plugin) for plugin in plugins.loaded_plugins()),
        {name: rate for name, rate in trainer.rates.items() if f"rate_{name}" not in known},
    )


def _fits(of: Field[Any], value: Any) -> bool:
    """Whether a value can be an option's; a user's learner may have another argument of that name."""
    try:
        checked(of, value)
    except FLPError:
        return False
    return True


def _of_estimator(used: Estimator) -> dict[str, Any]:
    """The options that describe an estimator."""
    name = ESTIMATORS.name_of(type(used)) or ""
    values: dict[str, Any] = {"estimator": name, "window": used.window or 0, **_options_of(name, used)}
    strategy: MetaGradient | None = getattr(used, "strategy", None)
    if strategy is not None:
        steps = getattr(strategy, "every", None) or getattr(strategy, "steps", None) or 0
        values |= {"meta_gradient": STRATEGIES.name_of(type(strategy)) or "", "gradient_steps": steps}
    try:
        if estimator_of(Settings.of(values)) == used:
            return values
    except FLPError:
        pass  # it has no name, or its strategy has none
    raise CheckpointError(
        f"cannot save a trainer whose estimator is {used}: expected a registered one ({', '.join(ESTIMATORS)}) with "
        f"the hyperparameters that a preset gives it, and a strategy among {', '.join(STRATEGIES)}; "
        "flp_agents.save_checkpoint saves its learner"
    )


def _of_outer_objective(used: OuterObjective) -> dict[str, Any]:
    """The options that describe an outer objective."""
    name = OUTER_OBJECTIVES.name_of(type(used)) or ""
    values = {"outer_objective": name, **_options_of(name, used)}
    try:
        if outer_objective_of(Settings.of(values)) == used:
            return values
    except FLPError:
        pass  # it has no name, or a field that is no option
    raise CheckpointError(
        f"cannot save a trainer whose outer objective is {used}: expected a registered one "
        f"({', '.join(OUTER_OBJECTIVES)}) whose fields are options; flp_agents.save_checkpoint saves its learner"
    )


def _options_of(name: str, part: Any) -> dict[str, Any]:
    """The options of a registered part as settings."""
    return {f"{name}.{own}": getattr(part, own) for own in options_of(type(part))}


def _of_lifetimes(used: LifetimeSchedule, env: gym.Env[Any, Any]) -> dict[str, Any]:
    """The options that describe a lifetime schedule."""
    if used == FullLifetimes():
        return {"short_outer_steps": 0}
    name = LIFETIME_SCHEDULES.name_of(type(used)) or ""
    values = {"lifetimes": name, **_options_of(name, used)}
    try:
        if lifetimes_of(Settings.of(values), env) == used:
            return values
    except FLPError:
        pass  # it has no name, or a field that is no option
    raise CheckpointError(
        f"cannot save a trainer whose lifetime schedule is {used}: expected a registered one whose fields are options; "
        "flp_agents.save_checkpoint saves its learner"
    )
