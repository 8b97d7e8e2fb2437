"""How sure a mean score is: standard errors and intervals, over replicates and over episodes.

Two questions, kept apart. *Over replicates*: would other networks, meta-trained alike, score the same, or a learner
that is not meta-trained under other seeds? *Over episodes*: would these very networks, or these seeds' learners, score
the same on other episodes? A small error over episodes says nothing about other replicates.

All intervals are at 95 %. Over replicates, of which there are few, they are Student's; over episodes, whose scores are
lopsided, bootstrap percentile intervals, widened as Student's are. Of fewer than :data:`FEWEST` values there is no
interval: it would hold the true mean far less often than it says (docs/metrics.md says how often each does).
Sources: Efron & Tibshirani (1993), "An introduction to the bootstrap", chapter 13; Hesterberg (2015), "What teachers
should know about the bootstrap", The American Statistician 69, for the widening.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flp_agents.evaluation.metrics import InvalidScores, as_numbers
from flp_base.errors import check_at_least

CONFIDENCE = 0.95
# Replicates, or episodes, below which no interval is given.
FEWEST = 5
RESAMPLES = 10_000
# Numbers drawn at a time: a resample of 1,000 episodes ten thousand times would be 10 million indices at once.
DRAWS_AT_ONCE = 1 << 16

Scores = Sequence[float] | NDArray[Any]
Interval = tuple[float, float]
UNKNOWN: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Summary:
    """A mean score, and how sure it is; all in the scores' own unit.

    A replicate is a network of a meta-trained learner, and a seed of any other. Its own mean is of finitely many
    episodes, so the error over replicates holds both what differs between them and what differs between episodes; the
    two deviations take them apart.

    Attributes:
        mean: of the replicates' means, each of which counts the same however many episodes it ran through.
        replicates: how many.
        episodes: lifetimes of all replicates together.
        means: of each replicate, in the order of their names.
        standard_error_over_replicates: of the mean, from how much the replicates' means differ; NaN for one.
        interval_over_replicates: lower and upper end; NaN for fewer than :data:`FEWEST` replicates.
        standard_error_over_episodes: of the mean, with these replicates; NaN if one of them has a single episode.
        interval_over_episodes: lower and upper end, from resampled episodes, with these replicates; NaN if one of them
            has fewer than :data:`FEWEST` episodes.
        deviation_between_replicates: standard deviation of what replicates would score on endlessly many episodes; an
            estimate, 0 where their means differ no more than episodes explain, and NaN for one replicate or a single
            episode.
        deviation_between_episodes: standard deviation of the scores of one replicate; NaN for a single episode.
    """

    mean: float
    replicates: int
    episodes: int
    means: tuple[float, ...]
    standard_error_over_replicates: float
    interval_over_replicates: Interval
    standard_error_over_episodes: float
    interval_over_episodes: Interval
    deviation_between_replicates: float
    deviation_between_episodes: float


@dataclass(frozen=True)
class Comparison:
    """Two learners, a and b, on the same episodes; all but the share in the scores' own unit.

    Attributes:
        episodes: how many.
        mean_difference: of a's score minus b's.
        standard_error: of that mean, over episodes; NaN for a single one.
        interval: lower and upper end, from resampled episodes; NaN for fewer than :data:`FEWEST`.
        share_better: of episodes, in [0, 1], on which a is better; a tie counts half.
    """

    episodes: int
    mean_difference: float
    standard_error: float
    interval: Interval
    share_better: float


def summarize(
    scores_by_replicate: Mapping[str, Scores],
    seed: int = 0,
    *,
    same_episodes: bool = False,
    resamples: int = RESAMPLES,
) -> Summary:
    """Mean, standard errors and intervals of one learner's score, over replicates and over episodes.

    Args:
        scores_by_replicate: for each replicate, by a name, its scores, one for each episode. A replicate is a network,
            or a seed of a learner that is not meta-trained.
        seed: of the bootstrap: the same seed gives the same intervals, in whatever order the replicates come.
        same_episodes: whether all replicates ran through the same episodes, in the same order. Their scores then
            share what makes an episode hard, so whole episodes are resampled, not each replicate's own; else the error
            over episodes would come out too small.
        resamples: of the bootstrap.

    Returns:
        See :class:`Summary`.

    Raises:
        InvalidScores: if there is no replicate, or one without scores, or a score that is not finite, or if replicates
            on the same episodes have unequal numbers of them.
        InvalidSize: for less than one resample.
    """
    check_at_least("resamples", resamples, 1)
    if not scores_by_replicate:
        raise InvalidScores("expected scores of at least one network or seed, got none")
    scores = [_finite(name, scores_by_replicate[name]) for name in sorted(scores_by_replicate)]
    if same_episodes and len({len(part) for part in scores}) > 1:
        raise InvalidScores(
            f"expected as many scores of every network, all on the same episodes, got {sorted(map(len, scores))}"
        )
    means = np.array([part.mean() for part in scores])
    strata = [np.mean(scores, axis=0)] if same_episodes else scores
    rng = np.random.default_rng(seed)
    return Summary(
        mean=float(means.mean()),
        replicates=len(means),
        episodes=sum(len(part) for part in scores),
        means=tuple(means.tolist()),
        standard_error_over_replicates=standard_error(means),
        interval_over_replicates=student_interval(means),
        # Means of independent samples: their variances add up.
        standard_error_over_episodes=float(np.linalg.norm([standard_error(part) for part in strata]) / len(strata)),
        interval_over_episodes=_interval(strata, resamples, rng),
        deviation_between_replicates=_deviation_between(scores, same_episodes),
        deviation_between_episodes=_root_mean([_variance(part) for part in scores]),
    )


def compare(
    a: Scores, b: Scores, *, higher_is_better: bool = False, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Two learners on the same episodes: how much they differ there, and how sure that is.

    Pairing is right where ``a[i]`` and ``b[i]`` are scores on the same episode: one environment with the same options
    and split, the same seed, the same order. What makes an episode hard for both then cancels, and the error of the
    difference is often far below those of the two means. Scores on different episodes must not be paired. And whatever
    comes out holds for these two networks: whether other networks, meta-trained alike, would differ too is a question
    for :func:`student_interval` of the differences between several pairs of them.

    Args:
        a: one learner's scores, one for each episode.
        b: the other's, of the same episodes in the same order.
        higher_is_better: whether they are accuracies; this decides the share only.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        See :class:`Comparison`.

    Raises:
        InvalidScores: if their numbers differ, if there is none, or for a score that is not finite.
        InvalidSize: for less than one resample.
    """
    check_at_least("resamples", resamples, 1)
    first, second = _finite("a", a), _finite("b", b)
    if len(first) != len(second):
        raise InvalidScores(
            f"expected scores of two learners on the same episodes, got {len(first)} and {len(second)}: "
            "evaluate both with the same environment, seed and number of episodes"
        )
    difference = first - second
    better = first > second if higher_is_better else first < second
    return Comparison(
        episodes=len(difference),
        mean_difference=float(difference.mean()),
        standard_error=standard_error(difference),
        interval=_interval([difference], resamples, np.random.default_rng(seed)),
        share_better=float((better + 0.5 * (first == second)).mean()),
    )


def standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean of independent values ``(n,)``, ``s / sqrt(n)``; NaN for a single one, of which nothing is known."""
    return float((_variance(values) / len(values)) ** 0.5)


def student_interval(values: NDArray[np.float64]) -> Interval:
    """Of the mean of independent values ``(n,)``; unknown for fewer than :data:`FEWEST`."""
    if len(values) < FEWEST:
        return UNKNOWN
    half = student_quantile(len(values) - 1) * standard_error(values)
    return float(values.mean() - half), float(values.mean() + half)


@cache
def student_quantile(freedom: int) -> float:
    """Within how many standard errors of its mean Student's t lies with the probability :data:`CONFIDENCE`.

    Source: Abramowitz & Stegun (1964), 26.7.3 and 26.7.4, for the probability, which is bisected here.
    """

    def probability(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        odd = freedom % 2
        term = total = 0.0 if freedom == 1 else math.cos(angle) if odd else 1.0
        for k in range(2 + odd, freedom, 2):
            term *= (k - 1) / k * math.cos(angle) ** 2
            total += term
        inside = math.sin(angle) * total
        return 2 / math.pi * (angle + inside) if odd else inside

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < CONFIDENCE else (low, middle)
    return middle


def _interval(strata: Sequence[NDArray[np.float64]], resamples: int, rng: np.random.Generator) -> Interval:
    """Of the mean of the strata's means, each stratum resampled by itself; unknown if one has too few values.

    The percentiles are those at which a resampled mean of normal values would end where Student's interval does.
    """
    if any(len(part) < FEWEST for part in strata):
        return UNKNOWN
    means = np.mean([_resampled_means(part, resamples, rng) for part in strata], axis=0)
    sizes = np.array([len(part) for part in strata])
    variances = np.array([_variance(part) for part in strata]) / sizes
    if not variances.any():
        return float(means.min()), float(means.max())
    # Welch & Satterthwaite's degrees of freedom. A resampled mean varies by (n - 1)/n as much as the mean itself.
    freedom = round(math.floor(variances.sum() ** 2 / (variances**2 / (sizes - 1)).sum() + 1e-9))
    narrower = math.sqrt(variances.sum() / (variances * (sizes - 1) / sizes).sum())
    below = NormalDist().cdf(-narrower * student_quantile(freedom))
    low, high = np.quantile(means, [below, 1 - below])
    return float(low), float(high)


def _deviation_between(scores: Sequence[NDArray[np.float64]], same_episodes: bool) -> float:
    """What replicates' means differ by beyond what their episodes explain: the variance component's root.

    Where the episodes are the same, only what an episode does to one replicate and not to the others counts as theirs
    (a two-way layout without replication); where each has its own, all that differs within it (a nested one).
    """
    if len(scores) < 2 or any(len(part) < 2 for part in scores):
        return float("nan")
    means = np.array([part.mean() for part in scores])
    if same_episodes:
        residual = np.array(scores) - means[:, None] - np.mean(scores, axis=0) + means.mean()
        freedom = (len(scores) - 1) * (residual.shape[1] - 1)
        of_episodes = (residual**2).sum() / freedom / residual.shape[1]
    else:
        of_episodes = np.mean([_variance(part) / len(part) for part in scores])
    return float(max(0.0, _variance(means) - of_episodes) ** 0.5)


def _variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else float("nan")


def _root_mean(variances: Sequence[float]) -> float:
    return float(np.mean(variances) ** 0.5)


def _resampled_means(values: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of samples with replacement, ``(resamples,)``."""
    count = len(values)
    at_once = max(1, DRAWS_AT_ONCE // count)
    sizes = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    return np.concatenate([values[rng.integers(count, size=(size, count))].mean(axis=1) for size in sizes])


def _finite(name: str, values: Scores) -> NDArray[np.float64]:
    scores = as_numbers(name, values, "E")
    if not len(scores):
        raise InvalidScores(f"{name}: expected scores of at least one episode, got none")
    if not np.isfinite(scores).all():
        first = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InvalidScores(f"{name}: expected finite scores, got {scores[first]} for episode {first}")
    return scores
