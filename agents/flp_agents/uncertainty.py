"""How sure a mean score is: standard errors and bootstrap intervals, over networks and over episodes.

Two questions, kept apart. *Over networks*: would other networks, meta-trained alike from other seeds, score the same?
*Over episodes*: would these very networks score the same on other episodes? A small error over episodes says nothing
about other networks.

Intervals are bootstrap percentile intervals at 95 %. Source: Efron & Tibshirani (1993), "An introduction to the
bootstrap", chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flp_agents.metrics import InvalidScores, as_numbers
from flp_datasets.errors import check_at_least

CONFIDENCE = 0.95
RESAMPLES = 10_000
# Numbers drawn at a time: a resample of 1,000 episodes ten thousand times would be 10 million indices at once.
DRAWS_AT_ONCE = 1 << 16

Scores = Sequence[float] | NDArray[Any]
Interval = tuple[float, float]
UNKNOWN: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Summary:
    """A mean score, and how sure it is; all in the scores' own unit.

    Attributes:
        mean: of the networks' means, each of which counts the same however many episodes it lived through.
        networks: how many.
        episodes: lifetimes of all networks together.
        standard_error_over_networks: of the mean, from how much the networks' means differ; NaN for one network.
        interval_over_networks: lower and upper end, from resampled network means; NaN for one network. With few
            networks it is too narrow (docs/metrics.md says how much).
        standard_error_over_episodes: of the mean, with these networks; NaN if one of them has a single episode.
        interval_over_episodes: lower and upper end, from resampled episodes, with these networks; NaN if one of them
            has a single episode.
    """

    mean: float
    networks: int
    episodes: int
    standard_error_over_networks: float
    interval_over_networks: Interval
    standard_error_over_episodes: float
    interval_over_episodes: Interval


@dataclass(frozen=True)
class Comparison:
    """Two learners, a and b, on the same episodes; all but the share in the scores' own unit.

    Attributes:
        episodes: how many.
        mean_difference: of a's score minus b's.
        standard_error: of that mean, over episodes; NaN for a single one.
        interval: lower and upper end, from resampled episodes; NaN for a single one.
        share_better: of episodes, in [0, 1], on which a is better; a tie counts half.
    """

    episodes: int
    mean_difference: float
    standard_error: float
    interval: Interval
    share_better: float


def summarize(
    scores_by_network: Mapping[str, Scores],
    seed: int = 0,
    *,
    same_episodes: bool = False,
    resamples: int = RESAMPLES,
) -> Summary:
    """Mean, standard error and interval of one learner's score, over networks and over episodes.

    Args:
        scores_by_network: for each network, by a name, its scores, one for each episode. A learner that is not
            meta-trained has one "network" for each seed that it was drawn with.
        seed: of the bootstrap: the same seed gives the same intervals, in whatever order the networks come.
        same_episodes: whether all networks lived through the same episodes, in the same order. Their scores then share
            what makes an episode hard, so whole episodes are resampled, not each network's own; else the error over
            episodes would come out too small.
        resamples: of the bootstrap.

    Returns:
        See :class:`Summary`.

    Raises:
        InvalidScores: if there is no network, or one without scores, or a score that is not finite, or if networks on
            the same episodes have unequal numbers of them.
        InvalidSize: for less than one resample.
    """
    check_at_least("resamples", resamples, 1)
    if not scores_by_network:
        raise InvalidScores("expected scores of at least one network, got none")
    scores = [_finite(f"network {name}", scores_by_network[name]) for name in sorted(scores_by_network)]
    if same_episodes and len({len(part) for part in scores}) > 1:
        raise InvalidScores(
            f"expected as many scores of every network, all on the same episodes, got {sorted(map(len, scores))}"
        )
    means = np.array([part.mean() for part in scores])
    strata = [np.mean(scores, axis=0)] if same_episodes else scores
    rng = np.random.default_rng(seed)
    return Summary(
        mean=float(means.mean()),
        networks=len(means),
        episodes=sum(len(part) for part in scores),
        standard_error_over_networks=standard_error(means),
        interval_over_networks=_interval([means], resamples, rng),
        # Means of independent samples: their variances add up.
        standard_error_over_episodes=float(np.linalg.norm([standard_error(part) for part in strata]) / len(strata)),
        interval_over_episodes=_interval(strata, resamples, rng),
    )


def compare(
    a: Scores, b: Scores, *, higher_is_better: bool = False, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Two learners on the same episodes: how much they differ there, and how sure that is.

    Pairing is right where ``a[i]`` and ``b[i]`` are scores on the same episode: one environment with the same options
    and split, the same seed, the same order. What makes an episode hard for both then cancels, and the error of the
    difference is often far below those of the two means. Scores on different episodes must not be paired. And whatever
    comes out holds for these two networks: whether other networks, meta-trained alike, would differ too is a question
    for :func:`summarize`.

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
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def _interval(strata: Sequence[NDArray[np.float64]], resamples: int, rng: np.random.Generator) -> Interval:
    """Of the mean of the strata's means, each stratum resampled by itself; unknown if one has a single value."""
    if any(len(part) < 2 for part in strata):
        return UNKNOWN
    means = np.mean([_resampled_means(part, resamples, rng) for part in strata], axis=0)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


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
