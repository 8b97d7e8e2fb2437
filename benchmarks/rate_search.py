"""The same search of rates for each method of table 1: ``python benchmarks/rate_search.py --jobs 2``.

First the outer rates of the ``cpu`` preset, multiplied by each of four factors. Then, at the best of them, the size of
the first inner steps, multiplied by each of two. Six runs for each method. See :mod:`equal_time` for what is the same
for all. Writes ``results/rate_search.csv``; ``--column iid`` writes ``results/rate_search_iid.csv``.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equal_time import Recipe, print_table, run_all

from flp_agents import get_preset
from flp_agents.reproduction.tables import TABLE_1, Method

OUTER_FACTORS = (0.05, 0.25, 1.0, 2.0)
OUTER_RATES = ("rate_weights", "rate_feedback", "rate_strengths", "rate_coefficients", "rate_inner_rates")
INNER_FACTORS = (0.3, 3.0)
# What sets the size of the inner steps with which meta-training begins.
INNER_STEPS = {
    "flp": "initial_coefficient",
    "feature-reuse": "initial_coefficient",
    "gradient-based": "initial_rate",
    "oml": "inner_rate",
}
Rows = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]


def recipe_of(method: Method, env: str, outer: float, inner: float) -> Recipe:
    """One of a method's. Factors are of FLP's outer rates, also for methods whose preset has others."""
    rates = {name: outer * getattr(get_preset("cpu", "flp"), name) for name in OUTER_RATES}
    name = INNER_STEPS[method.learner]
    first = inner * getattr(get_preset("cpu", method.learner), name)
    return Recipe({**method.options, **rates, name: first}, learner=method.learner, env=env)


def title_of(method: Method, outer: float, inner: float) -> str:
    """As the results have it."""
    return f"{method.title}, outer rates x {outer:g}, first inner steps x {inner:g}"


def error(rows: Rows, name: str) -> float:
    """Where a recipe ended, on average over seeds; infinite if one of them did not end well."""
    ends = [of_run[-1]["mse"] for (of, _), of_run in rows.items() if of == name]
    return math.inf if None in ends else statistics.mean(ends)


def main() -> None:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="for each run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--column", choices=[column.name for column in TABLE_1.columns], default="continual")
    parser.add_argument("--output", type=Path, help="folder; .csv beside it")
    options = parser.parse_args()
    env = next(column.env for column in TABLE_1.columns if column.name == options.column)
    suffix = "" if options.column == "continual" else f"_{options.column}"
    folder = options.output or Path(f"results/rate_search{suffix}")

    def run(tried: Sequence[tuple[Method, float, float]]) -> Rows:
        recipes = {title_of(*each): recipe_of(each[0], env, *each[1:]) for each in tried}
        return run_all(recipes, seeds=options.seeds, minutes=options.minutes, jobs=options.jobs, folder=folder)

    first = run([(method, outer, 1.0) for method in TABLE_1.methods for outer in OUTER_FACTORS])

    def best_outer(method: Method) -> float:
        return min(OUTER_FACTORS, key=lambda outer: error(first, title_of(method, outer, 1.0)))

    then = run([(method, best_outer(method), inner) for method in TABLE_1.methods for inner in INNER_FACTORS])
    print_table({**first, **then})


if __name__ == "__main__":
    main()
