"""How an outer step's cost grows with lifetime, width, N and meta-batch: ``python benchmarks/growth.py``.

One of the four changes at a time, from the ``cpu`` preset's network (hidden widths 100, one of 300), FLP(2), 400 inner
steps and one lifetime. Medians of three, strategies interleaved. Writes ``results/growth.csv`` and its picture.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import torch

import flp_envs
from flp_agents import Autograd, Checkpointed, Full, MetaGradient, Reversible, build_learner, get_preset
from flp_agents.experiments.profiling.run import our_step
from flp_agents.support.memory import measure_peak
from flp_envs.recording import draw_episodes, seed_env

STRATEGIES: dict[str, MetaGradient] = {
    "autograd": Autograd(),
    "full": Full(),
    "checkpointed": Checkpointed(),
    "reversible": Reversible(),
}
START = {"inner steps": 400, "hidden width": 100, "plastic layers N": 2, "meta-batch": 1}
VALUES = {
    "inner steps": (100, 200, 400, 800, 1600),
    "hidden width": (50, 100, 200, 300),
    "plastic layers N": (1, 2, 3, 5, 9),
    "meta-batch": (1, 2, 4, 8),
}


def measure(sizes: dict[str, int]) -> dict[str, tuple[float, float | None]]:
    """Median seconds and the peak of the memory added, in bytes, by strategy."""
    width = sizes["hidden width"]
    settings = {
        "hidden_widths": (*[width] * 5, 3 * width, width, width),
        "plastic_layers": sizes["plastic layers N"],
        "coefficient_unit": 1e-7,
    }
    env = flp_envs.make("FLPSine-Continual-v0", steps_per_function=sizes["inner steps"] // 10)
    learner = build_learner("flp", env, get_preset("cpu", "flp", settings))
    seed_env(env, 0)
    episode = draw_episodes(env, sizes["meta-batch"])
    peaks, seconds = {}, {name: [] for name in STRATEGIES}
    for name, strategy in STRATEGIES.items():
        with measure_peak(torch.device("cpu")) as peak:
            our_step(learner, episode, strategy)
        peaks[name] = peak.added
    for _ in range(3):
        for name, strategy in STRATEGIES.items():
            seconds[name].append(our_step(learner, episode, strategy).seconds)
    return {name: (statistics.median(seconds[name]), peaks[name]) for name in STRATEGIES}


def draw(rows: Iterable[list[Any]], path: Path) -> None:
    """Seconds above, memory below, one column for each thing that grows."""
    matplotlib.use("Agg")
    figure, axes = plt.subplots(2, len(VALUES), figsize=(3.4 * len(VALUES), 5.6), layout="constrained", sharey="row")
    styles = {"autograd": ("#999999", "o"), "full": ("#0072b2", "s"), "checkpointed": ("#e69f00", "^")}
    rows = list(rows)
    for column, what in enumerate(VALUES):
        for name in STRATEGIES:
            colour, marker = styles.get(name, ("#009e73", "D"))
            mine = [row for row in rows if row[0] == what and row[2] == name]
            for axis, index, scale in ((axes[0, column], 3, 1.0), (axes[1, column], 4, 2**20)):
                points = [(row[1], row[index] / scale) for row in mine if row[index]]
                if points:
                    axis.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=name)
        for axis in axes[:, column]:
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(VALUES[what], [str(v) for v in VALUES[what]])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        axes[1, column].set_xlabel(what)
    axes[0, 0].set_ylabel("seconds an outer step")
    axes[1, 0].set_ylabel("memory added, MiB")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures, writes the table, draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    options.output.mkdir(exist_ok=True)
    rows: list[list[Any]] = []
    measure(START)  # warms up
    for what, values in VALUES.items():
        for value in values:
            for name, (seconds, peak) in measure({**START, what: value}).items():
                rows.append([what, value, name, round(seconds, 5), peak])
            print(what, value, {row[2]: row[3] for row in rows[-len(STRATEGIES) :]}, flush=True)
    with (options.output / "growth.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["what", "value", "strategy", "seconds", "peak_bytes"], *rows])
    draw(rows, options.output / "growth.png")


if __name__ == "__main__":
    main()
