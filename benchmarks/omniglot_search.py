"""One search of a recipe on meta-val for each method of table 2: ``python benchmarks/omniglot_search.py --jobs 2``.

First the outer learning rates, multiplied by each of three factors; if the best is the smallest or the largest, one
further factor beyond it. Then, at the best of them, the size of the first inner steps, multiplied by each of two. Then,
at the best of all these, episodes of 20 classes for the first three tenths of the outer steps. So every method gets
six or seven trials. Each is meta-trained on the meta-train split of continual Omniglot, by the ``cpu`` preset but for
what is searched and for the number of outer steps. It is evaluated on 500 episodes of the meta-val split: 220
characters of six alphabets that it was not meta-trained on. Each trial's result is a file; trials that are there are
not run again. Writes ``results/omniglot_search.csv``.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib

from flp_agents import MetaTrainingDiverged
from flp_agents.experiments.reproduction.tables import TABLE_2, Method
from flp_agents.support.processes import set_threads
from flp_agents.training.plan import Plan, make_plan
from flp_agents.training.run import TrainingRun
from flp_base.files import write_atomically

ENV = "FLPOmniglot-Continual-v0"
OUTER_FACTORS = (0.3, 1.0, 3.0)
# Tried if the best of those is at an end.
BEYOND = {0.3: 0.1, 3.0: 10.0}
# What the factors multiply, by learner: outer learning rates, and what sets the size of the inner steps with which
# meta-training begins. These centres are the preset's of before this search.
_PLASTIC = {"rate_weights": 1e-3, "rate_feedback": 1e-3, "rate_coefficients": 0.02}
OUTER_RATES = {
    "feature-reuse": _PLASTIC,
    "flp": _PLASTIC,
    "gradient-based": {"rate_weights": 1e-3, "rate_inner_rates": 0.1},
    "oml": {"rate_weights": 1e-3},
}
INNER_FACTORS = (0.3, 3.0)
INNER_STEPS = {
    "feature-reuse": ("initial_coefficient", 1.0),
    "flp": ("initial_coefficient", 1.0),
    "gradient-based": ("initial_rate", 1.0),
    "oml": ("inner_rate", 0.03),
}
# Float32, as not every processor has instructions for bfloat16; the unit is that of the gradient-based learner's rates.
FIXED = {"precision": "float32", "rate_unit": 0.05}
MANY_CLASSES_SHARE = 0.3
EPISODES, EVALUATION_SEED = 500, 20_000


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        method: of table 2.
        outer: factor of the outer rates.
        inner: factor of the first inner steps.
        many_classes: share of the outer steps on episodes of 20 classes, which come first.
    """

    method: Method
    outer: float
    inner: float = 1.0
    many_classes: float = 0.0

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.method.name}-outer-{self.outer:g}-inner-{self.inner:g}-many-{self.many_classes:g}"

    def changes(self, outer_steps: int) -> dict[str, Any]:
        """To the ``cpu`` preset."""
        rates = {name: self.outer * rate for name, rate in OUTER_RATES[self.method.learner].items()}
        name, first = INNER_STEPS[self.method.learner]
        steps = {"outer_steps": outer_steps, "short_outer_steps": round(self.many_classes * outer_steps)}
        return {**self.method.options, **FIXED, **rates, name: self.inner * first, **steps}

    def plan(self, outer_steps: int) -> Plan:
        """Its run."""
        return make_plan(
            ENV,
            self.method.learner,
            overrides=self.changes(outer_steps),
            command="benchmarks/omniglot_search.py",
            train_on="meta-train",
            evaluate_on="meta-val",
        )


def meta_train(trial: Trial, outer_steps: int, path: Path) -> None:
    """One run into its file."""
    set_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(trial.plan(outer_steps), Path(folder))
        try:
            run.run(save_every_seconds=3600, clock=time.process_time)
            result = run.evaluate(episodes=EPISODES, seed=EVALUATION_SEED)
        except MetaTrainingDiverged:
            result = {"mean": None, "standard_error": None}
    row = {
        "method": trial.method.title,
        "outer_rates": trial.outer,
        "first_inner_steps": trial.inner,
        "many_classes_first": trial.many_classes,
        "outer_steps": run.trainer.step_count,
        "minutes": round(run.seconds / 60, 2),
        "meta_val_error_percent": result["mean"],
        "standard_error": result["standard_error"],
    }
    write_atomically(path, (json.dumps(row, allow_nan=False) + "\n").encode())
    print(row, flush=True)


def error(row: dict[str, Any]) -> float:
    """Infinite where meta-training diverged."""
    value = row["meta_val_error_percent"]
    return math.inf if value is None else float(value)


def search(outer_steps: int, jobs: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each trial, method after method."""
    folder.mkdir(parents=True, exist_ok=True)
    done: list[tuple[Trial, dict[str, Any]]] = []

    def run(trials: Sequence[Trial]) -> None:
        paths = [folder / f"{trial.name}.json" for trial in trials]
        joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(meta_train)(trial, outer_steps, path)
            for trial, path in zip(trials, paths, strict=True)
            if not path.exists()
        )
        done.extend(
            (trial, json.loads(path.read_text(encoding="utf-8"))) for trial, path in zip(trials, paths, strict=True)
        )

    def best(method: Method) -> Trial:
        return min(((trial, error(row)) for trial, row in done if trial.method is method), key=lambda pair: pair[1])[0]

    methods = TABLE_2.methods
    run([Trial(method, outer) for method in methods for outer in OUTER_FACTORS])
    bests = [best(method) for method in methods]
    run([replace(trial, outer=BEYOND[trial.outer]) for trial in bests if trial.outer in BEYOND])
    run([replace(best(method), inner=inner) for method in methods for inner in INNER_FACTORS])
    run([replace(best(method), many_classes=MANY_CLASSES_SHARE) for method in methods])
    return [row for method in methods for trial, row in done if trial.method is method]


def main() -> None:
    """Runs what is missing, writes the table and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outer-steps", type=int, default=800, help="of each trial")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/omniglot_search"), help="folder of trials")
    options = parser.parse_args()
    rows = search(options.outer_steps, options.jobs, options.output)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(options.output.with_suffix(".csv"), text.getvalue().encode())
    print(text.getvalue())


if __name__ == "__main__":
    main()
