"""Names of learners: the built-in ones, checkpoints, and those that users bring.

A learner is registered by a decorator in a file that ``--plugin`` names, or by an entry point of an installed
package in the group ``flp_envs.learners``::

    @register_learner("mine")
    class Mine:  # reset / predict / update, or predict(observation, state, episode_start, deterministic)
        ...
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym

from flp_agents.adapters import saved_policies
from flp_agents.adapters.plain_learner import as_learner
from flp_agents.adapters.policies import find_policy, policy_folder, policy_names
from flp_agents.adapters.saved_policies import read_policy_description
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned import tuned_on
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.learners.learner import Learner
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins
from flp_agents.support.savable import register_class
from flp_agents.training import bundled, checkpoint
from flp_agents.training.factory import build_registered
from flp_agents.training.plan import split_trained_on
from flp_base.errors import FLPError, InvalidChoice
from flp_base.files import spelt
from flp_base.registry import RegistryError
from flp_datasets.sources import parts_of
from flp_envs.registration import id_to_make, options_given

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class BenchmarkEntry:
    """A learner, adapted to an environment.

    Attributes:
        learner: itself.
        title: as tables show it.
        network: what tells it from others of its name: SHA-256 of its meta-parameters, or its seed.
        meta_trained_on: environment and split of its meta-training, or of a policy's training; empty if there was none.
        origin: further facts of where it comes from.
    """

    learner: Learner[Any]
    title: str
    network: str
    meta_trained_on: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)


class SplitLeak(FLPError, ValueError):
    """A learner that is to be tested on what it was meta-trained on."""


def register_learner(name: str) -> Callable[[Builder], Builder]:
    """Makes a learner known by a name, as a decorator of its class or of a function that makes one.

    What is decorated is called with those of ``env`` and ``seed`` that it has parameters for, and returns a
    :class:`~flp_agents.learners.learner.Learner`, a :class:`~flp_agents.adapters.plain_learner.PlainLearner`, or
    anything with stable-baselines3's ``predict``. What is to be meta-trained, a subclass of
    :class:`~flp_agents.learners.flp.FLP` say, may have the parameters ``network``, ``objective``, ``rule`` and
    ``feedback``, and any that is named as an option of :mod:`~flp_agents.support.settings`. Checkpoints can name
    a class that is decorated.

    Raises:
        RegistryError: if a built-in learner, or another registered one, has this name.
    """

    def register(builder: Builder) -> Builder:
        if name in built_in_names():
            raise RegistryError(f"a built-in learner is named {name!r} already: choose another name")
        LEARNERS.add(name, builder, of_user=True)
        if isinstance(builder, type) and issubclass(builder, Learner):
            register_class(builder)
        return builder

    return register


def built_in_names() -> list[str]:
    """Meta-trained learners with bundled checkpoints, baselines, and policies."""
    return [*LEARNERS.built_in(), *BASELINES.built_in(), *policy_names()]


def is_built_in(name: str) -> bool:
    """Whether a learner comes with this package: its code, or its weights."""
    return name in built_in_names() or name in bundled.bundled_checkpoints()


def learner_names() -> list[str]:
    """All that can be named without a path: built in, registered, of entry points, and bundled checkpoints."""
    brought = [*LEARNERS.brought(), *BASELINES.brought()]
    return list(dict.fromkeys([*built_in_names(), *brought, *bundled.bundled_checkpoints()]))


def brought_learner(name: str) -> Callable[..., Any] | None:
    """What makes a learner that a user brings, or none.

    Raises:
        RegistryError: if it is an entry point that fails.
    """
    brought: Callable[..., Any] | None = None
    if name in LEARNERS and not LEARNERS.is_built_in(name):
        brought = LEARNERS[name]
    elif name in BASELINES and not BASELINES.is_built_in(name):
        brought = BASELINES[name].build
    return brought


def _meta_trained(name: str) -> str:
    """The meta-trained learner whose bundled checkpoints a name stands for, or starts from; empty if there is none."""
    if LEARNERS.is_built_in(name):
        return name
    return BASELINES[name].starts_from if name in BASELINES else ""


def check_name(name: str) -> None:
    """Makes sure that a name, or folder, stands for a learner.

    Raises:
        InvalidChoice: naming the nearest.
        FLPError: if it is no text: results that hold it could not be read again.
    """
    if spelt(name) != name:
        raise FLPError(f"the learner's name {spelt(name)} is not UTF-8: rename its folder")
    if name not in learner_names() and not os.path.exists(name):
        raise _unknown(name)


def _unknown(name: str) -> InvalidChoice:
    return InvalidChoice("learner", name, learner_names(), plugins.ADVICE)


def build_entry(name: str, env: gym.Env[Any, Any], seed: int = 0) -> BenchmarkEntry:
    """The learner of a name, or of a checkpoint's folder, adapted to an environment.

    Where several networks were meta-trained, the seed takes turns among them.

    Raises:
        InvalidChoice: for an unknown name, naming the nearest.
        FLPError: if it does not fit it, or nothing was meta-trained for that environment.
    """
    if name in BASELINES:
        learner = as_learner(build_baseline(name, env, seed), env)
        tuned = {"tuned_on": where} if (where := tuned_on(name, env)) else {}
        start = BASELINES[name].starts_from
        if not start:
            return BenchmarkEntry(learner, name, f"seed {seed}", origin=tuned)
        # Its own numbers are tuned, its weights are a checkpoint's.
        of_start = _of_checkpoint(bundled.bundled_for(_id_of(env), start)[0], env)
        return replace(of_start, learner=learner, title=name, origin={**of_start.origin, **tuned})
    env_id = _id_of(env)
    if LEARNERS.is_built_in(name):
        return _of_checkpoint(_bundled_for(name, env, seed), env)
    builder = LEARNERS.get(name)
    if builder is not None:
        return BenchmarkEntry(as_learner(build_registered(name, builder, env, seed=seed), env), name, f"seed {seed}")
    if name in policy_names():
        policy = find_policy(name, env_id, _words_of(env))
        return BenchmarkEntry(as_learner(policy.model, env), name, policy.sha256, policy.trained_on, policy.origin)
    if name in bundled.bundled_checkpoints() or os.path.exists(name):
        return _of_checkpoint(name, env)
    raise _unknown(name)


def described_checkpoints(name: str, env_id: str) -> list[dict[str, Any]]:
    """The descriptions of all checkpoints that a name stands for in an environment, whatever the seed.

    Raises:
        CheckpointError: if one cannot be read.
    """
    if of_learner := _meta_trained(name):
        names = bundled.bundled_for(env_id, of_learner)
    elif name in bundled.bundled_checkpoints() or (name not in learner_names() and os.path.exists(name)):
        names = [name]
    else:
        names = []
    return [checkpoint.read_description(bundled.find_checkpoint(each)) for each in names]


def weights_digest(name: str, env_id: str, seed: int, described: Sequence[Mapping[str, Any]] | None = None) -> str:
    """SHA-256 of the weights that a name stands for in an environment; empty where there are none.

    Args:
        name: of a learner, or a checkpoint's folder.
        env_id: of the environment.
        seed: by which checkpoints of one name take turns.
        described: what :func:`described_checkpoints` said, if it was asked.
    """
    if name in policy_names():
        folder = policy_folder(name, env_id)
        return "" if folder is None else read_policy_description(folder).sha256
    described = described_checkpoints(name, env_id) if described is None else described
    if not described:
        return ""
    return str(described[seed % len(described) if LEARNERS.is_built_in(name) else 0]["files"]["weights"]["sha256"])


def check_split(name: str, env_id: str, split: str) -> None:
    """Makes sure that a learner is not tested on what it was meta-trained on.

    Raises:
        SplitLeak: if it is.
    """
    if name in policy_names():
        refuse_leak(name, {"env": env_id, "split": saved_policies.SPLIT}, env_id, split)
    elif of_learner := _meta_trained(name):
        for of_name in bundled.bundled_for(env_id, of_learner):
            _refuse_leak_of(name, of_name, env_id, split)
    elif name in bundled.bundled_checkpoints() or os.path.exists(name):
        _refuse_leak_of(name, name, env_id, split)


def _refuse_leak_of(name: str, of_checkpoint: str, env_id: str, split: str) -> None:
    about = checkpoint.read_description(bundled.find_checkpoint(of_checkpoint))["about"]
    refuse_leak(name, {"env": about.get("env") or env_id, "split": split_trained_on(about)}, env_id, split)


def refuse_leak(name: str, trained_on: Mapping[str, Any], env_id: str, split: str) -> None:
    """Makes sure that a learner that was trained on one split is not tested on it, or on a part of it.

    Raises:
        SplitLeak: if it is.
    """
    family, of_training = (full.rpartition(":")[2].split("-")[0] for full in (env_id, str(trained_on.get("env"))))
    of_split = str(trained_on.get("split"))
    if family == of_training and set(parts_of(of_split)) & set(parts_of(split)):
        raise SplitLeak(
            f"{name} was meta-trained on the {of_split} split of {of_training}, so a result on {split} says nothing of "
            "what it learned: use --split meta-test"
        )


def _of_checkpoint(name: str, env: gym.Env[Any, Any]) -> BenchmarkEntry:
    saved = checkpoint.load(bundled.find_checkpoint(name))
    about = {"env": "", **saved.about}
    return BenchmarkEntry(
        as_learner(saved.learner, env),
        bundled.title(about),
        checkpoint.parameters_digest(saved.learner),
        {key: about[key] for key in ("env", "env_options", "preset", "seed") if key in about}
        | {"split": split_trained_on(about)},
        {"checkpoint": Path(name).name, "checkpoint_command": about.get("command", "")},
    )


def _bundled_for(learner: str, env: gym.Env[Any, Any], seed: int) -> str:
    env_id = _id_of(env)
    fitting = bundled.bundled_for(env_id, learner)
    if not fitting:
        raise FLPError(
            f"no bundled checkpoint of {learner} for {env_id}: meta-train one (flp train --learner {learner} "
            f"{_words_of(env)}) and name its folder as the learner"
        )
    return fitting[seed % len(fitting)]


def _words_of(env: gym.Env[Any, Any]) -> str:
    """The options of a training command for such an env."""
    words = ["--env", id_to_make(env)]
    for name, value in options_given(env).items():
        words += ["--env-option", f"{name}={value}"]
    for plugin in plugins.loaded_plugins():
        words += ["--plugin", plugin]
    return shlex.join(words)


def _id_of(env: gym.Env[Any, Any]) -> str:
    return env.spec.id if env.spec else type(env.unwrapped).__name__
