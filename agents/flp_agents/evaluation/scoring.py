"""How well a learner's lifetimes end, on episodes it was not meta-trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from flp_agents.adapters.plain_learner import PlainLearner, as_learner
from flp_agents.evaluation.uncertainty import standard_error
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.running import run_lifetime
from flp_base.errors import check_at_least
from flp_base.machine_memory import check_fits
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

# Lifetimes at once, and the numbers they may have together: enough to keep the processor busy, and not too much memory.
LIFETIMES_AT_ONCE = 16
NUMBERS_AT_ONCE = 50_000_000
# What a pair costs beside its own numbers: the activity of some layers.
NUMBERS_OF_ACTIVITY = 200


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


@torch.no_grad()
def evaluate(
    learner: Learner[Any] | PlainLearner | Callable[[], PlainLearner],
    env: gym.Env[Any, Any],
    *,
    episodes: int = 100,
    seed: int = 0,
    on_episodes: Callable[[int], object] = lambda done: None,
) -> Evaluation:
    """Lives through ``episodes`` episodes of ``env``, the first ones of that seed.

    Args:
        learner: to evaluate; it is put into evaluation mode and back. A plain learner, or a factory of one, see
            :func:`~flp_agents.adapters.plain_learner.as_learner`.
        env: any that speaks the episode protocol.
        episodes: how many.
        seed: of the stream of episodes: the same seed gives the same episodes to every learner.
        on_episodes: told how many are done, now and then.

    Returns:
        Their query scores.
    """
    learner = as_learner(learner, env)
    training = learner.training
    learner.eval()
    scores: list[NDArray[np.float64]] = []
    try:
        for batch in batches_of_episodes(env, episodes, seed):
            scores.append(run_lifetime(learner, batch).query_score.cpu().double().numpy())
            on_episodes(sum(map(len, scores)))
    finally:
        learner.train(training)
    return Evaluation(learner.objective.metric, np.concatenate(scores))


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
