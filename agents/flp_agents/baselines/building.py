"""Builds alternatives by name, to fit an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import torch

from flp_agents.baselines.baseline import Alternative
from flp_agents.baselines.descent import SGD, Adam
from flp_agents.baselines.elastic_weights import ElasticWeights
from flp_agents.baselines.experience_replay import ExperienceReplay
from flp_agents.baselines.feedback_alignment import DirectFeedbackAlignment, FeedbackAlignment
from flp_agents.baselines.joint_training import JointTraining
from flp_agents.baselines.nearest_neighbour import Kernel, NearestNeighbour
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.baselines.ridge import Ridge
from flp_agents.baselines.tuned import tuned_for
from flp_agents.baselines.whole_network import WholeNetwork
from flp_agents.learners.input_range import range_of
from flp_agents.learners.learner import Learner
from flp_agents.learners.network import Network
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.learners.objective import objective_of
from flp_agents.training import bundled
from flp_agents.training.factory import input_space, kind_of, network_for
from flp_agents.training.presets import get_preset
from flp_base.errors import FLPError, check_choice, check_learner_seed

# A network from scratch: as small as it can be without losing much, since whole lifetimes of it are to be cheap.
HIDDEN_WIDTHS = {"sine": (64, 64, 64), "images": (64,)}
CHANNELS = 16
# Feedback weights are drawn with another seed than the network's, from which they would otherwise not be independent.
FEEDBACK = 1_000_000


def network_from_scratch(env: gym.Env[Any, Any]) -> Network:
    """What alternatives learn with: preset ``cpu`` with fewer layers and units.

    Raises:
        IncompatibleSpaces: if the env's spaces do not fit.
    """
    kind = kind_of(env)
    preset = replace(
        get_preset("cpu", "gradient-based", kind=kind), hidden_widths=HIDDEN_WIDTHS[kind], channels=CHANNELS
    )
    return network_for(env, preset, objective_of(env))


def meta_trained_start(env: gym.Env[Any, Any]) -> tuple[str, WholeNetwork]:
    """Name and initial weights of the bundled gradient-based checkpoint of an environment.

    Raises:
        FLPError: if there is none.
        IncompatibleSpaces: if it does not fit the env's options.
    """
    env_id = env.spec.id if env.spec is not None else type(env).__name__
    for name in bundled.bundled_for(env_id, "gradient-based"):
        learner = bundled.load_bundled(name).fitted_to(env)
        assert isinstance(learner, NetworkLearner)
        return name, WholeNetwork(learner.layers)
    envs = ", ".join(bundled.bundled_envs("gradient-based")) or "none"
    raise FLPError(
        f"no bundled gradient-based checkpoint was meta-trained on {env_id}, only on {envs}: "
        "use sgd or adam, which start from scratch"
    )


def _network(env: gym.Env[Any, Any], seed: int) -> WholeNetwork:
    return WholeNetwork.random(network_from_scratch(env), torch.Generator().manual_seed(seed))


def _inputs(env: gym.Env[Any, Any]) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """Shape and scale of inputs, and the number of outputs, for learners without a network."""
    network = network_from_scratch(env)
    scale = (1 / 255,) if network.convolutions is not None else network.input_scale
    return network.input_shape, scale or (1.0,), network.outputs


def _sgd(env: gym.Env[Any, Any], seed: int, *, rate: float, clip: float) -> OnlineGradient:
    return OnlineGradient(_network(env, seed), SGD(rate, clip), objective=objective_of(env))


def _adam(env: gym.Env[Any, Any], seed: int, *, rate: float) -> OnlineGradient:
    return OnlineGradient(_network(env, seed), Adam(rate), objective=objective_of(env))


def _meta_trained_sgd(env: gym.Env[Any, Any], seed: int, *, rate: float, clip: float) -> OnlineGradient:
    name, network = meta_trained_start(env)
    return OnlineGradient(network, SGD(rate, clip), objective=objective_of(env), start=name)


def _meta_trained_adam(env: gym.Env[Any, Any], seed: int, *, rate: float) -> OnlineGradient:
    name, network = meta_trained_start(env)
    return OnlineGradient(network, Adam(rate), objective=objective_of(env), start=name)


def _feedback_alignment(env: gym.Env[Any, Any], seed: int, *, rate: float) -> FeedbackAlignment:
    return FeedbackAlignment(_network(env, seed), Adam(rate), objective=objective_of(env), seed=seed + FEEDBACK)


def _direct(env: gym.Env[Any, Any], seed: int, *, rate: float) -> DirectFeedbackAlignment:
    return DirectFeedbackAlignment(_network(env, seed), Adam(rate), objective=objective_of(env), seed=seed + FEEDBACK)


def _replay(env: gym.Env[Any, Any], seed: int, *, rate: float, **settings: Any) -> ExperienceReplay:
    return ExperienceReplay(_network(env, seed), Adam(rate), objective=objective_of(env), seed=seed, **settings)


def _elastic(env: gym.Env[Any, Any], seed: int, *, rate: float, **settings: Any) -> ElasticWeights:
    return ElasticWeights(_network(env, seed), Adam(rate), objective=objective_of(env), **settings)


def _joint(env: gym.Env[Any, Any], seed: int, *, rate: float, **settings: Any) -> JointTraining:
    return JointTraining(_network(env, seed), Adam(rate), objective=objective_of(env), seed=seed, **settings)


def _nearest(env: gym.Env[Any, Any], seed: int, **settings: Any) -> NearestNeighbour:
    return NearestNeighbour(*_inputs(env), objective=objective_of(env), **settings)


def _kernel(env: gym.Env[Any, Any], seed: int, **settings: Any) -> Kernel:
    return Kernel(*_inputs(env), objective=objective_of(env), **settings)


def _ridge(env: gym.Env[Any, Any], seed: int, **settings: Any) -> Ridge:
    return Ridge(*_inputs(env), objective=objective_of(env), seed=seed, **settings)


BUILDERS: dict[str, Callable[..., Learner[Any]]] = {
    "sgd": _sgd,
    "adam": _adam,
    "sgd-meta-trained": _meta_trained_sgd,
    "adam-meta-trained": _meta_trained_adam,
    "direct-feedback-alignment": _direct,
    "feedback-alignment": _feedback_alignment,
    "experience-replay": _replay,
    "ewc": _elastic,
    "joint-training": _joint,
    "nearest-neighbour": _nearest,
    "kernel": _kernel,
    "ridge": _ridge,
}


def build_alternative(
    name: str, env: gym.Env[Any, Any], seed: int = 0, settings: dict[str, Any] | None = None
) -> Learner[Any]:
    """An alternative by its name.

    Args:
        name: one of :data:`BUILDERS`.
        env: that it is to live in.
        seed: of all that it draws.
        settings: instead of those that were tuned for this environment.

    Raises:
        InvalidChoice: for an unknown name.
        IncompatibleSpaces: if the env's spaces do not fit.
        FLPError: for a meta-trained start where there is none.
    """
    check_choice("alternative", name, BUILDERS)
    seed = check_learner_seed(seed)
    learner = BUILDERS[name](env, seed, **(tuned_for(name, env) if settings is None else settings))
    if isinstance(learner, Alternative):
        learner.made_for = range_of(input_space(env))
    return learner
