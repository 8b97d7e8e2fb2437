"""Every learner of a leaderboard against the best one, in pairs of episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flp_agents.benchmark.report.leaderboard import Leaderboard, LeaderboardRow
from flp_agents.evaluation.uncertainty import (
    Comparison,
    Interval,
    compare,
    student_interval,
)


@dataclass(frozen=True, eq=False)
class Pair:
    """A learner against the best one, on the episodes that both ran through.

    Attributes:
        entry: the learner.
        over_episodes: its score minus the best one's, with these networks and seeds.
        differences: the same of each replicate: of episodes that share neither a network nor a seed with others.
        over_replicates: lower and upper end of the mean of those; NaN for fewer than
            :data:`~flp_agents.evaluation.uncertainty.FEWEST`.
    """

    entry: LeaderboardRow
    over_episodes: Comparison
    differences: tuple[float, ...]
    over_replicates: Interval

    @property
    def verdict(self) -> str:
        """What the differences say: of learners where there are replicates enough, else of these runs only."""
        if not math.isnan(self.over_replicates[0]):
            return verdict_of(self.over_replicates)
        verdict = verdict_of(self.over_episodes.interval)
        return verdict if verdict == NOT_KNOWN else f"{verdict} in these runs"


NOT_KNOWN = "not known"


def verdict_of(interval: Interval) -> str:
    """What an interval of a difference of losses says."""
    low, high = interval
    if math.isnan(low):
        return NOT_KNOWN
    return "worse" if low > 0 else "better" if high < 0 else "no clear difference"


def compare_with_best(leaderboard: Leaderboard) -> list[Pair]:
    """Every other learner against the best one, on the episodes of both, in the order of the leaderboard."""
    best = leaderboard.best
    pairs = []
    for entry in leaderboard.ranked:
        if best is None or entry is best:
            continue
        both = sorted(set(entry.seeds) & set(best.seeds))
        if both:
            scores, of_best = (_scores_of(learner, both) for learner in (entry, best))
            differences = [
                float(np.subtract(_scores_of(entry, seeds), _scores_of(best, seeds)).mean())
                for seeds in _independent(entry, best, both)
            ]
            over_replicates = student_interval(np.array(differences))
            pairs.append(Pair(entry, compare(scores, of_best), tuple(differences), over_replicates))
    return pairs


def _independent(a: LeaderboardRow, b: LeaderboardRow, seeds: Sequence[int]) -> list[list[int]]:
    """Seeds in groups that share no network of either learner; one group where one network served all seeds."""
    groups: list[tuple[set[tuple[str, str]], list[int]]] = []
    for seed in seeds:
        used = {(which, s.network_of(seed)) for which, s in (("a", a), ("b", b))}
        joined = [group for group in groups if group[0] & used]
        groups = [group for group in groups if not group[0] & used]
        groups.append((used.union(*(group[0] for group in joined)), [*(s for group in joined for s in group[1]), seed]))
    return [sorted(of_group) for _, of_group in groups]


def _scores_of(entry: LeaderboardRow, seeds: Sequence[int]) -> list[float]:
    by_seed = {result.cell.seed: result.scores["query_score"] for result in entry.results}
    return [score for seed in seeds for score in by_seed[seed]]
