"""Recipes of meta-training at equal time: what ``recipes.py`` and ``rate_search.py`` share.

Every recipe gets the same time on one thread, over several seeds, and as many outer steps as fit into it: the cost of
an outer step is measured first, so that schedules end when the time does. Time is that of the processor, which on an
idle core is the wall clock's, and which other work on the machine does not lengthen. Along the way the learner is
evaluated on standard lifetimes of 400 inner steps, of the meta-train split, with the clock stopped: recipes are not
chosen on meta-test.

Each run's result is a file; runs that are there are not run again. So it can be killed, but all of it should run on one
machine.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import flp_envs
from flp_agents import MetaTrainingDiverged, evaluate, get_preset
from flp_agents.support.processes import set_threads
from flp_agents.training.plan import Plan
from flp_agents.training.run import TrainingRun
from flp_agents.training.settings import Settings
from flp_base.files import write_atomically

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
        env: where.
        short: share of the outer steps on short lifetimes, which come first; none: the preset's.
        average: decay of the running average of meta-parameters that is judged; 0: the meta-parameters themselves.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    preset: str = "cpu"
    learner: str = "flp"
    env: str = "FLPSine-Continual-v0"
    short: float | None = None
    average: float = 0.0


def short_share(recipe: Recipe) -> float:
    """Of the outer steps, those on short lifetimes."""
    if recipe.short is not None:
        return recipe.short
    outer_loop = get_preset(recipe.preset, recipe.learner).outer_loop
    return outer_loop.short_outer_steps / outer_loop.outer_steps


def settings_of(recipe: Recipe, outer_steps: int) -> Settings:
    """The preset of so many outer steps."""
    short = round(short_share(recipe) * outer_steps)
    return get_preset(
        recipe.preset, recipe.learner, {**recipe.changes, "outer_steps": outer_steps, "short_outer_steps": short}
    )


def plan_of(recipe: Recipe, outer_steps: int, seed: int) -> Plan:
    """A run on disk."""
    settings = settings_of(recipe, outer_steps)
    return Plan(recipe.env, {}, recipe.learner, recipe.preset, settings, seed, "benchmarks/equal_time.py")


def seconds_a_step(recipe: Recipe, seconds: float = 8.0) -> float:
    """Of an outer step, on average over both kinds of lifetimes, each of which is tried for so long."""
    set_threads(1)
    cost = 0.0
    for share, short in ((short_share(recipe), 1.0), (1.0 - short_share(recipe), 0.0)):
        if share:
            part = replace(recipe, short=short)
            with tempfile.TemporaryDirectory() as folder:
                run = TrainingRun(plan_of(part, 100_000, 0), Path(folder))
                times: list[float] = []
                # Outer steps that diverge cost what others cost.
                with suppress(MetaTrainingDiverged):
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


def judge(learner: torch.nn.Module, env_id: str) -> float:
    """Mean squared error on standard lifetimes."""
    judged = copy.deepcopy(learner).eval()
    judged.scale_updates(1.0)
    env = flp_envs.make(env_id, split="meta-train")
    return evaluate(judged, env, episodes=JUDGED_EPISODES, seed=JUDGED_SEED).mean


def meta_train(name: str, recipe: Recipe, seed: int, minutes: float, outer_steps: int) -> list[dict[str, Any]]:
    """A row for each mark."""
    set_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(plan_of(recipe, outer_steps, seed), Path(folder))
        average = AveragedModel(run.learner, multi_avg_fn=get_ema_multi_avg_fn(recipe.average or 0.5))

        def on_step(_: Any) -> None:
            if recipe.average:
                average.update_parameters(run.learner)

        for mark in MARKS:
            last, diverged = mark == MARKS[-1], False
            remaining = mark * 60 * minutes - run.seconds
            try:
                # The last part takes what it takes: the schedule ends with it.
                run.run(
                    save_every_seconds=3600,
                    stop_after_seconds=None if last else max(0.1, remaining),
                    on_step=on_step,
                    clock=time.process_time,
                )
                mse = judge(average.module if recipe.average else run.learner, recipe.env)
            except MetaTrainingDiverged:
                mse, diverged = math.nan, True
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
            # One that is not fit for long lifetimes early on may become so.
            if diverged or run.finished:
                break
    return rows


def work(name: str, recipe: Recipe, seed: int, minutes: float, outer_steps: int, path: Path) -> None:
    """One run into its file."""
    rows = meta_train(name, recipe, seed, minutes, outer_steps)
    write_atomically(path, (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    print(f"{name}, seed {seed}: {rows[-1]}", flush=True)


def run_all(
    recipes: Mapping[str, Recipe], *, seeds: int, minutes: float, jobs: int, folder: Path
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Runs what is missing: the rows of each recipe and seed, in order. Writes ``FOLDER.csv``.

    Args:
        recipes: by name.
        seeds: how many, from 0.
        minutes: for each run.
        jobs: processes.
        folder: of the files of single runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    in_parallel = joblib.Parallel(n_jobs=jobs)
    protocol = _protocol(recipes, minutes, folder, in_parallel)
    runs = {(name, seed): _run_path(folder, name, seed) for seed in range(seeds) for name in recipes}
    in_parallel(
        joblib.delayed(work)(
            name, recipes[name], seed, minutes, round(60 * minutes / protocol[name]["seconds_a_step"]), path
        )
        for (name, seed), path in runs.items()
        if not path.exists()
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    # All that the folder holds, also of recipes that were not asked for this time.
    paths = {_run_path(folder, name, seed): seed for name in protocol for seed in range(100)}
    for path in sorted((path for path in paths if path.exists()), key=lambda path: paths[path]):
        writer.writerows(json.loads(path.read_text(encoding="utf-8")))
    write_atomically(folder.with_suffix(".csv"), text.getvalue().encode())
    return {run: json.loads(path.read_text(encoding="utf-8")) for run, path in runs.items()}


def _run_path(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}.json"


def _protocol(
    recipes: Mapping[str, Recipe], minutes: float, folder: Path, in_parallel: joblib.Parallel
) -> dict[str, dict[str, Any]]:
    """What each recipe is and costs, kept: all its seeds get as many outer steps, and runs serve no other recipe."""
    path = folder / "protocol.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"minutes": minutes, "recipes": {}}
    if kept["minutes"] != minutes:
        raise SystemExit(f"{folder} holds runs of {kept['minutes']} minutes, not of {minutes}: choose another --output")
    described = {name: json.loads(json.dumps(asdict(recipe))) for name, recipe in recipes.items()}
    for name, recipe in described.items():
        if name in kept["recipes"] and kept["recipes"][name]["recipe"] != recipe:
            raise SystemExit(f"{folder} holds runs of another recipe {name!r}: choose another --output")
    names = [name for name in recipes if name not in kept["recipes"]]
    costs = in_parallel(joblib.delayed(seconds_a_step)(recipes[name]) for name in names)
    for name, cost in zip(names, costs, strict=True):
        kept["recipes"][name] = {"recipe": described[name], "seconds_a_step": cost}
    write_atomically(path, (json.dumps(kept, indent=1) + "\n").encode())
    found: dict[str, dict[str, Any]] = kept["recipes"]
    return found


def print_table(rows: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]) -> None:
    """Where each recipe ended: mean and single seeds."""
    print("| recipe | outer steps | mean squared error: mean, and each seed |\n| --- | --- | --- |")
    for name in dict.fromkeys(name for name, _ in rows):
        ends = [of_run[-1] for (of, _), of_run in rows.items() if of == name]
        errors = [end["mse"] for end in ends]
        steps = statistics.mean(end["outer_steps"] for end in ends)
        each = ", ".join("not finite" if error is None else f"{error:.2g}" for error in errors)
        mean = "" if None in errors else f"{statistics.mean(errors):.2g}: "
        print(f"| {name} | {steps:.0f} | {mean}{each} |")
