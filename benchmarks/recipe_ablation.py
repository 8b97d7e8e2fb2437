"""What each ingredient of the ``cpu`` recipe is worth: ``python benchmarks/recipe_ablation.py``.

Meta-trains on lifetimes of 80 inner steps (8 minibatches for each of ten functions), the same wall-clock time for every
variant, one after another on one thread, and writes the query loss along the way to ``results/``. One seed each: leads,
not results.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from flp_agents import MetaTrainingDiverged, get_preset
from flp_agents.run_metrics import FILE
from flp_agents.training import TrainingRun
from flp_agents.training_plan import Plan

BASE: dict[str, Any] = {
    "short_outer_steps": 0,
    "coefficient_unit": 1e-5,  # five times the preset's, for a fifth of the lifetime
    "schedule": "constant",
    "outer_steps": 1_000_000,
}
ONE_LIFETIME = {"meta_batch": 1, "rate_weights": 1e-3, "rate_feedback": 1e-3, "rate_strengths": 1e-3}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "FLP (2), the recipe": ("flp", {}),
    "rectified feedback, as in the paper": ("flp", {"rectified": True}),
    "output feedback of random sign": ("flp", {"positive_output_feedback": False}),
    "one lifetime for each outer step, rates 1e-3": ("flp", ONE_LIFETIME),
    "inputs as they are": ("flp", {"scale_inputs": False}),
    "coefficients from 0": ("flp", {"initial_coefficient": 0.0}),
    "Feature Reuse (1)": ("feature-reuse", {}),
    "Gradient-based (3), second order": ("gradient-based", {}),
    "Gradient-based (3), first order": ("gradient-based", {"order": "first"}),
}
WINDOW = 50  # outer steps that a loss is averaged over
MARKS = (0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Runs all variants and writes ``results/recipe_ablation.csv`` and ``.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="for each variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (learner, changes) in VARIANTS.items():
        rows.append([name, *run(learner, changes, options.minutes, options.seed)])
        print(" | ".join(map(str, rows[-1])), flush=True)
    header = ["variant", "outer steps", *(f"{options.minutes * mark:g} min" for mark in MARKS), "skipped"]
    options.output.mkdir(exist_ok=True)
    with (options.output / "recipe_ablation.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    (options.output / "recipe_ablation.md").write_text(text + "\n")


def run(learner: str, changes: dict[str, Any], minutes: float, seed: int) -> list[Any]:
    """Outer steps done, the mean query loss at each mark, and the outer steps skipped."""
    plan = Plan(
        env="FLPSine-Continual-v0",
        env_options={"steps_per_function": 8},
        learner=learner,
        preset="cpu",
        settings=get_preset("cpu", learner, {**BASE, **changes}),
        seed=seed,
        command="benchmarks/recipe_ablation.py",
    )
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(MetaTrainingDiverged):
            if TrainingRun(plan, Path(folder)).run(stop_after_seconds=minutes * 60, save_every_seconds=3600):
                raise KeyboardInterrupt
        with (Path(folder) / FILE).open() as file:
            steps = list(csv.DictReader(file))
    losses = []
    for mark in MARKS:
        done = [float(step["query_loss"]) for step in steps if float(step["seconds"]) <= mark * minutes * 60]
        reached = float(steps[-1]["seconds"]) >= (mark - 0.05) * minutes * 60
        losses.append(f"{statistics.mean(done[-WINDOW:]):.4f}" if reached else "diverged")
    return [len(steps), *losses, steps[-1]["skipped_total"]]


if __name__ == "__main__":
    main()
