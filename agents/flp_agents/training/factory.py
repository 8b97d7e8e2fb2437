"""Builds learners by name, to fit an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields
from functools import cache, partial
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.feedback import Feedback
from flp_agents.learners.flp import FLP
from flp_agents.learners.input_range import check_images, range_of
from flp_agents.learners.learner import Learner
from flp_agents.learners.network import Network
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces, Objective, in_words, objective_of
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins
from flp_agents.training.presets import OUTER_FIELDS, Preset, get_preset
from flp_base.errors import FLPError

# Of ImageNet, by which colour images are standardised: the numbers that torchvision's models use.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def kind_of(env: gym.Env[Any, Any]) -> str:
    """Which kind of presets an environment needs, "images" or "sine".

    Raises:
        IncompatibleSpaces: see :func:`input_space`.
    """
    return "images" if _shows_images(input_space(env)) else "sine"


def input_space(env: gym.Env[Any, Any]) -> spaces.Box:
    """The space of one step's inputs.

    Raises:
        IncompatibleSpaces: unless they are ``(B, size)`` numbers, or a ``(C, H, W)`` image of bytes.
    """
    space = env.observation_space
    x = space.spaces.get("x") if isinstance(space, spaces.Dict) else None
    if isinstance(x, spaces.Box) and (len(x.shape) == 2 or _shows_images(x)):
        if _shows_images(x):
            check_images(x)
        return x
    rescaled = isinstance(x, spaces.Box) and len(x.shape) == 3 and x.dtype.kind == "f"
    raise IncompatibleSpaces(
        "expected an observation space with x of (pairs, size) numbers or a (channels, height, width) image of uint8, "
        f"got {in_words(space)}" + (": remove the wrapper that makes numbers of bytes" if rescaled else "")
    )


def _shows_images(x: spaces.Box) -> bool:
    return len(x.shape) == 3 and x.dtype == np.uint8


def network_for(env: gym.Env[Any, Any], preset: Preset, objective: Objective) -> Network:
    """The preset's network between an environment's inputs and targets.

    Raises:
        IncompatibleSpaces: see :func:`input_space`; or if the targets are not ``(B, size)`` numbers or labels.
    """
    x, y = input_space(env), cast("spaces.Dict", env.observation_space)["y"]
    if isinstance(objective, CrossEntropy):
        outputs = objective.outputs
    elif y.shape is not None and len(y.shape) == 2:
        outputs = y.shape[1]
    else:
        raise IncompatibleSpaces(
            f"expected an observation space with y of (pairs, size) numbers or labels, got {in_words(y)}"
        )
    if _shows_images(x):
        convolutions = _convolutions(x.shape, preset)
        return Network((convolutions.features, *preset.hidden_widths, outputs), convolutions=convolutions)
    scale = None
    if preset.scale_inputs:
        largest = np.maximum(np.abs(x.low), np.abs(x.high)).max(0)
        scale = tuple(float(1.0 / v) if np.isfinite(v) and v > 0 else 1.0 for v in largest)
    return Network((x.shape[1], *preset.hidden_widths, outputs), scale, input_range=range_of(x))


def _convolutions(image_shape: tuple[int, ...], preset: Preset) -> Convolutions:
    mean: tuple[float, ...] = (1.0,)
    deviation: tuple[float, ...] = (-1.0,)
    if image_shape[0] == 3:
        mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
    elif not preset.ink:
        mean, deviation = (0.0,), (1.0,)
    shape = (image_shape[0], image_shape[1], image_shape[2])
    return Convolutions(shape, preset.channels, padding=preset.padding, mean=mean, deviation=deviation)


def _feedback(preset: Preset) -> Feedback:
    return Feedback(
        signal=preset.signal,
        rectified=preset.rectified,
        output=preset.output_feedback,
        hidden_layers=preset.feedback_layers,
        hidden_width=preset.feedback_width,
        positive_output=preset.positive_output_feedback,
        pathway=preset.feedback_pathway,
    )


def build_learner(name: str, env: gym.Env[Any, Any], preset: Preset, seed: int = 0) -> Learner[Any]:
    """A new learner, with random initial meta-parameters; built in, or registered.

    Raises:
        InvalidChoice: for an unknown learner or rule.
        RegistryError: if it is an entry point that fails.
        InvalidSize: for a plastic-layer count outside 1..L.
        IncompatibleSpaces: if the env's spaces do not fit.
        FLPError: if it has no meta-parameters.
    """
    learner = build_registered(name, LEARNERS[name], env, preset, seed)
    if not isinstance(learner, Learner) or next(learner.parameters(), None) is None:
        raise not_meta_trained(name)
    return learner


def not_meta_trained(name: str) -> FLPError:
    """What is said of a learner that cannot be meta-trained."""
    return FLPError(f"{name} has no meta-parameters, so it is not meta-trained: use it in flp benchmark")


def learner_name(learner: Learner[Any]) -> str:
    """What a learner's class is registered as, or the name of the class."""
    if type(learner) is FLP:
        return "feature-reuse" if learner.settings["plastic_layers"] == 1 else "flp"
    return LEARNERS.name_of(type(learner)) or type(learner).__name__


def build_registered(
    name: str, builder: Callable[..., Any], env: gym.Env[Any, Any], preset: Preset | None = None, seed: int = 0
) -> Any:
    """What a registered class or function makes of the arguments that it has parameters for.

    Args:
        name: that it is registered by.
        builder: it.
        env: of the learner.
        preset: whose fields are offered; by default preset ``cpu``.
        seed: of the learner.

    Raises:
        PluginError: if it needs an argument that is not offered.
        IncompatibleSpaces: if it wants a network, and the env's spaces do not fit.
    """

    @cache
    def settings() -> Preset:
        return preset or get_preset("cpu", name, kind=kind_of(env), env_id=env.spec.id if env.spec else "")

    @cache
    def objective() -> Objective:
        # A learner that wants no network needs no preset, whatever its env.
        return objective_of(env) if preset is None else _objective(env, preset)

    offered: dict[str, Callable[[], Any]] = {
        **{field.name: partial(lambda name: getattr(settings(), name), field.name) for field in fields(Preset)},
        "env": lambda: env,
        "seed": lambda: seed,
        "objective": objective,
        "network": lambda: network_for(env, settings(), objective()),
        "rule": lambda: RULES[settings().rule](),
        "feedback": lambda: _feedback(settings()),
    }
    return plugins.call(builder, offered, ("env", "seed"))


def unread_fields(
    names: Collection[str], learner: str, env: gym.Env[Any, Any], preset: Preset, seed: int = 0
) -> list[str]:
    """Those of some fields of a preset that make no difference to a learner in an environment.

    Args:
        names: of the fields.
        learner: its name.
        env: of the learner.
        preset: with those fields.
        seed: of the learner.

    Raises:
        FLPError: if the learner cannot be built.
    """
    if not set(names) - OUTER_FIELDS:
        return []
    watched = _Watched(preset)
    groups = build_learner(learner, env, cast("Preset", watched), seed).parameter_groups()
    read = {*OUTER_FIELDS, *watched.read, *(f"rate_{group}" for group in groups)}
    return [name for name in names if name not in read]


class _Watched:
    """A preset that notes which of its fields are read."""

    def __init__(self, preset: Preset) -> None:
        self._preset, self.read = preset, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._preset, name)


def _objective(env: gym.Env[Any, Any], preset: Preset) -> Objective:
    # Lifetimes of more classes, with which meta-training may begin, need more output units.
    at_first = preset.first_classes if preset.short_outer_steps else 0
    return objective_of(env, max(preset.output_units, at_first))
