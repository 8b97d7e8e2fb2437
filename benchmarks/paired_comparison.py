"""Two learners on the same meta-test episodes: the mean difference of their scores, and how sure it is.

``python benchmarks/paired_comparison.py flp-2-omniglot-continual feature-reuse-1-omniglot-continual --episodes 2000
--seed 1``, in the environment that the first was meta-trained on.
"""

from __future__ import annotations

import argparse

import flp_envs
from flp_agents import evaluate
from flp_agents.evaluation.uncertainty import compare
from flp_agents.training import bundled, checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs=2, help="names of bundled checkpoints, or folders")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    first, second = (checkpoint.load(bundled.find_checkpoint(name)) for name in options.checkpoints)
    env = flp_envs.make(first.about["env"], split="meta-test", **first.about["env_options"])
    results = [evaluate(c.learner, env, episodes=options.episodes, seed=options.seed) for c in (first, second)]
    for name, result in zip(options.checkpoints, results, strict=True):
        print(f"{name}: {result.metric} {result.mean:.5g}, standard error {result.standard_error:.2g}")
    difference = compare(*(result.scores for result in results))
    low, high = difference.interval
    print(f"difference {difference.mean_difference:.5g}, standard error {difference.standard_error:.2g}")
    print(f"95 % interval {low:.5g} to {high:.5g}; the first is better on {difference.share_better:.1%} of episodes")


if __name__ == "__main__":
    main()
