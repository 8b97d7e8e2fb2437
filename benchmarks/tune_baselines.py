"""Tunes the built-in baselines, on meta-train episodes only: ``python benchmarks/tune_baselines.py``.

Nine trials for each learner in each environment, each by the mean query score of 32 lifetimes: 16 with either of two
seeds. A trial in which a lifetime's answers are no numbers is worth infinity. Writes
``results/tuning_of_baselines.csv`` and prints the best settings, as they stand in
``agents/flp_agents/baselines/tuned.py``. With ``--learners`` or ``--envs``, only those rows are renewed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import pprint
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import flp_envs
from flp_agents import run_lifetime
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.training import bundled
from flp_envs.recording import draw_episodes, seed_env

ENVS = ("FLPSine-IID-v0", "FLPSine-Continual-v0", "FLPGlyph-IID-v0", "FLPGlyph-Continual-v0")
COLUMNS = ("learner", "env", "settings", "episodes", "score", "standard_error", "metric", "seconds_a_lifetime")


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """All combinations."""
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


def trials(learner: str, kind: str) -> list[dict[str, Any]]:
    """Nine settings of a learner, for "sine" or "images"."""
    of_images = kind == "images"
    adam = grid(rate=(1e-4, 3e-4, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03))
    if learner == "sgd":
        return grid(rate=(0.01, 0.03, 0.1) if of_images else (0.03, 0.1, 0.3), clip=(1.0, 3.0, 10.0))
    if learner == "sgd-meta-trained":
        return grid(rate=(0.001, 0.003, 0.01), clip=(1.0, 10.0, 100.0))
    if learner == "adam-meta-trained":
        return grid(rate=(3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 0.001, 0.002, 0.003, 0.01))
    if learner in ("adam", "feedback-alignment", "direct-feedback-alignment"):
        return adam
    if learner == "experience-replay":
        sizes = {"memory_size": 10, "replayed": 10} if of_images else {"memory_size": 500}
        return [{**settings, **sizes} for settings in adam]
    if learner == "ewc":
        # Not a number of steps in which an environment's sub-tasks happen to end.
        every = 4 if of_images else 25
        return grid(rate=(0.003, 0.01, 0.03), strength=(1e2, 1e3, 1e4), every=(every,))
    if learner == "joint-training":
        sizes = {"passes": 10, "batch": 5} if of_images else {"passes": 5, "batch": 128}
        return [{**settings, **sizes} for settings in adam]
    if learner == "nearest-neighbour":
        return grid(neighbours=(1, 2, 3, 4, 5, 7, 10, 15, 20))
    if learner == "kernel":
        if of_images:
            return grid(bandwidth=(0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0))
        return grid(bandwidth=(0.0003, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1))
    if of_images:
        return grid(features=(128,), bandwidth=(10.0, 20.0, 40.0), penalty=(1e-3, 1e-2, 0.1))
    return grid(features=(128,), bandwidth=(0.15, 0.2, 0.3), penalty=(1e-6, 1e-4, 1e-2))


@torch.no_grad()
def score(learner: str, env_id: str, settings: dict[str, Any], episodes: int, seeds: int) -> dict[str, Any]:
    """One row of the table: lifetimes of one trial."""
    env = flp_envs.make(env_id, split="meta-train")
    scores, started = [], time.process_time()
    metric = ""
    for seed in range(seeds):
        agent = build_baseline(learner, env, seed, settings).to(torch.float64).eval()
        metric = agent.objective.metric
        seed_env(env, seed)
        lifetime = run_lifetime(agent, draw_episodes(env, episodes // seeds))
        fine = torch.isfinite(lifetime.query_predictions).flatten(1).all(1)
        scores.append(lifetime.query_score.masked_fill(~fine, math.inf).numpy())
    values = np.concatenate(scores)
    with np.errstate(invalid="ignore"):
        error = float(values.std(ddof=1) / len(values) ** 0.5)
    return {
        "learner": learner,
        "env": env_id,
        "settings": json.dumps(settings, sort_keys=True),
        "episodes": len(values),
        "score": f"{values.mean():.6g}",
        "standard_error": f"{error:.3g}" if math.isfinite(error) else "",
        "metric": metric,
        "seconds_a_lifetime": f"{(time.process_time() - started) / len(values):.4f}",
    }


def places(learner: str) -> list[str]:
    """Environments that a learner is tuned in: a meta-trained start, in those that it was meta-trained in."""
    if not learner.endswith("meta-trained"):
        return list(ENVS)
    return bundled.bundled_envs("gradient-based")


def best(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The settings with the lowest score, the earlier one of equals, by learner and environment."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["learner"], row["env"].removesuffix("-v0")
        if key not in found or float(row["score"]) < float(found[key]["score"]):
            found[key] = row
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for (learner, env), row in found.items():
        table.setdefault(learner, {})[env] = json.loads(row["settings"])
    return table


def main() -> None:
    """Runs all trials and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", nargs="*", default=list(BASELINES), choices=list(BASELINES))
    parser.add_argument("--envs", nargs="*", help="ids; default: all that a learner is tuned in")
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.output / "tuning_of_baselines.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    for learner in options.learners:
        for env_id in places(learner):
            if options.envs and env_id not in options.envs:
                continue
            rows = [row for row in rows if (row["learner"], row["env"]) != (learner, env_id)]
            for settings in trials(learner, "sine" if env_id.startswith("FLPSine") else "images"):
                rows.append(score(learner, env_id, settings, options.episodes, options.seeds))
                print(*rows[-1].values(), flush=True)
            order = {name: i for i, name in enumerate(BASELINES)}
            rows.sort(key=lambda row: (order[row["learner"]], row["env"]))
            options.output.mkdir(exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    print("TUNED =", pprint.pformat(best(rows), sort_dicts=False, width=100))


if __name__ == "__main__":
    main()
