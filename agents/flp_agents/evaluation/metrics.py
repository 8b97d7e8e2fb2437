"""What lifetimes were worth: pure functions of scores, for each episode by itself.

A score is a loss (less is better, the default) or, with ``higher_is_better=True``, an accuracy. Whichever it is,
positive transfer is good, and positive forgetting and interference are bad.

A matrix of scores ``r`` has the shape ``(E, K + 1, K)``: ``r[:, i, j]`` is the score on the ``j``-th of ``K``
sub-tasks after the first ``i`` were learned one after another, so row 0 is before all learning. In the equations
sub-tasks are counted from 1, as in their sources, and ``R[i, j]`` is ``r[:, i, j - 1]``. A score that is not known is
NaN, and so is what depends on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flp_base.errors import FLPError
from flp_base.renamed import renamed_parameters
from flp_envs.scoring import plain_numbers

Array = NDArray[np.float64]


class InvalidScores(FLPError, ValueError):
    """Numbers that a measure cannot be computed from."""


def as_numbers(name: str, values: ArrayLike, axes: str) -> Array:
    """Values as an array of numbers.

    Args:
        name: of the values, for the error.
        values: any nest of sequences.
        axes: the letters of its axes, such as "E, T"; only ``E``, of episodes, may be empty.

    Raises:
        InvalidScores: for what is no number, or another number of axes, or an empty one.
    """
    try:
        numbers = plain_numbers(values).astype(np.float64)
    except TypeError:
        raise InvalidScores(
            f"{name}: expected numbers of shape ({axes}), got something else, or rows of unequal length"
        ) from None
    letters = axes.split(", ")
    if numbers.ndim != len(letters) or 0 in numbers.shape[letters[0] == "E" :]:
        raise InvalidScores(f"{name}: expected numbers of shape ({axes}), got {numbers.shape}")
    return numbers


def prequential_curve(losses: ArrayLike) -> Array:
    """Running mean of the losses of predictions, each made before its target was seen.

    ``P[t] = 1/t sum_{s<=t} loss[s]``. Sources: Dawid (1984); Gama, Sebastião & Rodrigues (2013), without a window.

    Args:
        losses: ``(E, T)`` of each support step, or accuracies.

    Returns:
        ``(E, T)``, in the losses' own unit.

    Raises:
        InvalidScores: for another shape, or no step.
    """
    losses = as_numbers("losses", losses, "E, T")
    return np.cumsum(losses, axis=1) / np.arange(1, losses.shape[1] + 1)


def prequential_score(losses: ArrayLike) -> Array:
    """Mean loss over a lifetime, each prediction made before its target was seen: the end of the prequential curve.

    ``1/T sum_t loss[t]``. Sources: as of :func:`prequential_curve`.

    Args:
        losses: ``(E, T)`` of each support step, or accuracies.

    Returns:
        ``(E,)``, in the losses' own unit.

    Raises:
        InvalidScores: for another shape, or no step.
    """
    return np.asarray(as_numbers("losses", losses, "E, T").mean(axis=1))


def area_under_curve(values: ArrayLike, at: ArrayLike) -> Array:
    """Mean height of a curve: the area under it by the trapezoidal rule, divided by its width.

    ``1/(at[P] - at[1]) sum_p (at[p+1] - at[p]) (values[p] + values[p+1])/2``. Source: the normalised area
    under a training curve of Wolczyk et al. (2021).

    Args:
        values: ``(E, P)`` losses or accuracies.
        at: ``(P,)`` where on the horizontal axis, ascending: numbers of support steps, say.

    Returns:
        ``(E,)``, in the values' own unit, whatever the unit of ``at``.

    Raises:
        InvalidScores: for other shapes, fewer than two points, or an ``at`` that does not ascend.
    """
    values = as_numbers("values", values, "E, P")
    at = as_numbers("at", at, "P")
    if len(at) != values.shape[1] or len(at) < 2 or not (np.diff(at) > 0).all():
        raise InvalidScores(
            f"at: expected {values.shape[1]} ascending numbers, one for each point of the curve and at least two, "
            f"got {len(at)}: {_in_short(at)}"
        )
    return np.asarray(np.trapezoid(values, at, axis=1) / (at[-1] - at[0]))


def average_final_score(r: ArrayLike) -> Array:
    """Score after the last sub-task, averaged over all of them.

    ``1/K sum_j R[K, j]``. Source: ACC of Lopez-Paz & Ranzato (2017).

    Args:
        r: ``(E, K + 1, K)`` scores.

    Returns:
        ``(E,)``, in the scores' own unit.

    Raises:
        InvalidScores: for another shape.
    """
    return np.asarray(_matrix("average final score", r, 1)[:, -1].mean(axis=1))


def forgetting(r: ArrayLike, *, higher_is_better: bool = False) -> Array:
    """How far the final score on earlier sub-tasks lies behind the best that there was after some sub-task.

    Accuracies: ``1/(K-1) sum_{j<K} (max_{1<=l<K} R[l, j] - R[K, j])``. Losses:
    ``1/(K-1) sum_{j<K} (R[K, j] - min_{1<=l<K} R[l, j])``. Source: equation 3 of Chaudhry et al. (2018), and, as there,
    the best is taken over the rows after sub-tasks ``1 .. K-1``. So row 0, before all learning, and the last row do not
    count, but rows before sub-task ``j`` itself do. It is negative where the last sub-task made the earlier ones better
    than they ever were.

    Args:
        r: ``(E, K + 1, K)`` scores.
        higher_is_better: whether they are accuracies.

    Returns:
        ``(E,)``, in the scores' own unit; positive is bad.

    Raises:
        InvalidScores: for another shape, or a single sub-task, which has no earlier one.
    """
    gains = _gains("forgetting", r, higher_is_better)
    return np.asarray((gains[:, 1:-1, :-1].max(axis=1) - gains[:, -1, :-1]).mean(axis=1))


def backward_transfer(r: ArrayLike, *, higher_is_better: bool = False) -> Array:
    """How much better earlier sub-tasks became by what was learned after them.

    Accuracies: ``1/(K-1) sum_{j<K} (R[K, j] - R[j, j])``; losses: minus that. Source: BWT of Lopez-Paz & Ranzato
    (2017). (BWT of Díaz-Rodríguez et al. (2018) averages ``R[i, j] - R[j, j]`` over all ``i > j`` instead.)

    Args:
        r: ``(E, K + 1, K)`` scores.
        higher_is_better: whether they are accuracies.

    Returns:
        ``(E,)``, in the scores' own unit; positive is good.

    Raises:
        InvalidScores: for another shape, or a single sub-task, which has no earlier one.
    """
    gains = _gains("backward transfer", r, higher_is_better)
    just_learned = np.diagonal(gains[:, 1:], axis1=1, axis2=2)
    return np.asarray((gains[:, -1] - just_learned)[:, :-1].mean(axis=1))


def forward_transfer(r: ArrayLike, *, higher_is_better: bool = False) -> Array:
    """How much better later sub-tasks became by what was learned before them, without their own data.

    Accuracies: ``1/(K-1) sum_{j>1} (R[j-1, j] - R[0, j])``; losses: minus that. Source: FWT of Lopez-Paz & Ranzato
    (2017), with the same learner in its initial state as the reference; theirs is the accuracy at random
    initialisation.
    (FWT of Díaz-Rodríguez et al. (2018) has no reference.)

    Args:
        r: ``(E, K + 1, K)`` scores.
        higher_is_better: whether they are accuracies.

    Returns:
        ``(E,)``, in the scores' own unit; positive is good.

    Raises:
        InvalidScores: for another shape, or a single sub-task, which has no later one.
    """
    gains = _gains("forward transfer", r, higher_is_better)
    just_before = np.diagonal(gains[:, :-1], axis1=1, axis2=2)
    return np.asarray((just_before - gains[:, 0])[:, 1:].mean(axis=1))


@renamed_parameters(answers="predictions")
def interference(predictions: NDArray[Any], query_task: NDArray[Any]) -> Array:
    """How much learning each sub-task changed the predictions of the earlier ones' queries.

    Numbers: ``I[k] = mean of (prediction after k sub-tasks - prediction after k-1)^2``, over output units and queries
    of sub-tasks ``1 .. k-1``, for ``k = 2 .. K``. Labels: per cent of those predictions that are another label. Source:
    figure 2B and section 7.2 of Lindsey & Litwin-Kumar (2020), which has it for numbers. It does not ask whether the
    predictions became better or worse.

    Args:
        predictions: of the query, in the initial state and after each of ``K`` sub-tasks: numbers
            ``(E, K + 1, Q, B, n)``, or labels ``(E, K + 1, Q, B)``, whole numbers.
        query_task: ``(E, Q)`` the sub-task of each query step, counted from 0.

    Returns:
        ``(E, K - 1)``, in the square of the predictions' unit, or per cent: one for each sub-task but the first, so
        none at all for a single one.

    Raises:
        InvalidScores: for other shapes, sub-tasks outside ``0 .. K-1``, or an episode without a query of the first.
    """
    labels = predictions.ndim == 4 and predictions.dtype.kind in "iu"
    numbers = predictions.ndim == 5 and predictions.dtype.kind in "iuf"
    if not (labels or numbers) or predictions.shape[1] < 2 or 0 in predictions.shape[1:]:
        raise InvalidScores(
            "predictions: expected numbers (E, K + 1, Q, B, n), or labels (E, K + 1, Q, B), whole numbers: a row for "
            f"the initial state, one after each sub-task, got {predictions.shape} {predictions.dtype}"
        )
    lifetimes, rows, queries = predictions.shape[:3]
    valid = query_task.shape == (lifetimes, queries) and query_task.dtype.kind in "iu"
    if not valid or (query_task < 0).any() or (query_task >= rows - 1).any() or not (query_task == 0).any(axis=1).all():
        raise InvalidScores(
            f"query_task: expected shape {(lifetimes, queries)} with sub-tasks 0..{rows - 2}, and 0 in every episode, "
            f"got shape {query_task.shape}: {_in_short(query_task)}"
        )
    changes = [_change(predictions[:, k], predictions[:, k + 1], query_task < k, labels) for k in range(1, rows - 1)]
    return np.stack(changes, axis=1) if changes else np.zeros((lifetimes, 0))


def _change(before: NDArray[Any], after: NDArray[Any], queries: NDArray[np.bool_], labels: bool) -> Array:
    """``(E, Q, B[, n])`` twice to ``(E,)``, over the queries marked ``(E, Q)``."""
    changed = 100.0 * (before != after) if labels else np.square(after.astype(np.float64) - before.astype(np.float64))
    # Every query step holds as many pairs, so the mean of their means is the mean over pairs.
    by_query = changed.mean(axis=tuple(range(2, changed.ndim)))
    return np.asarray(by_query.mean(axis=1, where=queries))


def _gains(name: str, r: ArrayLike, higher_is_better: bool) -> Array:
    """Scores of several sub-tasks, turned so that more is better."""
    scores = _matrix(name, r, 2)
    return scores if higher_is_better else -scores


def _matrix(name: str, r: ArrayLike, at_least: int) -> Array:
    scores = as_numbers("r", r, "E, K + 1, K")
    sub_tasks = scores.shape[2]
    if scores.shape[1] != sub_tasks + 1:
        raise InvalidScores(
            "r: expected scores of shape (E, K + 1, K), a row before all learning and one after each of K sub-tasks, "
            f"got {scores.shape}"
        )
    if sub_tasks < at_least:
        raise InvalidScores(f"{name} compares sub-tasks: expected scores of at least {at_least}, got {sub_tasks}")
    return scores


def _in_short(values: NDArray[Any]) -> str:
    return np.array2string(values, threshold=8, edgeitems=3).replace("\n", "")
