"""Lifetimes a second without a gradient, one at a time and 64 at once: ``python benchmarks/evaluation_speed.py``.

Through the environment, as anybody's agent lives: ``GymAgent`` in one env, and in a vector env of 64. And through
``run_lifetime``, which has the whole episode at hand and runs the trunk on all its inputs at once. Interleaved,
medians. Writes ``results/evaluation_speed.md``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import flp_envs
from flp_agents import GymAgent, build_learner, get_preset, run_lifetime
from flp_envs.recording import draw_episodes, seed_env

ENV = "FLPSine-Continual-v0"
TOGETHER = 64


def stream(agent: GymAgent, env: Any, steps: int, number: int) -> float:
    """Seconds for ``steps`` env steps from the beginning of an episode."""
    observation, _ = env.reset(seed=0)
    state, start = None, np.ones(number, bool)
    started = time.perf_counter()
    for _ in range(steps):
        action, state = agent.predict(observation, state, start if number > 1 else start[0])
        start = np.zeros(number, bool)
        observation, *_ = env.step(action)
    return time.perf_counter() - started


def main() -> None:
    """Runs the comparison and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    lines = ["| preset | through | one at a time | 64 at once | ratio |", "| --- | --- | --- | --- | --- |"]
    for preset in ("paper", "cpu"):
        one, many = gym.make(ENV), gym.make_vec(ENV, TOGETHER)
        learner = build_learner("flp", flp_envs.make(ENV), get_preset(preset, "flp")).eval()
        agents = {1: GymAgent(learner, one), TOGETHER: GymAgent(learner, many)}
        drawn = flp_envs.make(ENV)
        seed_env(drawn, 0)
        episodes = draw_episodes(drawn, TOGETHER)
        steps = episodes.support_steps

        @torch.no_grad()
        def lifetimes(number: int, learner: Any = learner, episodes: Any = episodes) -> float:
            started = time.perf_counter()
            run_lifetime(learner, episodes[:number])
            return time.perf_counter() - started

        ways: dict[str, Callable[[int], float]] = {
            "environment": lambda n, a=agents, o=one, m=many, s=steps: stream(a[n], o if n == 1 else m, s, n),
            "run_lifetime": lifetimes,
        }
        for name, seconds in ways.items():
            times: dict[int, list[float]] = {1: [], TOGETHER: []}
            for number in (1, TOGETHER):
                seconds(number)
            for _ in range(options.rounds):
                for number, values in times.items():
                    values.append(seconds(number))
            rates = {number: number / statistics.median(values) for number, values in times.items()}
            lines.append(
                f"| {preset} | {name} | {rates[1]:.2f} | {rates[TOGETHER]:.2f} | {rates[TOGETHER] / rates[1]:.2f} |"
            )
            print(lines[-1], flush=True)
    options.output.mkdir(exist_ok=True)
    (options.output / "evaluation_speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
