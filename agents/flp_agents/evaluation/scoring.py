"""Runs learners on episodes and scores their lifetimes: the one path of ``evaluate``, the benchmark and the analysis.

:func:`run_on_episodes` draws the episodes and runs the learner through them in batches. :func:`evaluate` keeps the
query's score of each lifetime; :func:`record_on_episodes` keeps a record of it, of which :func:`measure` takes every
metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from flp_agents.adapters.plain_learner import PlainLearner, as_learner
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.metrics import as_numbers
from flp_agents.evaluation.uncertainty import standard_error
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.query_schedule import QuerySchedule
from flp_agents.lifetime.recording import LifetimeRecord, record_lifetimes
from flp_agents.lifetime.running import run_lifetime
from flp_base.errors import FLPError, check_at_least
from flp_base.files import finite_or_none
from flp_base.machine_memory import check_fits
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

# Lifetimes at once, and the numbers they may have together: enough to keep the processor busy, and not too much memory.
LIFETIMES_AT_ONCE = 16
NUMBERS_AT_ONCE = 50_000_000
# What a pair costs beside its own numbers: the activity of some layers.
NUMBERS_OF_ACTIVITY = 200

Result = TypeVar("Result")


@dataclass(frozen=True)
class Evaluation:
    """Query scores of many lifetimes.

    Attributes:
        metric: "mse" or "error_percent".
        scores: ``(episodes,)`` one for each lifetime.
    """

    metric: str
    scores: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over episodes."""
        return float(self.scores.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over episodes; NaN for a single one, of which nothing is known."""
        return standard_error(self.scores)

    def as_json(self) -> dict[str, Any]:
        """Metric, mean and standard error; null for what is no finite number."""
        return {
            "metric": self.metric,
            "mean": finite_or_none(self.mean),
            "standard_error": finite_or_none(self.standard_error),
        }


def evaluate(
    learner: Learner[Any] | PlainLearner | Callable[[], PlainLearner],
    env: gym.Env[Any, Any],
    *,
    episodes: int = 100,
    seed: int = 0,
    on_episodes: Callable[[int], object] = lambda done: None,
) -> Evaluation:
    """Runs a learner through ``episodes`` episodes of ``env``, the first ones of that seed, and scores the queries.

    Args:
        learner: to evaluate; it is put into evaluation mode and back. A plain learner, or a factory of one, see
            :func:`~flp_agents.adapters.plain_learner.as_learner`.
        env: any that speaks the episode protocol.
        episodes: how many.
        seed: of the stream of episodes: the same seed gives the same episodes to every learner.
        on_episodes: receives how many are done, now and then.

    Returns:
        Their query scores.
    """
    learner = as_learner(learner, env)

    def score(batch: Episode) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = run_lifetime(learner, batch).query_score.cpu().double().numpy()
        return scores

    scores = run_on_episodes(learner, env, score, episodes=episodes, seed=seed, on_episodes=on_episodes)
    return Evaluation(learner.objective.metric, np.concatenate(scores))


def record_on_episodes(
    learner: Learner[Any],
    make_env: Callable[[], gym.Env[Any, Any]],
    *,
    episodes: int,
    seed: int,
    at_once: int | None = None,
) -> list[LifetimeRecord]:
    """Runs a learner through the episodes of :func:`evaluate`, and records every prediction on the way.

    Args:
        learner: to evaluate, adapted to the environment.
        make_env: makes the environment. It is called again where episodes are looked at beforehand, so that those
            recorded are the first of their seed, whatever an environment keeps.
        episodes: how many.
        seed: of the stream of episodes.
        at_once: lifetimes in a batch, see :func:`batches_of_episodes`.

    Returns:
        A record for each batch.
    """

    def record(schedule: QuerySchedule) -> list[LifetimeRecord]:
        def record_batch(batch: Episode) -> LifetimeRecord:
            if not schedule.fits(batch):
                raise _Mixed
            return record_lifetimes(learner, batch, schedule)

        return run_on_episodes(learner, make_env(), record_batch, episodes=episodes, seed=seed, at_once=at_once)

    schedule = QuerySchedule.of_env(make_env())
    try:
        return record(schedule)
    except _Mixed:
        return record(schedule.mixed())


class _Mixed(Exception):
    """Sub-tasks that follow one another mostly, but not always."""


def measure(records: Sequence[LifetimeRecord]) -> dict[str, list[float]]:
    """Every registered metric of every lifetime, but for those that mean nothing here.

    Raises:
        FLPError: if a metric does not give a number for each lifetime.
    """
    scores: dict[str, list[float]] = {}
    for name, metric in METRICS.items():
        for record in records:
            values = metric.measure(record)
            if values is None:
                continue
            numbers = as_numbers(f"metric {name}", values, "E")
            if len(numbers) != len(record.query_scores):
                raise FLPError(
                    f"metric {name}: expected a number for each of {len(record.query_scores)} lifetimes, got "
                    f"{len(numbers)}"
                )
            scores.setdefault(name, []).extend(numbers.tolist())
    return scores


@torch.no_grad()
def run_on_episodes(
    learner: Learner[Any],
    env: gym.Env[Any, Any],
    run: Callable[[Episode], Result],
    *,
    episodes: int,
    seed: int,
    at_once: int | None = None,
    on_episodes: Callable[[int], object] = lambda done: None,
) -> list[Result]:
    """Runs a learner, in evaluation mode, through the first episodes of a seed.

    Args:
        learner: put into evaluation mode and back.
        env: any that speaks the episode protocol.
        run: what is done with a batch of episodes.
        episodes: how many in all.
        seed: of the stream of episodes.
        at_once: lifetimes in a batch, see :func:`batches_of_episodes`.
        on_episodes: receives how many are done, after each batch.

    Returns:
        What ``run`` returned, for each batch.
    """
    training, done = learner.training, 0
    learner.eval()
    results: list[Result] = []
    try:
        for batch in batches_of_episodes(env, episodes, seed, at_once):
            results.append(run(batch))
            done += len(batch)
            on_episodes(done)
    finally:
        learner.train(training)
    return results


def batches_of_episodes(
    env: gym.Env[Any, Any], episodes: int, seed: int, at_once: int | None = None
) -> Iterator[Episode]:
    """The first episodes of a seed, in batches that fit into memory.

    Args:
        env: any that speaks the episode protocol.
        episodes: how many in all.
        seed: of the stream of episodes.
        at_once: in a batch; none: by the length of the first one, which comes alone.
    """
    check_at_least("episodes", episodes, 1)
    check_fits(f"the scores of {episodes} episodes", 8 * episodes, "use fewer")
    seed_env(env, seed)
    done, size = 0, at_once or 1
    while done < episodes:
        batch = draw_episodes(env, min(size, episodes - done))
        yield batch
        done += len(batch)
        inputs = (batch.support_x, batch.query_x)
        pairs = sum(math.prod(x.shape[1:3]) for x in inputs)
        numbers = sum(x[0].size for x in inputs) + pairs * NUMBERS_OF_ACTIVITY
        size = at_once or min(LIFETIMES_AT_ONCE, max(1, NUMBERS_AT_ONCE // numbers))
