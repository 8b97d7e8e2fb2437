"""Seconds for one outer step in the paper-size sine network: ``make bench-meta``.

One lifetime of 400 inner steps, its query loss and the full meta-gradient, interleaved over learners; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import flp_envs
from flp_agents import MetaTrainer, build_learner, get_preset

SUBJECTS = {
    "FLP (2)": ("flp", 2),
    "FLP (3)": ("flp", 3),
    "Gradient-based (3), second order": ("gradient-based", 3),
}


def main() -> None:
    """Runs the measurement and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="default: all cores")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    trainers = {}
    for name, (learner, plastic_layers) in SUBJECTS.items():
        env = flp_envs.make("FLPSine-Continual-v0")
        preset = get_preset(options.preset, learner, {"plastic_layers": plastic_layers})
        trainers[name] = MetaTrainer(build_learner(learner, env, preset), env, rates={"weights": 1e-4})
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for round_number in range(options.rounds + 1):
        for name, trainer in trainers.items():
            started = time.perf_counter()
            trainer.step()
            if round_number:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    print(f"preset {options.preset}, {torch.get_num_threads()} threads, medians of {options.rounds} outer steps")
    print("| learner | seconds an outer step |")
    print("| --- | --- |")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.2f} |")


if __name__ == "__main__":
    main()
