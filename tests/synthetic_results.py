"""Made-up results, shaped as a benchmark writes them: for tests of reports, and never shown as anybody's numbers."""

from collections.abc import Sequence

import numpy as np

from flp_agents.benchmark.results import Cell, CellResult
from flp_agents.evaluation.lifetime_metrics.metric import METRICS

# Name, title, what it was meta-trained on, loss after learning, loss that later sub-tasks add, noise.
LEARNERS = (
    ("flp", "FLP (2)", "FLPSine-Continual-v0 meta-train", 5e-4, 2e-5, 0.2),
    ("gradient-based", "Gradient-based (3)", "FLPSine-Continual-v0 meta-train", 4.8e-4, 8e-5, 0.25),
    ("feature-reuse", "Feature Reuse (1)", "FLPSine-Continual-v0 meta-train", 5.5e-4, 0.0, 0.6),
    ("oml", "Original OML (3)", "FLPSine-Continual-v0 meta-train", 0.6, 0.15, 0.3),
    ("joint-training", "joint-training", "", 0.02, 0.0, 0.3),
    ("kernel", "kernel", "", 0.03, 1e-3, 0.3),
    ("nearest-neighbour", "nearest-neighbour", "", 0.05, 1e-4, 0.3),
    ("ridge", "ridge", "", 0.12, 0.01, 0.3),
    ("experience-replay", "experience-replay", "", 0.3, 0.08, 0.3),
    ("adam", "adam", "", 0.8, 0.5, 0.3),
    ("sgd", "sgd", "", 1.5, 0.6, 0.3),
    ("ewc", "ewc", "", 1.3, 0.4, 0.3),
    ("feedback-alignment", "feedback-alignment", "", 2.2, 0.4, 0.3),
    ("direct-feedback-alignment", "direct-feedback-alignment", "", 2.1, 0.4, 0.3),
    ("recurrent-ppo", "recurrent-ppo", "FLPSine-Continual-v0 meta-train", 4.1, 0.0, 0.2),
    ("ppo", "ppo", "FLPSine-Continual-v0 meta-train", 4.2, 0.0, 0.2),
)
AT_BIRTH = 4.25
MADE_UP = {
    *("query_score", "prequential_score", "prequential_area", "learning_area", "average_final_score"),
    *("forgetting", "backward_transfer", "forward_transfer", "interference"),
}
STAMP = {
    "version_flp_envs": "0.1.0",
    "version_torch": "2.13.0",
    "version_python": "3.11.7",
    "machine": "a made-up machine, 2 cores",
    "precision": "float64",
    "command": "flp benchmark --seeds 3",
}


def made_up_result(
    learner: str = "flp",
    *,
    env: str = "FLPSine-Continual-v0",
    seed: int = 0,
    episodes: int = 8,
    title: str | None = None,
    network: str | None = None,
    failure: str | None = None,
    checkpoint: str = "",
    tasks: int = 4,
    steps: int = 5,
    percent: bool = False,
) -> CellResult:
    """One cell's result; of sub-tasks one after another if the environment's id says so, else mixed."""
    cell = Cell(env, learner, seed, episodes, checkpoint=checkpoint)
    known = {row[0]: row[1:] for row in LEARNERS}
    shown, trained_on, floor, growth, noise = known.get(learner, (learner, "", 1.0, 0.2, 0.3))
    stamp = {**STAMP, "finished": f"2026-11-2{4 + seed % 3}T10:00:00Z", "meta_trained_on": trained_on}
    if failure is not None:
        return CellResult(cell, learner, stamp=stamp, failure=failure)
    rng = np.random.default_rng([sum(learner.encode()), seed])
    continual = "IID" not in env
    scale = rng.lognormal(0, noise, (episodes, 1, 1)) * (20.0 / AT_BIRTH if percent else 1.0)
    by_task = np.full((episodes, tasks + 1, tasks), AT_BIRTH)
    for i in range(1, tasks + 1):
        learned = range(i) if continual else range(tasks)
        for j in learned:
            after = (i - 1 - j) if continual else 0
            share = 1.0 if continual else i / tasks
            by_task[:, i, j] = AT_BIRTH ** (1 - share) * (floor + growth * after) ** share
    by_task = by_task * scale * rng.lognormal(0, 0.05, by_task.shape)
    length = tasks * steps
    place = np.arange(length) % steps if continual else np.arange(length)
    online = AT_BIRTH * (floor / AT_BIRTH) ** ((place / place.max()) ** 0.6)
    online = online * scale[:, 0] * rng.lognormal(0, 0.2, (episodes, length))
    at_end_only = learner == "joint-training"
    asked = by_task[:, -1:] if at_end_only else by_task
    curves: dict[str, object] = {"query_at": [length] if at_end_only else list(range(0, length + 1, steps))}
    for name, values in (("prequential", online), ("query", asked.mean(2)), ("query_by_task", asked)):
        curves[name] = values.mean(0).tolist()
        curves[f"{name}_error"] = (values.std(0, ddof=1) / episodes**0.5).tolist()
    return CellResult(
        cell,
        shown if title is None else title,
        network=(f"{sum(learner.encode()):064x}" if trained_on else f"seed {seed}") if network is None else network,
        metric="error_percent" if percent else "mse",
        scores=_scores(by_task, online, continual and not at_end_only, at_end_only),
        curves=curves,
        task_ends=continual and not at_end_only,
        seconds=1e-5 * (1 + len(learner)),
        state_bytes=4000 * len(learner),
        stamp=stamp,
    )


def _scores(by_task: np.ndarray, online: np.ndarray, continual: bool, at_end_only: bool) -> dict[str, list[float]]:
    final = by_task[:, -1].mean(1)
    scores = {"query_score": final, "prequential_score": online.mean(1), "prequential_area": online.mean(1) * 1.1}
    if not at_end_only:
        scores["learning_area"] = by_task.mean((1, 2))
    if continual and by_task.shape[2] > 1:
        earlier = slice(0, -1)
        just_learned = np.diagonal(by_task[:, 1:], axis1=1, axis2=2)
        scores |= {
            "average_final_score": final,
            "forgetting": (by_task[:, -1, earlier] - by_task[:, 1:-1, earlier].min(1)).mean(1),
            "backward_transfer": (just_learned - by_task[:, -1])[:, earlier].mean(1),
            "forward_transfer": np.zeros(len(final)),
            "interference": 0.5 * final,
        }
    assert set(scores) <= set(METRICS) >= MADE_UP
    # Metrics that came since.
    for name in METRICS.keys() - MADE_UP:
        if continual or not METRICS[name].of_sub_tasks:
            scores[name] = 0.7 * final
    return {name: values.tolist() for name, values in scores.items()}


def made_up_benchmark(
    learners: Sequence[str] = tuple(row[0] for row in LEARNERS), seeds: int = 3, **options: object
) -> list[CellResult]:
    """Learners in both sine environments."""
    return [
        made_up_result(learner, env=env, seed=seed, **options)
        for env in ("FLPSine-Continual-v0", "FLPSine-IID-v0")
        for learner in learners
        for seed in range(seeds)
    ]
