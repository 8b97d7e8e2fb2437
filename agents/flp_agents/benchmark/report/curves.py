"""Curves of a learner in a setting: means over its networks, or seeds, and episodes, from the curves of its cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flp_agents.benchmark.report.leaderboard import LeaderboardRow
from flp_agents.evaluation.metrics import prequential_curve
from flp_agents.evaluation.uncertainty import FEWEST

Array = NDArray[np.float64]
# Points that a curve is drawn with at most: more cannot be told apart, and each makes the page larger.
MOST_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """A mean curve over a lifetime.

    Attributes:
        at: ``(P,)`` numbers of support steps.
        mean: ``(P,)``.
        error: ``(P,)`` standard errors of the mean over episodes; NaN where they are not known, or of too few.
    """

    at: Array
    mean: Array
    error: Array


def loss_at_each_step(entry: LeaderboardRow) -> Curve | None:
    """Loss of each support step's prediction, before its target was seen; of neighbouring steps together, if many."""
    known = _mean_over_cells(entry, "prequential")
    if known is None:
        return None
    mean, error = known
    width = -(-len(mean) // MOST_POINTS)
    starts = np.arange(0, len(mean), width)
    counts = np.diff([*starts, len(mean)])
    # Errors of neighbouring steps of the same lifetimes are taken to be of one size, and not to cancel.
    parts = (np.add.reduceat(values, starts) / counts for values in (np.arange(1.0, len(mean) + 1), mean, error))
    return Curve(*parts)


def running_mean(entry: LeaderboardRow) -> Curve | None:
    """The prequential curve, whose last point is the prequential score."""
    known = _mean_over_cells(entry, "prequential")
    if known is None:
        return None
    curve = prequential_curve(known[0][None])[0]
    shown = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).astype(int))
    return Curve(shown + 1.0, curve[shown], np.full(len(shown), np.nan))


def query_loss(entry: LeaderboardRow) -> Curve | None:
    """Loss of the query, had the lifetime ended earlier; none for a learner that was queried at the end only."""
    known, at = _mean_over_cells(entry, "query"), _asked_at(entry)
    return Curve(at, *known) if known is not None and at is not None and len(at) > 1 else None


def task_ends(entry: LeaderboardRow) -> Array | None:
    """``(K,)`` numbers of support steps after which sub-tasks end; none where they are mixed."""
    at = _asked_at(entry)
    return at[1:] if at is not None and all(result.task_ends for result in entry.results) else None


def r_matrix(entry: LeaderboardRow) -> Array | None:
    """``(K + 1, K)`` loss on each sub-task, in the initial state and after each of them; none where they are mixed."""
    known = _mean_over_cells(entry, "query_by_task")
    return known[0] if known is not None and task_ends(entry) is not None else None


def _asked_at(entry: LeaderboardRow) -> Array | None:
    moments = [np.asarray(result.curves.get("query_at") or [], dtype=np.float64) for result in entry.results]
    same = len(moments) > 0 and all(np.array_equal(at, moments[0]) for at in moments) and len(moments[0]) > 0
    return moments[0] if same else None


def _mean_over_cells(entry: LeaderboardRow, name: str) -> tuple[Array, Array] | None:
    """Mean and its standard error over episodes, every replicate counting the same, as in the scores' summaries."""
    cells = [
        (
            np.asarray(result.curves.get(name) or [], dtype=np.float64),
            np.asarray(result.curves.get(f"{name}_error") or [], dtype=np.float64),
            1 / (len(entry.by_replicate) * len(of_replicate)),
        )
        for of_replicate in entry.by_replicate.values()
        for result in of_replicate
    ]
    shapes = {values.shape for values, _, _ in cells}
    if len(shapes) != 1 or 0 in shapes.copy().pop():
        return None
    mean = np.sum([weight * values for values, _, weight in cells], axis=0)
    unknown = np.full(mean.shape, np.nan)
    known = all(len(result.scores.get("query_score") or ()) >= FEWEST for result in entry.results)
    errors = [weight * (error if known and error.shape == mean.shape else unknown) for _, error, weight in cells]
    return mean, np.sqrt(np.square(errors).sum(axis=0))
