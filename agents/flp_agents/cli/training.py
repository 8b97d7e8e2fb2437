"""``flp train``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import torch

from flp_agents.baselines.building import BASELINES
from flp_agents.cli.defaults import TEST_EPISODES
from flp_agents.cli.given import DEFAULT_ENV, env_options, prepare_torch, result_in_words, typed_command
from flp_agents.cli.setting_options import flag_of, rates_given, settings_given
from flp_agents.lifetime.meta_gradient import describe
from flp_agents.support import plugins
from flp_agents.support.processes import Processes, join_processes, own_device
from flp_agents.training import checkpoint, factory, presets
from flp_agents.training.outer_step import loss_name
from flp_agents.training.plan import make_plan
from flp_agents.training.progress import show_progress
from flp_agents.training.run import FINAL_SEED, TrainingRun
from flp_base.errors import FLPError, check_at_least, check_number


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
    windows = f", in windows of {settings.window} inner steps" if settings.window else ""
    print(f"meta-gradient {settings.backpropagation.meta_gradient}, {describe(run.learner)}{windows}{shared}")
    for note in run.notes:
        print(note)
    # Until the last evaluation is written as well.
    with run.held():
        loss = loss_name(settings.outer_loop.outer_objective)
        with show_progress(settings.outer_loop.outer_steps, run.trainer.step_count, loss) as on_step:
            interrupted = run.run(
                save_every_seconds=options.save_every,
                stop_after_seconds=None if options.minutes is None else options.minutes * 60,
                on_step=on_step,
            )
        result = run.evaluate(episodes=options.test_episodes, seed=FINAL_SEED) if run.finished else None
    if result is None:
        world = run.processes.world
        start = ["flp"] if world == 1 else ["torchrun", "--nproc-per-node", str(world), "-m", "flp_agents"]
        resume = [*start, "train", "--resume", str(run.folder), "--threads", str(torch.get_num_threads())]
        resume += [] if device == "cpu" else ["--device", options.device]
        resume += [] if options.test_episodes == TEST_EPISODES else ["--test-episodes", str(options.test_episodes)]
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
        preset=presets.preset_named(options.preset or "cpu"),
        seed=options.seed or 0,
        overrides=settings_given(options),
        env_options=env_options(options),
        command=typed_command(options.arguments),
        train_on=options.train_on or "meta-train",
        evaluate_on=options.evaluate_on,
        plugins=options.plugin,
        rates=rates_given(options.rate),
    )
    given = settings_given(options)
    for name in factory.unread_options(given, plan.learner, plan.make_env("meta-train"), plan.settings, plan.seed):
        section = name.rpartition(".")[0]
        raise FLPError(
            f"{flag_of(name)} makes no difference to {plan.learner} on {plan.env}, which does not read it: leave it out"
            + (f", or choose {section} as well" if section else "")
        )
    env_name = plugins.without_module(plan.env)
    folder = Path(options.output or f"runs/{env_name}-{plan.learner}-{plan.preset}-{plan.seed}")
    if (folder / checkpoint.DESCRIPTION).exists() and not options.overwrite:
        raise FLPError(f"{folder} holds a run already: go on with --resume {folder}, or use --overwrite")
    return TrainingRun(plan, folder, device=device, processes=processes)


def _resume(options: argparse.Namespace, device: str, processes: Processes) -> TrainingRun:
    named = ("env", "learner", "preset", "output", "seed", "train_on", "evaluate_on")
    given = [name for name in named if getattr(options, name) is not None]
    given += settings_given(options)
    given += [name for name in ("env_option", "rate", "overwrite") if getattr(options, name)]
    if given:
        names = ", ".join(flag_of(name) for name in given)
        raise FLPError(f"--resume continues with the settings of the run: leave out {names}")
    return TrainingRun.resume(Path(options.resume), device=device, processes=processes)
