"""Numbers that no change of the code's shape may change: ``python tests/recorded_numbers.py`` prints them as JSON.

``recorded_numbers.json`` holds what they were before the packages were rebuilt. ``test_recorded_numbers.py`` compares
to within rounding, as the last bits depend on the processor. On one machine they must be equal to the bit, which
``python tests/recorded_numbers.py --exactly FILE`` checks against what the same command printed earlier.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import flp_envs
from flp_agents import LEARNERS, BenchmarkPlan, bundled_checkpoints, evaluate, load_bundled, run_benchmark
from flp_agents.cli.main import main
from flp_envs.recording import draw_episodes, seed_env

RECORDED = Path(__file__).with_name("recorded_numbers.json")
SINE = {"num_functions": 3, "steps_per_function": 4}
GLYPHS = {"num_classes": 3, "shots": 2, "query_shots": 2}
TINY = "--outer-steps 3 --hidden-widths 8,8,8,8 --meta-batch 2 --test-episodes 2"
TINY_IMAGES = "--outer-steps 2 --channels 4 --hidden-widths 8 --meta-batch 2 --test-episodes 2 --precision float32"


def of_streams() -> dict[str, Any]:
    """Means of the first episodes of every id that needs no data."""
    numbers = {}
    for env_id in flp_envs.ENV_IDS:
        if "Omniglot" in env_id or "MiniImageNet" in env_id:
            continue
        env = flp_envs.make(env_id)
        seed_env(env, 7)
        episode = draw_episodes(env, 2)
        arrays = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
        numbers[env_id] = [float(np.asarray(array, np.float64).mean()) for array in arrays]
    return numbers


def of_bundled() -> dict[str, Any]:
    """Scores of every bundled checkpoint on four episodes; those of Omniglot on glyphs."""
    numbers = {}
    for name in sorted(bundled_checkpoints()):
        of_env = "FLPSine" if "-sine-" in name else "FLPGlyph"
        order = "Continual" if name.endswith("-continual") else "IID"
        env = flp_envs.make(f"{of_env}-{order}-v0", split="meta-test")
        numbers[name] = [float(score) for score in evaluate(load_bundled(name), env, episodes=4, seed=3).scores]
    return numbers


def of_training() -> dict[str, Any]:
    """Losses and the digest of the weights of a few outer steps of every learner."""
    numbers = {}
    kinds = {"FLPSine-Continual-v0": (SINE, TINY), "FLPGlyph-Continual-v0": (GLYPHS, TINY_IMAGES)}
    for learner in ("flp", "feature-reuse", "gradient-based", "oml"):
        assert learner in LEARNERS
        for env_id, (options, tiny) in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                words = ["train", "--env", env_id, "--learner", learner, "--output", f"{folder}/run", *tiny.split()]
                words += [word for key, value in options.items() for word in ("--env-option", f"{key}={value}")]
                code = _quietly(lambda words=words: main(words))
                assert code == 0, words
                content = json.loads(Path(folder, "run", "checkpoint.json").read_text(encoding="utf-8"))
                rows = Path(folder, "run", "metrics.csv").read_text(encoding="utf-8").splitlines()
                heading = rows[0].split(",")
                losses = [float(row.split(",")[heading.index("query_loss")]) for row in rows[1:]]
                numbers[f"{learner} on {env_id}"] = {
                    "losses": losses,
                    "result": content["about"]["result"]["mean"],
                    "exact": content["files"]["weights"]["sha256"],
                }
    return numbers


def of_benchmark() -> dict[str, Any]:
    """Scores of one cell of every built-in learner."""
    learners = [
        "flp",
        "feature-reuse",
        "gradient-based",
        "oml",
        "sgd",
        "adam",
        "sgd-meta-trained",
        "adam-meta-trained",
        "direct-feedback-alignment",
        "feedback-alignment",
        "experience-replay",
        "ewc",
        "joint-training",
        "nearest-neighbour",
        "kernel",
        "ridge",
        "ppo",
        "recurrent-ppo",
    ]
    with tempfile.TemporaryDirectory() as folder:
        plan = BenchmarkPlan(
            learners=tuple(learners), envs=("FLPSine-Continual-v0",), seeds=(0,), episodes=2, env_options={}
        )
        results = _quietly(lambda: run_benchmark(plan, Path(folder), jobs=1))
        return {
            result.cell.learner: {
                "failure": result.failure,
                "scores": {name: [_plain(value) for value in values] for name, values in result.scores.items()},
            }
            for result in results
        }


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _quietly(call: Callable[[], Any]) -> Any:
    """Calls with what it prints on standard error."""
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        return call()
    finally:
        sys.stdout = before


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "streams": of_streams,
    "bundled": of_bundled,
    "training": of_training,
    "benchmark": of_benchmark,
}


def digest(content: Any) -> str:
    """Of numbers, to the bit."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run() -> int:
    """Prints the numbers, or compares them with those of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exactly", type=Path, metavar="FILE", help="that this printed on this machine earlier")
    options = parser.parse_args()
    torch.set_num_threads(1)
    numbers = {name: part() for name, part in PARTS.items()}
    if options.exactly is None:
        print(json.dumps(numbers, indent=1))
        return 0
    earlier = json.loads(options.exactly.read_text(encoding="utf-8"))
    differing = [
        f"{part}: {name}"
        for part in PARTS
        for name in {**earlier[part], **numbers[part]}
        if earlier[part].get(name) != numbers[part].get(name)
    ]
    print("\n".join(differing) or f"equal to the bit, {digest(numbers)}")
    return int(bool(differing))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run())
