"""The same search of rates for each method of table 1: ``python benchmarks/rate_search.py --jobs 2``.

First the outer rates, multiplied by each of five factors. Then, at the best of them, the size of the first inner steps,
multiplied by each of two. So seven runs for each method, all of as many outer steps, a share of the preset's; each
evaluated on 64 standard lifetimes of the meta-train split. Each run's result is a file; runs that are there are not run
again. Writes ``results/rate_search.csv``; ``--column iid`` writes ``results/rate_search_iid.csv``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from equal_time import Recipe, judge, plan_of

from flp_agents import MetaTrainingDiverged
from flp_agents.experiments.reproduction.tables import TABLE_1, Method
from flp_agents.support.processes import set_threads
from flp_agents.training.run import TrainingRun
from flp_base.files import write_atomically

OUTER_FACTORS = (0.05, 0.25, 1.0, 2.0, 4.0)
# What the factors multiply: outer learning rates, and what sets the size of the inner steps with which meta-training
# begins.
OUTER_RATES = {
    "rate_weights": 2e-3,
    "rate_feedback": 2e-3,
    "rate_strengths": 2e-3,
    "rate_coefficients": 0.08,
    "rate_inner_rates": 0.03,
}
INNER_FACTORS = (0.3, 3.0)
INNER_STEPS = {
    "flp": ("initial_coefficient", 1.0),
    "feature-reuse": ("initial_coefficient", 1.0),
    "gradient-based": ("initial_rate", 1.0),
    "oml": ("inner_rate", 0.003),
}


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        method: of table 1.
        outer: factor of the outer rates.
        inner: factor of the first inner steps.
    """

    method: Method
    outer: float
    inner: float = 1.0

    def recipe(self, env: str) -> Recipe:
        """Changes to the ``cpu`` preset."""
        rates = {name: self.outer * rate for name, rate in OUTER_RATES.items()}
        name, first = INNER_STEPS[self.method.learner]
        changes = {**self.method.options, **rates, name: self.inner * first}
        return Recipe(changes, learner=self.method.learner, env=env, short=0.9)


def meta_train(trial: Trial, env: str, outer_steps: int, path: Path) -> None:
    """One run into its file."""
    set_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(plan_of(trial.recipe(env), outer_steps, 0), Path(folder))
        try:
            run.run(save_every_seconds=3600, clock=time.process_time)
            mse = judge(run.learner, env)
        except MetaTrainingDiverged:
            mse = math.nan
    row = {
        "method": trial.method.title,
        "outer_rates": trial.outer,
        "first_inner_steps": trial.inner,
        "outer_steps": run.trainer.step_count,
        "minutes": round(run.seconds / 60, 2),
        "mse": mse if math.isfinite(mse) else None,
        "skipped": run.trainer.skipped_total,
    }
    write_atomically(path, (json.dumps(row, allow_nan=False) + "\n").encode())
    print(row, flush=True)


def search(env: str, outer_steps: int, jobs: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each run, method after method."""
    folder.mkdir(parents=True, exist_ok=True)

    def path_of(trial: Trial) -> Path:
        return folder / f"{trial.method.name}-{outer_steps}-outer-{trial.outer:g}-inner-{trial.inner:g}.json"

    def run(trials: Sequence[Trial]) -> list[dict[str, Any]]:
        joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(meta_train)(trial, env, outer_steps, path_of(trial))
            for trial in trials
            if not path_of(trial).exists()
        )
        return [json.loads(path_of(trial).read_text(encoding="utf-8")) for trial in trials]

    def error(row: dict[str, Any]) -> float:
        return math.inf if row["mse"] is None else float(row["mse"])

    rows = run([Trial(method, outer) for method in TABLE_1.methods for outer in OUTER_FACTORS])
    then = []
    for method in TABLE_1.methods:
        best = min((row for row in rows if row["method"] == method.title), key=error)
        then += [Trial(method, best["outer_rates"], inner) for inner in INNER_FACTORS]
    rows += run(then)
    return sorted(rows, key=lambda row: [method.title for method in TABLE_1.methods].index(row["method"]))


def main() -> None:
    """Runs what is missing, writes the table and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outer-steps", type=int, default=800, help="of each run")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--column", choices=[column.name for column in TABLE_1.columns], default="continual")
    options = parser.parse_args()
    env = next(column.env for column in TABLE_1.columns if column.name == options.column)
    folder = Path("results/rate_search" + ("" if options.column == "continual" else f"_{options.column}"))
    rows = search(env, options.outer_steps, options.jobs, folder)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder.with_suffix(".csv"), text.getvalue().encode())
    print(text.getvalue())


if __name__ == "__main__":
    main()
