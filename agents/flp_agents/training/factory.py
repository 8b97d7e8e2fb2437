"""Builds learners by name, to fit an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.feedback import Feedback
from flp_agents.learners.flp import FLP, FLPSettings
from flp_agents.learners.input_range import check_images, range_of
from flp_agents.learners.learner import Learner
from flp_agents.learners.network import Network, NetworkSettings
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces, Objective, in_words, objective_of
from flp_agents.learners.plasticity.rule import RULES, PlasticityRule
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins
from flp_agents.support.plugins import parameters_of
from flp_agents.support.settings import option_named, option_names, options_of
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES
from flp_agents.training.presets import get_preset
from flp_agents.training.settings import Settings
from flp_agents.training.trainer_arguments import estimator_of, lifetimes_of, outer_objective_of
from flp_base.errors import FLPError

# Of ImageNet, by which colour images are standardised: the numbers that torchvision's models use.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def kind_of(env: gym.Env[Any, Any]) -> str:
    """Which kind of presets an environment needs, "images" or "numbers".

    Raises:
        IncompatibleSpaces: see :func:`input_space`.
    """
    return "images" if _shows_images(input_space(env)) else "numbers"


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


def network_for(env: gym.Env[Any, Any], settings: NetworkSettings, objective: Objective) -> Network:
    """The network that settings describe between an environment's inputs and targets.

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
        convolutions = _convolutions(x.shape, settings)
        return Network((convolutions.features, *settings.hidden_widths, outputs), convolutions=convolutions)
    scale = None
    if settings.scale_inputs:
        largest = np.maximum(np.abs(x.low), np.abs(x.high)).max(0)
        scale = tuple(float(1.0 / v) if np.isfinite(v) and v > 0 else 1.0 for v in largest)
    return Network((x.shape[1], *settings.hidden_widths, outputs), scale, input_range=range_of(x))


def _convolutions(image_shape: tuple[int, ...], settings: NetworkSettings) -> Convolutions:
    mean: tuple[float, ...] = (1.0,)
    deviation: tuple[float, ...] = (-1.0,)
    if image_shape[0] == 3:
        mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
    elif not settings.ink:
        mean, deviation = (0.0,), (1.0,)
    shape = (image_shape[0], image_shape[1], image_shape[2])
    return Convolutions(shape, settings.channels, padding=settings.padding, mean=mean, deviation=deviation)


def _feedback(settings: FLPSettings) -> Feedback:
    return Feedback(
        signal=settings.signal,
        rectified=settings.rectified,
        output=settings.output_feedback,
        hidden_layers=settings.feedback_layers,
        hidden_width=settings.feedback_width,
        positive_output=settings.positive_output_feedback,
        pathway=settings.feedback_pathway,
    )


def build_learner(name: str, env: gym.Env[Any, Any], settings: Settings, seed: int = 0) -> Learner[Any]:
    """A new learner, with random initial meta-parameters; built in, or registered.

    Raises:
        InvalidChoice: for an unknown learner or rule.
        RegistryError: if it is an entry point that fails.
        InvalidSize: for a plastic-layer count outside 1..L.
        IncompatibleSpaces: if the env's spaces do not fit.
        FLPError: if it has no meta-parameters.
    """
    learner = build_registered(name, LEARNERS[name], env, settings, seed)
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
    name: str, builder: Callable[..., Any], env: gym.Env[Any, Any], given: Settings | None = None, seed: int = 0
) -> Any:
    """What a registered class or function makes of the arguments that it has parameters for.

    Args:
        name: that it is registered by.
        builder: it.
        env: of the learner.
        given: settings, whose options are offered; by default those of preset ``cpu``.
        seed: of the learner.

    Raises:
        PluginError: if it needs an argument that is not offered.
        IncompatibleSpaces: if it wants a network, and the env's spaces do not fit.
    """

    @cache
    def settings() -> Settings:
        return given or get_preset("cpu", name, kind=kind_of(env), env_id=env.spec.id if env.spec else "")

    @cache
    def objective() -> Objective:
        # A learner that wants no network needs no preset, whatever its env.
        return objective_of(env) if given is None else _objective(env, given)

    offered: dict[str, Callable[[], Any]] = {
        **{
            option: partial(lambda option: settings().offered(name)[option](), option)
            for option in Settings().offered()
        },
        "env": lambda: env,
        "seed": lambda: seed,
        "objective": objective,
        "network": lambda: network_for(env, settings().network, objective()),
        "rule": lambda: _rule(settings()),
        "feedback": lambda: _feedback(settings().flp),
    }
    return plugins.call(builder, offered, ("env", "seed"))


def _rule(settings: Settings) -> PlasticityRule:
    """The plasticity rule, with its options if it has any."""
    made = RULES[settings.flp.rule]
    return made(**{name: getattr(settings[settings.flp.rule], name) for name in options_of(made)})


def unread_options(
    names: Collection[str], learner: str, env: gym.Env[Any, Any], settings: Settings, seed: int = 0
) -> list[str]:
    """Those of some options that make no difference to a learner in an environment.

    Args:
        names: of the options, as they were given.
        learner: its name.
        env: of the learner.
        settings: with those options.
        seed: of the learner.

    Raises:
        FLPError: if the learner cannot be built.
    """
    places = {name: option_names()[option_named(name)] for name in names}
    if not any(_may_be_unread(*place) for place in places.values()):
        return []
    read: set[tuple[str, str]] = set()
    watched = Settings({name: _Watched(name, part, read) for name, part in settings.parts.items()})
    read.clear()  # of what making them has read
    groups = build_learner(learner, env, watched, seed).parameter_groups()
    read |= {("outer-loop", f"rate_{group}") for group in groups}
    estimator_of(watched)
    outer_objective_of(watched)
    lifetimes_of(watched, env)
    return [name for name, place in places.items() if _may_be_unread(*place) and place not in read]


def _may_be_unread(section: str, name: str) -> bool:
    """Whether an option is not one of the outer loop that all learners, and all lifetime schedules, have."""
    of_schedules = {of for schedule in LIFETIME_SCHEDULES.values() for of in parameters_of(schedule)}
    return section != "outer-loop" or name.startswith("rate_") or name in of_schedules


class _Watched:
    """A section that notes which of its options are read."""

    def __init__(self, name: str, section: Any, read: set[tuple[str, str]]) -> None:
        self._name, self._section, self._read = name, section, read

    def __getattr__(self, option: str) -> Any:
        self._read.add((self._name, option))
        return getattr(self._section, option)


def _objective(env: gym.Env[Any, Any], settings: Settings) -> Objective:
    if not isinstance(objective_of(env), CrossEntropy):
        return objective_of(env)
    # Outer steps on lifetimes of more classes need more output units.
    stages = lifetimes_of(settings, env).extremes()
    classes = [int(stage.options.get("num_classes", stage.num_classes)) for stage in stages]
    return objective_of(env, max([settings.network.output_units, *classes]))
