"""What the built-in baselines cost, and what they leave: ``python benchmarks/cost_of_baselines.py``.

Seconds of one core for a lifetime, query included, in float64 and one thread: batches of 16 lifetimes of every learner
in turn, medians of several rounds. And the bytes of one lifetime's state at its end. Writes
``results/cost_of_baselines.csv``.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch

import flp_envs
from flp_agents import run_lifetime
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.lifetime.recording import size_of
from flp_base.errors import FLPError
from flp_envs.recording import draw_episodes, seed_env

ENVS = ("FLPSine-IID-v0", "FLPSine-Continual-v0", "FLPGlyph-Continual-v0")


@torch.no_grad()
def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lifetimes", type=int, default=16)
    parser.add_argument("--learners", nargs="*", default=list(BASELINES), choices=list(BASELINES))
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    learners, episodes = {}, {}
    for env_id in ENVS:
        env = flp_envs.make(env_id, split="meta-train")
        seed_env(env, 0)
        episodes[env_id] = draw_episodes(env, options.lifetimes)
        for name in options.learners:
            try:
                learners[name, env_id] = build_baseline(name, env, 0).to(torch.float64).eval()
            except FLPError as error:
                print(f"{name}: {error}")
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in learners}
    states = {}
    for _ in range(options.rounds):
        for (name, env_id), learner in learners.items():
            started = time.process_time()
            lifetime = run_lifetime(learner, episodes[env_id])
            seconds[name, env_id].append((time.process_time() - started) / options.lifetimes)
            states[name, env_id] = size_of(lifetime.state) // options.lifetimes
    rows = [[*key, f"{statistics.median(values):.4f}", states[key]] for key, values in seconds.items()]
    rows.sort(key=lambda row: options.learners.index(row[0]))
    for row in rows:
        print(*row)
    with (options.output / "cost_of_baselines.csv").open("w", newline="", encoding="utf-8") as file:
        header = ["learner", "env", "seconds_a_lifetime", "state_bytes"]
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
