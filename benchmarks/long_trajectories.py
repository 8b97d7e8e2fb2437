"""How bundled learners fare when many more classes follow one another than they were meta-trained on.

``python benchmarks/long_trajectories.py`` lets each live through continual Omniglot episodes of up to 600 classes with
15 drawings each, the long trajectories of Javed & White (2019), and asks for held-out and for seen drawings afterwards.
It writes ``results/long_trajectories.csv`` and prints a table. Needs Omniglot (``flp data prepare omniglot``).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import flp_envs
from flp_agents import evaluate
from flp_agents.training import bundled, checkpoint

CLASSES = (10, 50, 100, 200, 600)
SHOTS, HELD_OUT = 15, 5
# The more classes, the longer an episode takes, and the less it varies.
EPISODES = {10: 100, 50: 20, 100: 10, 200: 5, 600: 3}
LEARNERS = ("flp", "oml", "feature-reuse")
COLUMNS = ("learner", "checkpoint", "classes", "drawings", "episodes", "accuracy_percent", "standard_error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", nargs="*", help="names or folders (default: the bundled ones)")
    parser.add_argument("--output", type=Path, default=Path("results/long_trajectories.csv"))
    options = parser.parse_args()
    names = options.checkpoints or [
        row["name"]
        for row in bundled.describe_bundled()
        if row["env"] == "FLPOmniglot-Continual-v0" and row["learner"] in LEARNERS
    ]
    rows = [row for name in names for row in measure(name)]
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))


def measure(name: str) -> list[dict[str, object]]:
    """One row for each number of classes, for held-out and for seen drawings."""
    saved = checkpoint.load(bundled.find_checkpoint(name))
    rows: list[dict[str, object]] = []
    for drawings, query in (("held-out", {"query_shots": HELD_OUT}), ("seen", {"query_shots": SHOTS})):
        for classes in CLASSES:
            env = flp_envs.make(
                "FLPOmniglot-Continual-v0",
                split="meta-test",
                num_classes=classes,
                shots=SHOTS,
                query_from="unseen" if drawings == "held-out" else "seen",
                **query,
            )
            result = evaluate(saved.learner, env, episodes=EPISODES[classes], seed=0)
            values = (
                bundled.title(saved.about),
                Path(name).name,
                classes,
                drawings,
                EPISODES[classes],
                round(100 - result.mean, 2),
                round(result.standard_error, 2),
            )
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Accuracy in per cent, held-out / seen."""
    lines = [
        f"| learner | {' | '.join(f'{classes} classes' for classes in CLASSES)} |",
        f"| --- |{' --- |' * len(CLASSES)}",
    ]
    for name in dict.fromkeys(row["checkpoint"] for row in rows):
        of_learner = [row for row in rows if row["checkpoint"] == name]
        cells = [
            " / ".join(f"{row['accuracy_percent']:.1f}" for row in of_learner if row["classes"] == classes)
            for classes in CLASSES
        ]
        lines.append(f"| {of_learner[0]['learner']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
