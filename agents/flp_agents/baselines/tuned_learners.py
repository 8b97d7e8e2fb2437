"""Baselines by name, with the hyperparameters that were tuned for an environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from flp_agents.adapters.plain_learner import as_learner
from flp_agents.baselines.baseline import BaselineLearner
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned import tuned_for
from flp_agents.learners.input_range import range_of
from flp_agents.learners.learner import Learner
from flp_agents.training.factory import input_space
from flp_base.errors import check_learner_seed


def build_baseline(
    name: str, env: gym.Env[Any, Any], seed: int = 0, settings: dict[str, Any] | None = None
) -> Learner[Any]:
    """A baseline by its name.

    Args:
        name: one of :data:`~flp_agents.baselines.building.BASELINES`.
        env: that it is to be used in.
        seed: of all that it draws.
        settings: instead of those that were tuned for this environment.

    Raises:
        InvalidChoice: for an unknown name.
        IncompatibleSpaces: if the env's spaces do not fit.
        FLPError: for a meta-trained start where there is none.
    """
    build = BASELINES[name].build
    seed = check_learner_seed(seed)
    learner = build(env, seed, **(tuned_for(name, env) if settings is None else settings))
    if isinstance(learner, BaselineLearner):
        learner.made_for = range_of(input_space(env))
    return learner if isinstance(learner, Learner) else as_learner(learner, env)
