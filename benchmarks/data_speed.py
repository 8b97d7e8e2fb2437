"""What image data costs: packing, opening, sampling, and the trainer's wait for it.

``python benchmarks/data_speed.py --source FOLDER`` packs Omniglot, whose zip files or folders are in ``FOLDER``, into a
temporary folder, draws 1,000 five-way five-shot episodes, and times outer steps of FLP(2) (preset ``cpu``) with and
without drawing ahead, interleaved; medians. Writes ``results/data_speed.md``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import flp_envs
from flp_agents import MetaTrainer, build_learner, get_preset
from flp_datasets.prepare import prepare
from flp_envs.recording import draw_episodes

EPISODES, ROUNDS = 1000, 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--output", type=Path, default=Path("results/data_speed.md"))
    options = parser.parse_args()
    lines = ["| what | seconds |", "| --- | --- |"]

    def add(what: str, seconds: float) -> None:
        lines.append(f"| {what} | {seconds:.4g} |")
        print(lines[-1])

    with tempfile.TemporaryDirectory() as root:
        for size in (28, 84):
            add(f"packing Omniglot at {size} pixels", seconds_for(lambda size=size: pack(options.source, root, size)))
            add(f"opening and verifying that pack, {size} pixels", seconds_to_open(root, size))
        for env_id, options_of in (("FLPOmniglot-Continual-v0", {"data_root": root}), ("FLPGlyph-Continual-v0", {})):
            env = flp_envs.make(env_id, split="meta-test", **options_of)
            env.reset(seed=0)
            what = f"sampling {EPISODES} five-way five-shot episodes of {env_id}"
            add(what, seconds_for(lambda env=env: [draw_episodes(env, 1) for _ in range(EPISODES)]))
            for ahead, seconds in outer_steps(env_id, options_of).items():
                add(f"one outer step on {env_id}{', drawing ahead' if ahead else ''}", seconds)
    options.output.write_text(
        "\n".join(["`python benchmarks/data_speed.py`, two cores:", "", *lines]) + "\n", encoding="utf-8"
    )


def seconds_for(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def pack(source: str, root: str, size: int) -> None:
    prepare("omniglot", image_size=size, source=source, data_root=root)


def seconds_to_open(root: str, size: int) -> float:
    """In a process of its own, as a pack is verified once in each."""
    code = (
        "import time; from flp_datasets.catalogue import open_classes; started = time.perf_counter(); "
        f"open_classes('omniglot', 'meta-test', image_size={size}, data_root={root!r}); "
        "print(time.perf_counter() - started)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8").stdout)


def outer_steps(env_id: str, env_options: dict[str, str]) -> dict[bool, float]:
    """The median second of an outer step without and with drawing ahead."""
    preset = get_preset("cpu", "flp", {"short_outer_steps": 0}, kind="images")
    trainers = {}
    for ahead in (False, True):
        env = flp_envs.make(env_id, split="meta-train", **env_options)
        learner = build_learner("flp", env, preset)
        learner.set_precision(preset.outer_loop.precision)
        rates = {**dict.fromkeys(learner.parameter_groups(), 0.0), "weights": 1e-3}
        meta_batch = preset.outer_loop.meta_batch
        trainers[ahead] = MetaTrainer(learner, env, rates=rates, meta_batch=meta_batch, prefetch=ahead)
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        for ahead, trainer in trainers.items():
            seconds = seconds_for(trainer.step)
            if number > 2:
                times[ahead].append(seconds)
    for trainer in trainers.values():
        trainer.pause()
    return {ahead: statistics.median(values) for ahead, values in times.items()}


if __name__ == "__main__":
    main()
