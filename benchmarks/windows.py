"""What an outer step of windows costs as lifetimes grow: ``python benchmarks/windows.py --steps 1000 100000``.

FLP(2) of three layers, 100 units wide, on continual sine streams of two functions; windows of 50 inner steps, one
lifetime an outer step, one thread. Each length in a process of its own, for its peak of memory. An outer step's time is
the processor's, median of 30.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import flp_envs
from flp_agents import FLP, MetaTrainer, Network, OnlineLoss, Windows
from flp_agents.support.processes import set_threads


def measure(steps: int) -> None:
    set_threads(1)
    env = flp_envs.make("FLPSine-Continual-v0", num_functions=2, steps_per_function=steps // 2)
    learner = FLP(Network((3, 100, 100, 1), (1.0, 1.0, 0.2)), 2, initial_coefficient=1e-6)
    rates = {"weights": 1e-4, "feedback": 1e-4, "coefficients": 1e-8, "strengths": 1e-4}
    trainer = MetaTrainer(learner, env, rates=rates, estimator=Windows(50), outer_objective=OnlineLoss())
    seconds = []
    for _ in range(31):
        began = time.process_time()
        result = trainer.step()
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{steps} inner steps: {statistics.median(seconds[1:]):.4f} s an outer step, {seconds[0]:.2f} s the first, "
        f"peak {peak:.0f} MB, {result.skipped_total} skipped",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 10_000, 100_000], help="inner steps")
    lengths = parser.parse_args().steps
    if len(lengths) == 1:
        measure(lengths[0])
        return
    for steps in lengths:
        subprocess.run([sys.executable, __file__, "--steps", str(steps)], check=True)


if __name__ == "__main__":
    main()
