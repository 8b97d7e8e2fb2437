"""What an outer step costs by each outer objective: ``python benchmarks/outer_objectives.py``.

Interleaved, one thread, FLP with 2 and 3 plastic layers on whole lifetimes of the continual sine stream, the networks
of the presets ``paper`` (one lifetime an outer step) and ``cpu`` (four); medians of the processor's time, the first
round left out.
"""

from __future__ import annotations

import argparse
import statistics
import time

import flp_envs
from flp_agents import FLP, MetaTrainer, Mixed, Network, OnlineLoss, OuterObjective, QueryLoss, get_preset
from flp_agents.support.processes import set_threads

OBJECTIVES: list[OuterObjective] = [QueryLoss(), OnlineLoss(), Mixed(0.5)]


def trainer_of(preset: str, plastic_layers: int, outer_objective: OuterObjective) -> MetaTrainer:
    """All alike but for their outer objective; coefficients are small enough for each to stay finite."""
    settings = get_preset(preset, "flp")
    learner = FLP(Network((11, *settings.network.hidden_widths, 1)), plastic_layers, initial_coefficient=1e-7)
    return MetaTrainer(
        learner,
        flp_envs.make("FLPSine-Continual-v0"),
        rates=dict.fromkeys(learner.parameter_groups(), 1e-6),
        meta_batch=settings.outer_loop.meta_batch,
        outer_objective=outer_objective,
    )


def main() -> None:
    """Prints a line for each network and objective."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="outer steps by each objective (default: %(default)s)")
    rounds = parser.parse_args().rounds
    set_threads(1)
    for preset in ("paper", "cpu"):
        for plastic_layers in (2, 3):
            trainers = [trainer_of(preset, plastic_layers, outer_objective) for outer_objective in OBJECTIVES]
            seconds: list[list[float]] = [[] for _ in trainers]
            for _ in range(rounds):
                for trainer, times in zip(trainers, seconds, strict=True):
                    began = time.process_time()
                    trainer.step()
                    times.append(time.process_time() - began)
            medians = [statistics.median(times[1:]) for times in seconds]
            for outer_objective, median in zip(OBJECTIVES, medians, strict=True):
                ratio = median / medians[0]
                print(f"{preset}, FLP ({plastic_layers}), {outer_objective}: {median:.3f} s, {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
