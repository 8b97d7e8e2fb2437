"""Which outer learning rates suit each method of table 1: ``python benchmarks/outer_rates.py --jobs 2``.

The same search for all: the outer rates of the ``cpu`` preset, multiplied by each factor. See :mod:`equal_time` for
what is the same for all. Writes ``results/outer_rates.csv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from equal_time import Recipe, print_table, run_all

from flp_agents import get_preset
from flp_agents.reproduction.tables import TABLE_1

FACTORS = (0.05, 0.25, 1.0, 2.0)
RATES = ("rate_weights", "rate_feedback", "rate_strengths", "rate_coefficients", "rate_inner_rates")


def recipes_for(env: str) -> dict[str, Recipe]:
    """Every method with every factor. Factors are of FLP's rates, also for methods whose preset has others."""
    preset = get_preset("cpu", "flp")
    return {
        f"{method.title}, rates x {factor:g}": Recipe(
            {**method.options, **{name: factor * getattr(preset, name) for name in RATES}},
            learner=method.learner,
            env=env,
        )
        for method in TABLE_1.methods
        for factor in FACTORS
    }


def main() -> None:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="for each run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--env", default="FLPSine-Continual-v0")
    parser.add_argument("--output", type=Path, default=Path("results/outer_rates"))
    options = parser.parse_args()
    recipes = recipes_for(options.env)
    print_table(
        run_all(recipes, seeds=options.seeds, minutes=options.minutes, jobs=options.jobs, folder=options.output)
    )


if __name__ == "__main__":
    main()
