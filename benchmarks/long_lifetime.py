"""FLP(9) through ten times the paper's lifetime in bounded memory: ``python benchmarks/long_lifetime.py``.

Each measurement runs in a process of its own, whose peak memory is that of the whole process, interpreter and torch
included. Writes ``results/long_lifetime.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import flp_envs
from flp_agents import Full, MetaGradient, Reversible, build_learner, get_preset, run_lifetime
from flp_agents.experiments.profiling.report import machine
from flp_envs.recording import draw_episodes, seed_env

STRATEGIES: dict[str, MetaGradient] = {"full": Full(), "reversible": Reversible()}


def gradient(strategy: MetaGradient, steps: int, dtype: torch.dtype) -> tuple[torch.Tensor, float]:
    """The meta-gradient of one lifetime as one vector, and the seconds that it took."""
    env = flp_envs.make("FLPSine-Continual-v0", steps_per_function=steps // 10)
    preset = get_preset("paper", "flp", {"plastic_layers": 9, "initial_coefficient": 1e-7})
    learner = build_learner("flp", env, preset).to(dtype)
    seed_env(env, 0)
    episode = draw_episodes(env, 1)
    started = time.perf_counter()
    run_lifetime(learner, episode, meta_gradient=strategy).query_loss.mean().backward()
    seconds = time.perf_counter() - started
    return torch.cat([p.grad.flatten().double() for p in learner.parameters() if p.grad is not None]), seconds


def measure(name: str, steps: int) -> None:
    """Prints seconds for each inner step and the peak memory of this process."""
    repeats = [gradient(STRATEGIES[name], steps, torch.float32)[1] / steps for _ in range(3)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds_per_inner_step": statistics.median(repeats), "peak_bytes": peak}))


def in_a_process(name: str, steps: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(steps)]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    )
    return result


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("STRATEGY", "STEPS"))
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], int(options.measure[1]))
        return
    content: dict[str, Any] = {"command": "python benchmarks/long_lifetime.py", "machine": machine()}
    for name, steps in (("full", 400), ("reversible", 400), ("reversible", 4000)):
        content[f"{name}, {steps} inner steps"] = in_a_process(name, steps)
    for dtype in (torch.float32, torch.float64):
        exact, _ = gradient(STRATEGIES["full"], 400, dtype)
        back, _ = gradient(STRATEGIES["reversible"], 400, dtype)
        content[f"relative error of reversible, {dtype}"] = float((back - exact).norm() / exact.norm())
    options.output.mkdir(exist_ok=True)
    (options.output / "long_lifetime.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
