"""Times evaluation and outer steps with one and with two processor threads, in turn: which should be the default?

python benchmarks/thread_count.py --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

import flp_envs
from flp_agents import Full, build_learner, evaluate, get_preset, load_bundled
from flp_agents.experiments.profiling.run import our_step, setting
from flp_envs.recording import draw_episodes


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is timed, by name."""
    env = flp_envs.make("FLPSine-Continual-v0")
    bundled = load_bundled("flp-2-sine-continual")
    yield "evaluate, 4 episodes", lambda: evaluate(bundled, env, episodes=4, seed=0)
    preset = get_preset("cpu", "flp", {"plastic_layers": 2})
    small, episodes = build_learner("flp", env, preset, 0), draw_episodes(env, preset.outer_loop.meta_batch)
    yield "outer step, cpu preset", lambda: our_step(small, episodes, Full())
    large, episode = setting("FLP (2)")
    yield "outer step of one lifetime, paper size", lambda: our_step(large, episode, Full())


def main() -> None:
    """Prints the median seconds of every case, on the clock and of the processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    for name, work in cases():
        seconds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for turn in range(rounds):
            for count in (1, 2) if turn % 2 else (2, 1):
                torch.set_num_threads(count)
                work()  # the first one after a change is slower
                started, used = time.perf_counter(), time.process_time()
                work()
                seconds[count].append((time.perf_counter() - started, time.process_time() - used))
        for count, taken in seconds.items():
            wall, processor = (statistics.median(column) for column in zip(*taken, strict=True))
            print(f"{name}, {count} threads: {wall:.2f} s, of the processor {processor:.2f} s", flush=True)


if __name__ == "__main__":
    main()
