"""What each ``flp`` command does."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import flp_envs
from flp_agents.baselines.building import BASELINES
from flp_agents.benchmark import entries
from flp_agents.evaluation.scoring import evaluate as evaluate_learner
from flp_agents.experiments.demo import run_demo
from flp_agents.experiments.rendering import render_lifetime
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.meta_gradient import describe
from flp_agents.support import plugins
from flp_agents.support.processes import Processes, choose_threads, join_processes, own_device
from flp_agents.support.progress import show_steps
from flp_agents.support.provenance import machine
from flp_agents.training import bundled, checkpoint, factory, presets
from flp_agents.training.plan import make_plan
from flp_agents.training.progress import show_progress
from flp_agents.training.run import FINAL_SEED, TrainingRun, finite_or_none
from flp_base.errors import FLPError, InvalidSize, check_at_least, check_number
from flp_base.files import spelt
from flp_datasets import roots
from flp_envs.registration import check_options

DEFAULT_ENV = "FLPSine-Continual-v0"
MOST_THREADS = 1024


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


def train(options: argparse.Namespace) -> int:
    """``flp train``."""
    check_at_least("test-episodes", options.test_episodes, 1)
    check_number("save-every", options.save_every, least=0)
    if options.minutes is not None:
        check_number("minutes", options.minutes, above=0)
    processes = join_processes()
    device = own_device(options.device) if processes.world > 1 else options.device
    prepare_torch(device, _threads_to_train(options), large=options.preset not in (None, "cpu"))
    begin = _resume if options.resume is not None else _begin
    run = begin(options, device, processes)
    if processes.writes:
        code = _train(run, options, device)
    else:
        interrupted = run.run(stop_after_seconds=None if options.minutes is None else options.minutes * 60)
        code = 130 if interrupted else 0
    processes.leave()
    return code


def _threads_to_train(options: argparse.Namespace) -> int | None:
    """As many as the user says; else, of a run that goes on, as many as before: its last bits depend on it."""
    if options.threads is not None or options.resume is None:
        threads: int | None = options.threads
    else:
        threads = checkpoint.read_description(Path(options.resume))["about"].get("threads")
    return threads


def _train(run: TrainingRun, options: argparse.Namespace, device: str) -> int:
    """The part of :func:`train` that reads and writes."""
    settings, plan = run.plan.settings, run.plan
    print(f"meta-training {plan.learner} on {plan.env}, preset {plan.preset}, seed {plan.seed}, into {run.folder}")
    shared = f", shared by {run.processes.world} processes" if run.processes.world > 1 else ""
    print(f"meta-gradient {settings.meta_gradient}, {describe(run.learner)}{shared}")
    for note in run.notes:
        print(note)
    # Until the last evaluation is written as well.
    with run.held():
        with show_progress(settings.outer_steps, run.trainer.step_count) as on_step:
            interrupted = run.run(
                save_every_seconds=options.save_every,
                stop_after_seconds=None if options.minutes is None else options.minutes * 60,
                on_step=on_step,
            )
        result = run.judge(episodes=options.test_episodes, seed=FINAL_SEED) if run.finished else None
    if result is None:
        world = run.processes.world
        start = ["flp"] if world == 1 else ["torchrun", "--nproc-per-node", str(world), "-m", "flp_agents"]
        resume = [*start, "train", "--resume", str(run.folder), "--threads", str(torch.get_num_threads())]
        resume += [] if device == "cpu" else ["--device", options.device]
        resume += [word for plugin in options.plugin for word in ("--plugin", plugin)]
        print(f"paused after outer step {run.trainer.step_count}; go on with: {shlex.join(resume)}")
        return 130 if interrupted else 0
    print(result_in_words(run.seconds, result))
    return 0


def _begin(options: argparse.Namespace, device: str, processes: Processes) -> TrainingRun:
    if options.learner in BASELINES:
        raise factory.not_meta_trained(options.learner)
    plan = make_plan(
        options.env or DEFAULT_ENV,
        options.learner or "flp",
        preset=options.preset or "cpu",
        seed=options.seed or 0,
        overrides=_preset_overrides(options),
        env_options=env_options(options),
        command=typed_command(options.arguments),
        train_on=options.train_on or "meta-train",
        evaluate_on=options.evaluate_on,
        plugins=options.plugin,
        rates=_rates(options.rate),
    )
    given = _preset_overrides(options)
    for name in factory.unread_fields(given, plan.learner, plan.make_env("meta-train"), plan.settings, plan.seed):
        raise FLPError(
            f"--{name.replace('_', '-')} makes no difference to {plan.learner} on {plan.env}, which does not read it: "
            "leave it out"
        )
    env_name = plugins.without_module(plan.env)
    folder = Path(options.output or f"runs/{env_name}-{plan.learner}-{plan.preset}-{plan.seed}")
    if (folder / checkpoint.DESCRIPTION).exists() and not options.overwrite:
        raise FLPError(f"{folder} holds a run already: go on with --resume {folder}, or use --overwrite")
    return TrainingRun(plan, folder, device=device, processes=processes)


def _resume(options: argparse.Namespace, device: str, processes: Processes) -> TrainingRun:
    named = ("env", "learner", "preset", "output", "seed", "train_on", "evaluate_on")
    given = [name for name in named if getattr(options, name) is not None]
    given += _preset_overrides(options)
    given += [name for name in ("env_option", "rate", "overwrite") if getattr(options, name)]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise FLPError(f"--resume goes on with the settings it finds: leave out {names}")
    return TrainingRun.resume(Path(options.resume), device=device, processes=processes)


def _rates(pairs: Sequence[str]) -> dict[str, float]:
    """``["gains=1e-3", ...]`` as ``--rate`` gave them."""
    rates: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if hasattr(presets.Preset, f"rate_{name}"):
            raise FLPError(f"--rate {name}: use --rate-{name.replace('_', '-')}")
        try:
            rates[name] = float(text)
        except ValueError:
            raise FLPError(f"--rate: expected NAME=RATE, such as gains=1e-3, got {pair!r}") from None
    return rates


def _preset_overrides(options: argparse.Namespace) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in fields(presets.Preset)}
    return {name: value for name, value in values.items() if value is not None}


def typed_command(arguments: Sequence[str]) -> str:
    """What was typed, but for folders of this machine, which are nobody else's business; as text for any file."""
    kept: list[str] = []
    for argument in arguments:
        if kept and kept[-1] in ("--output", "--data-root"):
            kept.pop()
        elif kept and kept[-1] == "--plugin":
            kept.append(plugins.shareable(argument))
        elif argument.startswith("--plugin="):
            kept.append(f"--plugin={plugins.shareable(argument.partition('=')[2])}")
        elif not argument.startswith(("--output=", "--data-root=")):
            kept.append(argument)
    return spelt(shlex.join(["flp", *kept]))


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
        "metric": result.metric,
        "mean": finite_or_none(result.mean),
        "standard_error": finite_or_none(result.standard_error),
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
    checkpoint.save(folder, saved.learner, saved.about)
    print(f"{folder}: {saved.about.get('learner')}, {_score(saved.about.get('result'))}")
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


def demo(options: argparse.Namespace) -> int:
    """``flp demo``."""
    check_at_least("episodes", options.episodes, 2)
    check_number("train-seconds", options.train_seconds, least=0)
    prepare_torch("cpu", options.threads)
    started = time.monotonic()
    folder = Path(options.output)
    run_demo(folder, episodes=options.episodes, train_seconds=options.train_seconds, seed=options.seed or 0)
    print(f"done in {time.monotonic() - started:.0f} s on {machine()}")
    return 0


def prepare_torch(device: str, threads: int | None, *, large: bool = False) -> str:
    """Chooses the thread count (see :func:`~flp_agents.support.processes.choose_threads`) and checks the device.

    Raises:
        FLPError: if the device is not there.
    """
    if threads is not None and check_at_least("threads", threads, 1) > MOST_THREADS:
        raise InvalidSize(f"threads must be at most {MOST_THREADS}, got {threads}")
    choose_threads(threads, large=large)
    try:
        kind = torch.device(device)
        if kind.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise FLPError(f"unknown device {device!r}: expected cpu, cuda or cuda:N") from None
    if kind.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (kind.index or 0) >= count:
            raise FLPError(f"device {device!r} is not there: this machine has {count} CUDA devices; use --device cpu")
    return device


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
    of_split = presets.preset_split_options(about.get("preset", ""), plugins.without_module(wanted), more["split"])
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
    learner.fitted_to(env)
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


def env_options(options: argparse.Namespace) -> dict[str, Any]:
    """``["name=value", ...]`` as keyword arguments: numbers, true and false where they read so, else text."""
    if options.data_root is not None:
        # Where the data lies is this machine's business: it does not become part of what is trained.
        os.environ[roots.VARIABLE] = str(roots.named_root(options.data_root))
    return named_values("--env-option", options.env_option)


def named_values(flag: str, pairs: Sequence[str]) -> dict[str, Any]:
    """``["name=value", ...]``, as a flag gave them, that are keyword arguments of environments."""
    named: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise FLPError(f"{flag}: expected NAME=VALUE, such as steps_per_function=8, got {pair!r}")
        named[name] = _value(text)
    check_options(flag, named)
    return named


def _value(text: str) -> int | float | bool | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def result_in_words(seconds: float, result: Mapping[str, Any]) -> str:
    """What training cost, and what came of it, in one line."""
    split = result["split"]
    return f"{seconds:.0f} s; {split} {result['metric']} over {result['episodes']} episodes: {_score(result)}"


def _score(result: Mapping[str, Any] | None) -> str:
    """``0.01230 (0.00040)``: mean and standard error."""
    if not result:
        return ""
    mean, error = (math.nan if result[key] is None else result[key] for key in ("mean", "standard_error"))
    return f"{mean:.5f} ({error:.5f})"
