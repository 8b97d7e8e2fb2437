"""The registry of baselines, and what they are built from to fit an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import gymnasium as gym
import torch

from flp_agents.baselines.whole_network import WholeNetwork
from flp_agents.learners.learner import Learner
from flp_agents.learners.network import Network
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.learners.objective import objective_of
from flp_agents.training import bundled
from flp_agents.training.factory import kind_of, network_for
from flp_agents.training.presets import get_preset
from flp_base.errors import FLPError
from flp_base.registry import Registry

Build = TypeVar("Build", bound=Callable[..., Learner[Any]])

# A network from scratch: as small as it can be without losing much, since whole lifetimes of it are to be cheap.
HIDDEN_WIDTHS = {"numbers": (64, 64, 64), "images": (64,)}
CHANNELS = 16


@dataclass(frozen=True)
class Baseline:
    """How a baseline is built.

    Attributes:
        build: called with an environment and the seed of all that the learner draws, and with its tuned
            hyperparameters by name; returns a learner, or a plain one.
        starts_from: the learner whose bundled checkpoint of the environment holds its initial weights; empty if these
            are drawn.
    """

    build: Callable[..., Learner[Any]]
    starts_from: str = ""


#: Learners to compare with; see :func:`register_baseline`.
BASELINES: Registry[Baseline] = Registry(
    "baseline",
    package="flp_agents.baselines",
    entry_points="flp_envs.baselines",
    made_by=lambda baseline: baseline.build,
)


def register_baseline(name: str, *, starts_from: str = "") -> Callable[[Build], Build]:
    """Makes a baseline known by a name, as a decorator of the function that builds it.

    Args:
        name: of the baseline.
        starts_from: see :class:`Baseline`.

    Raises:
        RegistryError: if another one has this name.
    """

    def register(build: Build) -> Build:
        BASELINES.add(name, Baseline(build, starts_from))
        return build

    return register


def network_from_scratch(env: gym.Env[Any, Any]) -> Network:
    """What baselines learn with: preset ``cpu`` with fewer layers and units.

    Raises:
        IncompatibleSpaces: if the env's spaces do not fit.
    """
    kind = kind_of(env)
    settings = get_preset("cpu", "gradient-based", kind=kind).network
    smaller = replace(settings, hidden_widths=HIDDEN_WIDTHS[kind], channels=CHANNELS)
    return network_for(env, smaller, objective_of(env))


def meta_trained_start(env: gym.Env[Any, Any]) -> tuple[str, WholeNetwork]:
    """Name and initial weights of the bundled gradient-based checkpoint of an environment.

    Raises:
        FLPError: if there is none.
        IncompatibleSpaces: if it does not fit the env's options.
    """
    env_id = env.spec.id if env.spec is not None else type(env).__name__
    for name in bundled.bundled_for(env_id, "gradient-based"):
        learner = bundled.load_bundled(name).adapt_to(env)
        assert isinstance(learner, NetworkLearner)
        return name, WholeNetwork(learner.layers)
    envs = ", ".join(bundled.bundled_envs("gradient-based")) or "none"
    raise FLPError(
        f"no bundled gradient-based checkpoint was meta-trained on {env_id}, only on {envs}: "
        "use sgd or adam, which start from scratch"
    )


def network_at_random(env: gym.Env[Any, Any], seed: int) -> WholeNetwork:
    return WholeNetwork.random(network_from_scratch(env), torch.Generator().manual_seed(seed))


def input_form(env: gym.Env[Any, Any]) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """Shape and scale of inputs, and the number of outputs, for learners without a network."""
    network = network_from_scratch(env)
    scale = (1 / 255,) if network.convolutions is not None else network.input_scale
    return network.input_shape, scale or (1.0,), network.outputs
