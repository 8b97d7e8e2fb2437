"""All that is measured of one meta-trained learner, on the first episodes of a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from flp_agents.adapters.plain_learner import as_learner
from flp_agents.evaluation.scoring import run_on_episodes
from flp_agents.experiments.analysis.over_lifetime import (
    change_on_earlier_tasks,
    moments_of,
    predictions_over_lifetime,
    query_loss_over_lifetime,
    query_score_over_lifetime,
)
from flp_agents.experiments.analysis.readout import readout_scores
from flp_agents.experiments.analysis.updates import Updates, updates_over_lifetime
from flp_agents.learners.learner import Learner
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.lifetime.query_schedule import end_of_each_task
from flp_agents.support.copying import copy_of
from flp_base.errors import FLPError
from flp_envs.episode import Episode

Array = NDArray[np.float64]


class NoPlasticLayers(FLPError, TypeError):
    """A learner that is no network with plastic layers."""


@dataclass(frozen=True)
class Analysis:
    """What ``E`` lifetimes of one learner were like; see the module that measures each.

    Attributes:
        metric: of scores, "mse" or "error_percent".
        asked_at: ``(P,)`` numbers of support steps after which the learner was queried; the first 0, the last ``T``.
        query_losses: ``(E, P)`` the objective's loss on the query.
        query_scores: ``(E, P)`` its metric.
        readout_scores: ``(E,)`` of a linear readout on the initial features.
        task_ends: ``(K,)`` numbers of support steps after which sub-tasks end; none where they are mixed.
        changes: ``(E, K - 1)`` on earlier sub-tasks; none where they are mixed.
        updates: direction and size of every update.
    """

    metric: str
    asked_at: NDArray[np.int64]
    query_losses: Array
    query_scores: Array
    readout_scores: Array
    task_ends: NDArray[np.int64] | None
    changes: Array | None
    updates: Updates

    @property
    def plastic_layers(self) -> int:
        """N."""
        return int(self.updates.magnitudes.shape[2])


def analyse(learner: Learner[Any], env: gym.Env[Any, Any], *, episodes: int = 16, seed: int = 0) -> Analysis:
    """Measures everything, in double precision: small updates would drown in float32's rounding errors.

    Args:
        learner: a network with plastic layers; it is left as it is.
        env: any that speaks the episode protocol.
        episodes: ``E``.
        seed: of the stream of episodes: the same seed gives the same episodes to every learner.

    Raises:
        NoPlasticLayers: if the learner is no network with plastic layers.
        IncompatibleSpaces: if it does not fit it.
        InvalidSize: for fewer than one episode.
    """
    fitted = as_learner(learner, env)
    if not isinstance(fitted, NetworkLearner):
        raise NoPlasticLayers(
            f"expected a network with plastic layers (FLP, GradientBased, OML), got {type(fitted).__name__}: it has "
            "no readout and no updates to measure"
        )
    double = copy_of(fitted, "a copy in double precision is analysed").double().eval()
    parts = run_on_episodes(double, env, partial(_analyse, double), episodes=episodes, seed=seed)
    first = parts[0]
    changes = [part.changes for part in parts if part.changes is not None]

    def joined(*names: str) -> dict[str, Array]:
        return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}

    updates = {
        name: np.concatenate([getattr(part.updates, name) for part in parts])
        for name in ("cosines", "magnitudes", "relative_magnitudes")
    }
    return Analysis(
        metric=first.metric,
        asked_at=first.asked_at,
        task_ends=first.task_ends,
        changes=np.concatenate(changes) if len(changes) == len(parts) else None,
        updates=Updates(**updates),
        **joined("query_losses", "query_scores", "readout_scores"),
    )


def _analyse(learner: NetworkLearner, episode: Episode) -> Analysis:
    at, ends, objective = moments_of(episode.support_steps), end_of_each_task(episode), learner.objective
    predictions = predictions_over_lifetime(learner, episode, at)
    return Analysis(
        metric=objective.metric,
        asked_at=np.asarray(at),
        query_losses=query_loss_over_lifetime(predictions, episode, objective).T,
        query_scores=query_score_over_lifetime(predictions, episode, objective).T,
        readout_scores=readout_scores(learner, episode),
        task_ends=ends,
        changes=None if ends is None else change_on_earlier_tasks(learner, episode),
        updates=updates_over_lifetime(learner, episode),
    )
