"""``flp evaluate``, ``flp export`` and ``flp render``: what a checkpoint is used for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.cli.given import DEFAULT_ENV, env_options, prepare_torch, score_in_words
from flp_agents.evaluation.scoring import evaluate as evaluate_learner
from flp_agents.experiments.rendering import render_lifetime
from flp_agents.learners.learner import Learner
from flp_agents.support import plugins
from flp_agents.support.progress import show_steps
from flp_agents.training import bundled, checkpoint, factory, presets
from flp_agents.training.half_precision import EPISODES, export_half
from flp_agents.training.plan import options_on
from flp_base.errors import FLPError, check_at_least


def evaluate(options: argparse.Namespace) -> int:
    """``flp evaluate``."""
    check_at_least("episodes", options.episodes, 1)
    device = prepare_torch(options.device, options.threads)
    learner, about = load_for_use(options.checkpoint, device)
    env_id, env = env_for(learner, about, options, split=options.split)
    with show_steps("episode", options.episodes, stream=sys.stderr, at_once=False) as show:
        result = evaluate_learner(
            learner, env, episodes=options.episodes, seed=options.seed or 0, on_episodes=lambda done: show(done, "")
        )
    content = {
        "env": env_id,
        "learner": about["learner"],
        "checkpoint": options.checkpoint,
        "split": options.split,
        "episodes": options.episodes,
        "seed": options.seed or 0,
        **result.as_json(),
    }
    if options.json:
        print(json.dumps(content, allow_nan=False))
    else:
        print(
            f"{about['learner']} ({options.checkpoint}) on {env_id}, {options.split}, {options.episodes} episodes, "
            f"seed {options.seed or 0}: {result.metric} {result.mean:.5f}, standard error {result.standard_error:.5f}"
        )
    return 0


def export(options: argparse.Namespace) -> int:
    """``flp export``."""
    folder = Path(options.output)
    refused = FLPError(f"{folder} holds a checkpoint already: choose another --output")
    if (folder / checkpoint.DESCRIPTION).exists():
        raise refused
    saved = checkpoint.load(find_checkpoint(options.checkpoint))
    if (folder / checkpoint.DESCRIPTION).exists():
        raise refused
    said = f"{folder}: {saved.about.get('learner')}, {score_in_words(saved.about.get('result'))}"
    if options.half and not saved.rounded_from:
        prepare_torch("cpu", None)
        with show_steps("episode", 2 * EPISODES, stream=sys.stderr, at_once=False) as show:
            rounding = export_half(saved, folder, on_episodes=lambda done: show(done, ""))
        said += f"; in half precision, which changes it by {rounding['change']:.2g}"
    else:  # what was rounded once is stored as it was
        half = bool(saved.rounded_from)
        checkpoint.save(folder, saved.learner, saved.about, half=half, rounded_from=saved.rounded_from)
    print(said)
    return 0


def render(options: argparse.Namespace) -> int:
    """``flp render``."""
    check_at_least("every", options.every, 1)
    device = prepare_torch(options.device, options.threads)
    seed, shown = options.seed or 0, {"render_mode": "rgb_array", "split": "meta-test"}
    if options.checkpoint:
        learner, about = load_for_use(options.checkpoint, device)
        env_id, env = env_for(learner, about, options, **shown)
    else:
        env_id = options.env or DEFAULT_ENV
        env = flp_envs.make(env_id, **shown, **env_options(options))
        settings = presets.get_preset("cpu", options.learner, kind=factory.kind_of(env), env_id=env_id)
        learner = factory.build_learner(options.learner, env, settings, seed)
    path = Path(options.output)
    steps = env.spec.max_episode_steps if env.spec else None
    with show_steps("inner step", steps, stream=sys.stderr, at_once=False) as show:
        score = render_lifetime(
            learner.to(device), env, path, seed=seed, every=options.every, on_step=lambda step: show(step, "")
        )
    print(f"{path}: one lifetime on {env_id}, seed {seed}, query {learner.objective.metric} {score:.4f}")
    return 0


def find_checkpoint(name: str) -> Path:
    """The folder of a bundled checkpoint's name, or of a path.

    Raises:
        FLPError: if it is neither; of a learner's name, with the command that evaluates one.
    """
    if name not in bundled.bundled_checkpoints() and not os.path.exists(name) and name in entries.learner_names():
        bundled_ones = [row["name"] for row in bundled.describe_bundled() if row["learner"] == name]
        checkpoints = f" (its bundled checkpoints: {', '.join(bundled_ones)})" if bundled_ones else ""
        raise FLPError(
            f"{name} is a learner, not a checkpoint{checkpoints}: "
            f"evaluate it with flp benchmark --learners {name} --envs ENV"
        )
    return bundled.find_checkpoint(name)


def load_for_use(name: str, device: str) -> tuple[Learner[Any], dict[str, Any]]:
    """The learner of a bundled checkpoint or a folder, and what was said of it."""
    saved = checkpoint.load(find_checkpoint(name))
    unsaid = {"env": "", "env_options": {}, "learner": factory.learner_name(saved.learner)}
    return saved.learner.to(device), {**unsaid, **saved.about}


def env_for(
    learner: Learner[Any], about: Mapping[str, Any], options: argparse.Namespace, **more: Any
) -> tuple[str, gym.Env[Any, Any]]:
    """The env that a checkpoint is to be used on, and its id; refused if it is not what it was meta-trained for."""
    wanted = options.env or env_of(about)
    trained_on = plugins.without_module(about["env"])
    of_split = options_on(about, wanted, more["split"])
    # Another family's options mean nothing here.
    family, of_about = (plugins.without_module(env_id).split("-")[0] for env_id in (wanted, trained_on))
    of_run = about["env_options"] if family == of_about else {}
    env = flp_envs.make(wanted, **more, **{**of_split, **of_run, **env_options(options)})
    env_id = env.spec.id if env.spec else str(options.env)
    if env_id != trained_on and trained_on and not options.transfer:
        raise checkpoint.CheckpointError(
            f"the checkpoint was meta-trained on {trained_on}, not on {env_id}: add --transfer to use it there"
        )
    learner.holds_to_range = not options.transfer
    learner.adapt_to(env)
    return env_id, env


def env_of(about: Mapping[str, Any]) -> str:
    """The id of the environment that a checkpoint was meta-trained on.

    Raises:
        CheckpointError: if it does not say it.
        PluginError: if a plug-in has to bring it first, which is named.
    """
    if not about["env"]:
        raise checkpoint.CheckpointError("the checkpoint does not say its env: name it with --env")
    return plugins.recorded_env(about["env"], about.get("plugins", ()))
