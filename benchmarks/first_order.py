"""What an outer step costs to first order, with and without a graph: ``python benchmarks/first_order.py``.

Interleaved, one thread, four short lifetimes of 80 inner steps, the ``cpu`` preset's network, for each outer objective;
medians of the processor's time.
"""

from __future__ import annotations

import itertools
import statistics
import time

import flp_envs
from flp_agents import (
    OML,
    Autograd,
    Backpropagation,
    Full,
    GradientBased,
    Learner,
    MetaTrainer,
    Network,
    OnlineLoss,
    QueryLoss,
    get_preset,
)
from flp_agents.support.processes import set_threads

ROUNDS, FIRST_COUNTED = 15, 3


def main() -> None:
    """Prints a line for each learner."""
    set_threads(1)
    network = Network((11, *get_preset("cpu", "flp").network.hidden_widths, 1))
    rate = {"initial_rate": 3e-3}
    learners: dict[str, list[Learner]] = {
        "gradient-based, first order": [GradientBased(network, 3, order="first", **rate) for _ in range(2)],
        "OML": [OML(network, 3) for _ in range(2)],
        "gradient-based, second order": [GradientBased(network, 3, **rate) for _ in range(2)],
    }
    for (name, pair), outer_objective in itertools.product(learners.items(), (QueryLoss(), OnlineLoss())):
        trainers = [
            MetaTrainer(
                learner,
                flp_envs.make("FLPSine-Continual-v0", steps_per_function=8),
                rates={**dict.fromkeys(learner.parameter_groups(), 0.0), "weights": 1e-4},
                meta_batch=4,
                estimator=Backpropagation(strategy),
                outer_objective=outer_objective,
            )
            for learner, strategy in zip(pair, (Autograd(), Full()), strict=True)
        ]
        seconds: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for trainer, times in zip(trainers, seconds, strict=True):
                began = time.process_time()
                trainer.step()
                times.append(time.process_time() - began)
        by_autograd, full = (statistics.median(times[FIRST_COUNTED:]) for times in seconds)
        print(
            f"{name}, {outer_objective}: {by_autograd:.3f} s by autograd, {full:.3f} s with Full, "
            f"{by_autograd / full:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
