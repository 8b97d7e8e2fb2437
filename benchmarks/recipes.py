"""Which recipe meta-trains FLP best in the same time: ``python benchmarks/recipes.py --jobs 2``.

See :mod:`equal_time` for what is the same for all. Writes ``results/recipes.csv`` and its picture, error over time.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from equal_time import Recipe, print_table, run_all
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flp_agents import get_preset

CPU_WIDTHS = {"hidden_widths": get_preset("cpu", "flp").network.hidden_widths}


# Outer learning rates that the recipes were compared at.
RATES = {"rate_weights": 2e-3, "rate_feedback": 2e-3, "rate_strengths": 2e-3, "rate_coefficients": 0.08}


def scaled(factor: float) -> dict[str, float]:
    """All rates multiplied."""
    return {name: factor * rate for name, rate in RATES.items()}


# Each of the others differs from this one in one thing, the paper's in all.
BASE = "short for five sevenths"


def base(changes: dict[str, Any] | None = None, **more: Any) -> Recipe:
    """The base recipe with changes."""
    return Recipe({**RATES, "initial_coefficient": 1.0, **(changes or {})}, **{"short": 5 / 7, **more})


RECIPES: dict[str, Recipe] = {
    "the paper's": Recipe(CPU_WIDTHS, "paper", short=0.0),
    "the paper's, inputs scaled": Recipe({**CPU_WIDTHS, "scale_inputs": True}, "paper", short=0.0),
    BASE: base(),
    "full lifetimes only": base(short=0.0),
    "short lifetimes of 40 steps": base({"short_steps_per_function": 4}),
    "short for nine tenths": base(short=0.9),
    "constant rates": base({"schedule": "constant"}),
    "one lifetime a step": base({"meta_batch": 1, **scaled(0.5)}),
    "sixteen lifetimes a step": base({"meta_batch": 16, **scaled(2.0)}),
    "no clipping": base({"gradient_clip": 0.0}),
    "coefficients from 0": base({"initial_coefficient": 0.0}),
    "coefficients from 3": base({"initial_coefficient": 3.0}),
    "coefficients as logarithms": base({"coefficient_scale": "log", "rate_coefficients": 0.02}),
    "normalised Oja": base({"rule": "normalised-oja"}),
    "normalised Oja, coefficients from 3": base({"rule": "normalised-oja", "initial_coefficient": 3.0}),
    "weights averaged, 0.99": base(average=0.99),
    "rectified feedback": base({"rectified": True}),
    "short for nine tenths, coefficients from 3": base({"initial_coefficient": 3.0}, short=0.9),
}


def draw(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Error over time: a panel for each recipe, all others in grey behind it."""
    matplotlib.use("Agg")
    by_run: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        by_run.setdefault((row["recipe"], row["seed"]), []).append(row)
    names = [name for name in RECIPES if any(of == name for of, _ in by_run)]
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(3 * columns, max(3.6, 2.4 * lines)),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, name in zip(panels.flat, names, strict=False):
        for (of, _), points in sorted(by_run.items(), key=lambda item: item[0][0] == name):
            known = [(point["minutes"], point["mse"]) for point in points if point["mse"] is not None]
            own = of == name
            colour = "#0072B2" if own else "#E69F00" if of == BASE else "#D8D8D8"
            axes.loglog(*zip(*known, strict=True), color=colour, linewidth=1.6 if own else 0.8, zorder=2 + own)
        axes.set_title(name, fontsize=9)
        axes.grid(True, which="major", alpha=0.3)
    # All panels share this axis: a few whole numbers, where logarithmic ticks would run into each other.
    longest = max(point["minutes"] for points in by_run.values() for point in points)
    panels[0, 0].xaxis.set_major_locator(FixedLocator([m for m in (0.2, 0.5, 1, 2, 5, 10, 20) if m < longest]))
    panels[0, 0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0, 0].xaxis.set_minor_locator(NullLocator())
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel(f"minutes of meta-training on one thread (orange: {BASE}; grey: all others)")
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
    parser.add_argument("--output", type=Path, default=Path("results/recipes"), help="folder; .csv and .png beside it")
    options = parser.parse_args()
    rows = run_all(
        {name: RECIPES[name] for name in options.recipes},
        seeds=options.seeds,
        minutes=options.minutes,
        jobs=options.jobs,
        folder=options.output,
    )
    draw((row for of_run in rows.values() for row in of_run), options.output.with_suffix(".png"))
    print_table(rows)


if __name__ == "__main__":
    main()
