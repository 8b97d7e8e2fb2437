"""What ``flp train-sb3`` does."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flp_agents.commands import FINAL_SEED, env_options, named_values, prepare_torch, result_in_words, typed_command
from flp_agents.policy_training import PolicyPlan, PolicyTraining
from flp_datasets.errors import check_at_least

_LINE_EVERY_SECONDS = 10.0


def train_sb3(options: argparse.Namespace) -> int:
    """``flp train-sb3``."""
    check_at_least("test-episodes", options.test_episodes, 1)
    prepare_torch("cpu", options.threads)
    plan = PolicyPlan(
        algorithm=options.algorithm,
        env=options.env,
        env_options=env_options(options),
        train_options=named_values("--train-option", options.train_option),
        env_steps=options.env_steps,
        seed=options.seed or 0,
        command=typed_command(options.arguments),
    )
    training = PolicyTraining(plan, Path(options.output or f"runs/{plan.env}-{plan.algorithm}-{plan.seed}"))
    print(f"training {plan.algorithm} on {plan.env}, seed {plan.seed}, into {training.folder}")
    with _show_progress(plan.env_steps) as on_steps:
        interrupted = training.run(on_steps)
    if interrupted:
        print(f"interrupted: {training.folder} holds the policy after {training.done} environment steps")
        return 130
    result = training.judge(episodes=options.test_episodes, seed=FINAL_SEED)
    print(result_in_words(training.seconds, result))
    return 0


@contextmanager
def _show_progress(total: int) -> Iterator[Callable[[int, float], None]]:
    """A bar on a terminal, a line now and then elsewhere; yields what to call after every rollout."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        last = time.monotonic()

        def print_line(step: int, returned: float) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY_SECONDS or step >= total:
                last = time.monotonic()
                print(f"environment step {step}/{total}  mean return {returned:.4f}", flush=True)

        yield print_line
        return

    columns = (
        TextColumn("environment step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("mean return {task.fields[returned]:.4f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, returned=float("nan"))
        yield lambda step, returned: progress.update(task, completed=min(step, total), returned=returned)
