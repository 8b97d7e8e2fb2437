"""What each ``flp`` command does."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from rich.console import Console
from rich.table import Table

import flp_envs
from flp_agents import bundled, checkpoint, factory, presets
from flp_agents.evaluation import evaluate as evaluate_learner
from flp_agents.progress import show_progress
from flp_agents.training import Plan, TrainingRun
from flp_envs.errors import FLPError, check_at_least


def prepare_torch(device: str, threads: int | None) -> str:
    """Sets the thread count, here and nowhere else, and checks the device.

    Raises:
        FLPError: if the device is not there.
    """
    if threads is not None:
        torch.set_num_threads(check_at_least("threads", threads, 1))
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


def list_everything(options: argparse.Namespace) -> int:
    """``flp list``."""
    names = {
        "environments": list(flp_envs.ENV_IDS),
        "learners": list(factory.LEARNERS),
        "presets": list(presets.PRESETS),
    }
    checkpoints = bundled.describe_bundled()
    if options.json:
        print(json.dumps({**names, "checkpoints": checkpoints}))
        return 0
    console = Console()
    for kind, valid in names.items():
        console.print(f"[bold]{kind}[/bold]: {', '.join(valid)}")
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("bundled checkpoint", "environment", "preset", "meta-test"):
        table.add_column(heading, no_wrap=heading == "bundled checkpoint", overflow="fold")
    for row in checkpoints:
        table.add_row(row["name"], row["env"], row["preset"], format_result(row["result"]))
    console.print(table)
    return 0


def format_result(result: dict[str, Any] | None) -> str:
    """``0.01230 (0.00040)``."""
    return f"{result['mean']:.5f} ({result['standard_error']:.5f})" if result else ""


def train(options: argparse.Namespace) -> int:
    """``flp train``."""
    from flp_agents.cli import parse_env_options

    overrides = {
        field.name: getattr(options, field.name)
        for field in fields(presets.Preset)
        if getattr(options, field.name) is not None
    }
    device = prepare_torch(options.device, options.threads)
    if options.resume:
        if overrides or options.env_option:
            raise FLPError("--resume goes on with the settings it finds: leave preset fields and env options out")
        run = TrainingRun.resume(Path(options.resume), device=device)
    else:
        plan = Plan(
            env=options.env,
            env_options={
                **presets.preset_env_options(options.preset, options.env),
                **parse_env_options(options.env_option),
            },
            learner=options.learner,
            preset=options.preset,
            settings=presets.get_preset(options.preset, options.learner, overrides),
            seed=options.seed,
            command=_command(sys.argv[1:]),
        )
        folder = Path(options.output or f"runs/{options.env}-{options.learner}-{options.preset}-{options.seed}")
        if (folder / checkpoint.DESCRIPTION).exists() and not options.overwrite:
            raise FLPError(f"{folder} holds a run already: go on with --resume {folder}, or use --overwrite")
        run = TrainingRun(plan, folder, device=device)

    settings, plan = run.plan.settings, run.plan
    print(f"meta-training {plan.learner} on {plan.env}, preset {plan.preset}, seed {plan.seed}, into {run.folder}")
    with show_progress(settings.outer_steps, run.trainer.step_count) as on_step:
        interrupted = run.run(
            save_every_seconds=options.save_every,
            stop_after_seconds=None if options.minutes is None else options.minutes * 60,
            on_step=on_step,
        )
    if not run.finished:
        print(f"paused after outer step {run.trainer.step_count}; go on with: flp train --resume {run.folder}")
        return 130 if interrupted else 0
    result = run.judge(episodes=check_at_least("test-episodes", options.test_episodes, 1), seed=10_000)
    print(f"{run.seconds:.0f} s; meta-test {result['metric']} over {result['episodes']} episodes: {format_result(result)}")
    return 0


def _command(arguments: list[str]) -> str:
    """What was typed, but for where the run was written to, which is nobody else's business."""
    kept: list[str] = []
    for argument in arguments:
        if kept and kept[-1] == "--output":
            kept.pop()
        elif not argument.startswith("--output="):
            kept.append(argument)
    return shlex.join(["flp", *kept])


def evaluate(options: argparse.Namespace) -> int:
    """``flp evaluate``."""
    from flp_agents.cli import parse_env_options

    check_at_least("episodes", options.episodes, 1)
    device = prepare_torch(options.device, options.threads)
    saved = checkpoint.load(bundled.find_checkpoint(options.checkpoint))
    learner, about = saved.learner.to(device), saved.about
    env_id = options.env or about["env"]
    env = flp_envs.make(
        env_id, split=options.split, **{**about["env_options"], **parse_env_options(options.env_option)}
    )
    check_fits(learner, env, env_id, about["env"], allow_transfer=options.transfer)
    result = evaluate_learner(learner, env, episodes=options.episodes, seed=options.seed)
    content = {
        "env": env_id,
        "learner": about["learner"],
        "checkpoint": options.checkpoint,
        "split": options.split,
        "episodes": options.episodes,
        "seed": options.seed,
        "metric": result.metric,
        "mean": result.mean,
        "standard_error": None if options.episodes == 1 else result.standard_error,
    }
    if options.json:
        print(json.dumps(content))
    else:
        print(
            f"{about['learner']} ({options.checkpoint}) on {env_id}, {options.split}, {options.episodes} episodes, "
            f"seed {options.seed}: {result.metric} {result.mean:.5f}, standard error {result.standard_error:.5f}"
        )
    return 0


def check_fits(learner: Any, env: gym.Env[Any, Any], env_id: str, trained_on: str, *, allow_transfer: bool) -> None:
    """Checks that a checkpoint can and should be used on an env.

    Raises:
        CheckpointError: if it was meta-trained on another env, or if inputs or targets have another size.
    """
    if env_id != trained_on and not allow_transfer:
        raise checkpoint.CheckpointError(
            f"the checkpoint was meta-trained on {trained_on}, not on {env_id}: add --transfer to evaluate it there"
        )
    x, y = factory.spaces_of(env)
    network = learner.settings["network"]
    if (x.shape[1], y.shape[1]) != (network.widths[0], network.outputs):
        raise checkpoint.CheckpointError(
            f"the checkpoint maps {network.widths[0]} inputs to {network.outputs}, {env_id} as configured has "
            f"{x.shape[1]} and {y.shape[1]}: use the env options it was meta-trained with"
        )


def export(options: argparse.Namespace) -> int:
    """``flp export``."""
    folder = Path(options.output)
    if (folder / checkpoint.DESCRIPTION).exists():
        raise FLPError(f"{folder} holds a checkpoint already: choose another --output")
    saved = checkpoint.load(bundled.find_checkpoint(options.checkpoint))
    checkpoint.save(folder, saved.learner, saved.about)
    print(f"{folder}: {saved.about.get('learner')}, {format_result(saved.about.get('result'))}")
    return 0


def render(options: argparse.Namespace) -> int:
    """``flp render``."""
    from flp_agents.cli import parse_env_options
    from flp_agents.watching import render_lifetime

    check_at_least("every", options.every, 1)
    device = prepare_torch(options.device, options.threads)
    env_options = parse_env_options(options.env_option)
    if options.checkpoint:
        saved = checkpoint.load(bundled.find_checkpoint(options.checkpoint))
        learner, env_id = saved.learner, options.env or saved.about["env"]
        env = flp_envs.make(
            env_id, render_mode="rgb_array", split="meta-test", **{**saved.about["env_options"], **env_options}
        )
        check_fits(learner, env, env_id, saved.about["env"], allow_transfer=bool(options.env))
    else:
        env_id = options.env or "FLPSine-Continual-v0"
        env = flp_envs.make(env_id, render_mode="rgb_array", split="meta-test", **env_options)
        learner = factory.build_learner(options.learner, env, presets.get_preset("cpu", options.learner), options.seed)
    path = Path(options.output)
    score = render_lifetime(learner.to(device), env, path, seed=options.seed, every=options.every)
    print(f"{path}: one lifetime on {env_id}, seed {options.seed}, query mse {score:.4f}")
    return 0


def demo(options: argparse.Namespace) -> int:
    """``flp demo``."""
    from flp_agents.demo import run_demo

    prepare_torch(options.device, options.threads)
    started = time.monotonic()
    run_demo(
        Path(options.output),
        episodes=check_at_least("episodes", options.episodes, 2),
        train_seconds=options.train_seconds,
        seed=options.seed,
    )
    print(f"done in {time.monotonic() - started:.0f} s on {os.cpu_count()} cores")
    return 0
