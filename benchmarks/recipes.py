"""Which recipe meta-trains FLP best in the same time: ``python benchmarks/recipes.py --jobs 2``.

Every recipe gets the same time on one thread, over several seeds, and as many outer steps as fit into it: the cost of
an outer step is measured first, so that schedules end when the time does. Time is that of the processor, which on an
idle core is the wall clock's, and which other work on the machine does not lengthen. Along the way the learner is
judged on standard lifetimes of 400 inner steps, of the meta-train split, with the clock stopped: recipes are not
chosen on meta-test.

Each run's result is a file in ``results/recipes``; runs that are there are not run again. So it can be killed, but all
of it should run on one machine. Writes ``results/recipes.csv`` and its picture, error over wall-clock time.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import matplotlib
import matplotlib.pyplot as plt
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import flp_envs
from flp_agents import MetaTrainingDiverged, evaluate, get_preset
from flp_agents.processes import set_threads
from flp_agents.training import TrainingRun
from flp_agents.training_plan import Plan
from flp_datasets.files import write_atomically

ENV = "FLPSine-Continual-v0"
CPU_WIDTHS = {"hidden_widths": get_preset("cpu", "flp").hidden_widths}
# Shares of the time after which a learner is judged.
MARKS = (0.0625, 0.125, 0.25, 0.5, 0.75, 1.0)
# Of the meta-train split: a seed that no run draws from.
JUDGED_EPISODES, JUDGED_SEED = 64, 20_000
COLUMNS = ("recipe", "seed", "minutes", "outer_steps", "mse", "skipped")


@dataclass(frozen=True)
class Recipe:
    """Changes to a preset.

    Attributes:
        changes: preset fields.
        preset: that they change.
        learner: who is meta-trained.
        short: share of the outer steps on short lifetimes, which come first.
        average: decay of the running average of meta-parameters that is judged; 0: the meta-parameters themselves.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    preset: str = "cpu"
    learner: str = "flp"
    short: float = 5 / 7
    average: float = 0.0


def scaled(factor: float) -> dict[str, float]:
    """The preset's outer learning rates, all multiplied."""
    preset = get_preset("cpu", "flp")
    names = ("rate_weights", "rate_feedback", "rate_strengths", "rate_coefficients")
    return {name: factor * getattr(preset, name) for name in names}


RECIPES: dict[str, Recipe] = {
    "the paper's": Recipe(CPU_WIDTHS, "paper", short=0.0),
    "the paper's, inputs scaled": Recipe({**CPU_WIDTHS, "scale_inputs": True}, "paper", short=0.0),
    "cpu": Recipe(),
    "full lifetimes only": Recipe(short=0.0),
    "short lifetimes of 40 steps": Recipe({"short_steps_per_function": 4}),
    "short for nine tenths": Recipe(short=0.9),
    "constant rates": Recipe({"schedule": "constant"}),
    "one lifetime a step": Recipe({"meta_batch": 1, **scaled(0.5)}),
    "sixteen lifetimes a step": Recipe({"meta_batch": 16, **scaled(2.0)}),
    "no clipping": Recipe({"gradient_clip": 0.0}),
    "clipped at 0.1": Recipe({"gradient_clip": 0.1}),
    "half the rates": Recipe(scaled(0.5)),
    "twice the rates": Recipe(scaled(2.0)),
    "coefficients from 0": Recipe({"initial_coefficient": 0.0}),
    "coefficients from 3": Recipe({"initial_coefficient": 3.0}),
    "coefficients as logarithms": Recipe({"coefficient_scale": "log", "rate_coefficients": 0.02}),
    "a coefficient a neuron": Recipe({"granularity": "neuron"}),
    "weights averaged, 0.99": Recipe(average=0.99),
    "rectified feedback": Recipe({"rectified": True}),
}


def settings_of(recipe: Recipe, outer_steps: int) -> Any:
    """The preset of so many outer steps."""
    short = round(recipe.short * outer_steps)
    return get_preset(
        recipe.preset, recipe.learner, {**recipe.changes, "outer_steps": outer_steps, "short_outer_steps": short}
    )


def plan_of(recipe: Recipe, outer_steps: int, seed: int) -> Plan:
    """A run on disk."""
    settings = settings_of(recipe, outer_steps)
    return Plan(ENV, {}, recipe.learner, recipe.preset, settings, seed, "benchmarks/recipes.py")


def seconds_a_step(recipe: Recipe, seconds: float = 8.0) -> float:
    """Of an outer step, on average over both kinds of lifetimes, each of which is tried for so long."""
    set_threads(1)
    cost = 0.0
    for share, short in ((recipe.short, 1.0), (1.0 - recipe.short, 0.0)):
        if share:
            part = Recipe(recipe.changes, recipe.preset, recipe.learner, short)
            with tempfile.TemporaryDirectory() as folder:
                run = TrainingRun(plan_of(part, 100_000, 0), Path(folder))
                times: list[float] = []
                run.run(
                    save_every_seconds=3600,
                    stop_after_seconds=seconds,
                    on_step=lambda _, times=times: times.append(time.process_time()),
                    clock=time.process_time,
                )
            # The first steps are slower: memory is found, and the other job begins.
            later = times[len(times) // 3 :]
            cost += share * (later[-1] - later[0]) / (len(later) - 1)
    return cost


def judge(learner: torch.nn.Module) -> float:
    """Mean squared error on standard lifetimes."""
    judged = copy.deepcopy(learner).eval()
    judged.fit_lifetime(1.0)
    env = flp_envs.make(ENV, split="meta-train")
    return evaluate(judged, env, episodes=JUDGED_EPISODES, seed=JUDGED_SEED).mean


def meta_train(name: str, seed: int, minutes: float, outer_steps: int) -> list[dict[str, Any]]:
    """A row for each mark."""
    set_threads(1)
    recipe = RECIPES[name]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(plan_of(recipe, outer_steps, seed), Path(folder))
        average = AveragedModel(run.learner, multi_avg_fn=get_ema_multi_avg_fn(recipe.average or 0.5))

        def on_step(_: Any) -> None:
            if recipe.average:
                average.update_parameters(run.learner)

        for mark in MARKS:
            last = mark == MARKS[-1]
            remaining = mark * 60 * minutes - run.seconds
            try:
                # The last part takes what it takes: the schedule ends with it.
                run.run(
                    save_every_seconds=3600,
                    stop_after_seconds=None if last else max(0.1, remaining),
                    on_step=on_step,
                    clock=time.process_time,
                )
                mse = judge(average.module if recipe.average else run.learner)
            except MetaTrainingDiverged:
                mse = math.nan
            rows.append(
                {
                    "recipe": name,
                    "seed": seed,
                    "minutes": round(run.seconds / 60, 3),
                    "outer_steps": run.trainer.step_count,
                    "mse": mse if math.isfinite(mse) else None,
                    "skipped": run.trainer.skipped_total,
                }
            )
            if mse != mse or run.finished:
                break
    return rows


def work(name: str, seed: int, minutes: float, outer_steps: int, path: Path) -> None:
    """One run into its file."""
    rows = meta_train(name, seed, minutes, outer_steps)
    write_atomically(path, (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    print(f"{name}, seed {seed}: {rows[-1]}", flush=True)


def draw(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Error over time: a panel for each recipe, all others in grey behind it."""
    matplotlib.use("Agg")
    by_run: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        by_run.setdefault((row["recipe"], row["seed"]), []).append(row)
    names = [name for name in RECIPES if any(of == name for of, _ in by_run)]
    columns = 4
    figure, panels = plt.subplots(
        math.ceil(len(names) / columns), columns, figsize=(12, 2.4 * math.ceil(len(names) / columns)),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, name in zip(panels.flat, names, strict=False):
        for (of, _), points in sorted(by_run.items(), key=lambda item: item[0][0] == name):
            known = [(point["minutes"], point["mse"]) for point in points if point["mse"] is not None]
            own = of == name
            colour = "#0072B2" if own else "#E69F00" if of == "cpu" else "#D8D8D8"
            axes.loglog(*zip(*known, strict=True), color=colour, linewidth=1.6 if own else 0.8, zorder=2 + own)
        axes.set_title(name, fontsize=10)
        axes.grid(True, which="major", alpha=0.3)
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("minutes of meta-training on one thread (orange: cpu; grey: all others)")
    figure.supylabel("mean squared error of a standard lifetime")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Runs what is missing and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="for each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--recipes", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    folder = options.output / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    runs = {
        (name, seed): folder / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}.json"
        for seed in range(options.seeds)
        for name in options.recipes
    }
    missing = {run: path for run, path in runs.items() if not path.exists()}
    names = list(dict.fromkeys(name for name, _ in missing))
    in_parallel = joblib.Parallel(n_jobs=options.jobs)
    costs = dict(zip(names, in_parallel(joblib.delayed(seconds_a_step)(RECIPES[name]) for name in names), strict=True))
    print({name: round(cost, 4) for name, cost in costs.items()}, flush=True)
    in_parallel(
        joblib.delayed(work)(name, seed, options.minutes, round(60 * options.minutes / costs[name]), path)
        for (name, seed), path in missing.items()
    )
    rows = [row for path in runs.values() if path.exists() for row in json.loads(path.read_text())]
    with (options.output / "recipes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, options.output / "recipes.png")
    print("| recipe | outer steps | mean squared error: mean, and each seed |\n| --- | --- | --- |")
    for name in options.recipes:
        ends = [json.loads(runs[name, seed].read_text())[-1] for seed in range(options.seeds)]
        errors = [math.nan if end["mse"] is None else end["mse"] for end in ends]
        steps = statistics.mean(end["outer_steps"] for end in ends)
        each = ", ".join(f"{error:.2g}" for error in errors)
        print(f"| {name} | {steps:.0f} | {statistics.mean(errors):.2g}: {each} |")


if __name__ == "__main__":
    main()
