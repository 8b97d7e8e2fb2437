"""Builds learners by name, to fit an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from flp_agents.feedback import Feedback
from flp_agents.flp import FLP
from flp_agents.gradient_based import GradientBased
from flp_agents.learner import Learner
from flp_agents.network import Network
from flp_agents.oml import OML
from flp_agents.plasticity import RULES
from flp_agents.presets import Preset
from flp_envs.errors import FLPError, InvalidSize, check_choice


class IncompatibleSpaces(FLPError, ValueError):
    """An environment whose observations or answers a learner cannot take."""


def network_for(env: gym.Env[Any, Any], preset: Preset) -> Network:
    """The preset's network between an environment's inputs and targets.

    Raises:
        IncompatibleSpaces: unless inputs and targets are ``Box`` spaces of ``(B, size)``.
    """
    x, y = spaces_of(env)
    scale = None
    if preset.scale_inputs:
        largest = np.maximum(np.abs(x.low), np.abs(x.high)).max(0)
        scale = tuple(float(1.0 / v) if np.isfinite(v) and v > 0 else 1.0 for v in largest)
    return Network((x.shape[1], *preset.hidden_widths, y.shape[1]), scale)


def spaces_of(env: gym.Env[Any, Any]) -> tuple[spaces.Box, spaces.Box]:
    """The spaces of one step's inputs and targets.

    Raises:
        IncompatibleSpaces: unless both are ``Box`` spaces of ``(B, size)``.
    """
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        x, y = space.spaces.get("x"), space.spaces.get("y")
        if isinstance(x, spaces.Box) and isinstance(y, spaces.Box) and len(x.shape) == len(y.shape) == 2:
            return x, y
    raise IncompatibleSpaces(f"expected an observation space with Box x and y of (pairs, size), got {space}")


def _flp(network: Network, preset: Preset, seed: int) -> FLP:
    return FLP(
        network,
        preset.plastic_layers,
        rule=RULES[preset.rule](),
        feedback=Feedback(
            signal=preset.signal,
            rectified=preset.rectified,
            hidden_layers=preset.feedback_layers,
            hidden_width=preset.feedback_width,
            positive_output=preset.positive_output_feedback,
        ),
        granularity=preset.granularity,
        presynaptic=preset.presynaptic,
        initial_coefficient=preset.initial_coefficient,
        coefficient_unit=preset.coefficient_unit,
        initial_strength=preset.initial_strength,
        hidden_multiplier=preset.hidden_multiplier,
        seed=seed,
    )


def _feature_reuse(network: Network, preset: Preset, seed: int) -> FLP:
    """FLP(1): with the output layer alone plastic, no feedback reaches a hidden layer."""
    if preset.plastic_layers != 1:
        raise InvalidSize(f"feature-reuse has 1 plastic layer, got {preset.plastic_layers}: use the learner flp")
    return _flp(network, preset, seed)


def _gradient_based(network: Network, preset: Preset, seed: int) -> GradientBased:
    return GradientBased(
        network,
        preset.plastic_layers,
        order=preset.order,
        redraw_output=preset.redraw_output,
        initial_rate=preset.initial_rate,
        rate_unit=preset.rate_unit,
        seed=seed,
    )


def _oml(network: Network, preset: Preset, seed: int) -> OML:
    return OML(network, preset.plastic_layers, inner_rate=preset.inner_rate, seed=seed)


LEARNERS: dict[str, Callable[[Network, Preset, int], Learner[Any]]] = {
    "flp": _flp,
    "feature-reuse": _feature_reuse,
    "gradient-based": _gradient_based,
    "oml": _oml,
}


def build_learner(name: str, env: gym.Env[Any, Any], preset: Preset, seed: int = 0) -> Learner[Any]:
    """A new learner, with random initial meta-parameters.

    Raises:
        InvalidChoice: for an unknown learner or rule.
        InvalidSize: for a plastic-layer count outside 1..L.
        IncompatibleSpaces: if the env's spaces do not fit.
    """
    check_choice("learner", name, LEARNERS)
    return LEARNERS[name](network_for(env, preset), preset, seed)
