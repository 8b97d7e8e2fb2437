"""How fast the environments stream: ``make bench-env``.

Compares, in one interleaved run, one env as it is, one env as ``gym.make`` wraps it, and a vector env of 64 episodes;
each with its resets, answering zeros. Prints medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import gymnasium as gym
import numpy as np

import flp_envs

NUM_ENVS = 64


def seconds_per_step(env: Any, steps: int, *, resets: bool) -> float:
    """Of one ``step``, resets included."""
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    started = time.perf_counter()
    for _ in range(steps):
        _, _, terminated, _, _ = env.step(action)
        if resets and terminated:
            env.reset()
    return (time.perf_counter() - started) / steps


def main() -> None:
    """Runs the comparison and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="FLPSine-Continual-v0")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2050, help="steps in a round (default: five lifetimes)")
    options = parser.parse_args()
    wrapped = gym.make(options.env)
    subjects = {
        "one env": (wrapped.unwrapped, True, 1),
        "one env as gym.make wraps it": (wrapped, True, 1),
        f"vector env of {NUM_ENVS}": (gym.make_vec(options.env, NUM_ENVS), False, NUM_ENVS),
    }
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(options.rounds):
        for name, (env, resets, _) in subjects.items():
            times[name].append(seconds_per_step(env, options.steps, resets=resets))
    batch = wrapped.observation_space["x"].shape[0]
    medians = {name: statistics.median(values) for name, values in times.items()}
    rates = {name: subjects[name][2] * batch / medians[name] for name in subjects}
    print(f"{options.env}, {batch} pairs a step, medians of {options.rounds} rounds")
    print("| | microseconds a step | million pairs a second | times one env |")
    print("| --- | --- | --- | --- |")
    for name in subjects:
        row = (medians[name] * 1e6, rates[name] / 1e6, rates[name] / rates["one env"])
        print(f"| {name} | {row[0]:.1f} | {row[1]:.2f} | {row[2]:.1f} |")


if __name__ == "__main__":
    main()
