"""What a benchmark's results come to: in each setting its learners, best first, with how sure their scores are."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TypeVar

import numpy as np

from flp_agents.benchmark.entries import is_built_in
from flp_agents.benchmark.results import CellResult
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import (
    FEWEST,
    Summary,
    summarize,
)

GroupKey = TypeVar("GroupKey")
# What scores are measured in.
UNITS = {"mse": "mean squared error", "error_percent": "per cent of wrong answers"}
SHORT_HASH = 8


@dataclass(frozen=True, order=True)
class Setting:
    """What makes scores comparable: the same episodes, seed by seed.

    Attributes:
        env: id.
        split: whose episodes.
        env_options: keyword arguments of the environment, as JSON.
        episodes: lifetimes under each seed.
    """

    env: str
    split: str
    env_options: str
    episodes: int


@dataclass(frozen=True, eq=False)
class LeaderboardRow:
    """One learner in one setting.

    Attributes:
        name: what it was called by, without folders; no other learner of the results has it.
        label: as tables show it, such as "FLP (2)"; no other learner of the results has it.
        results: of the cells that came off, by seed.
        failures: of those that did not, by seed.
        summaries: for each name in :data:`flp_agents.evaluation.lifetime_metrics.metric.METRICS` that is known for
            every episode.
        incomplete: metrics that are known for some episodes only, and so not summarised.
        own: whether somebody brought it, by a plug-in or as a checkpoint's folder: it is what a reader looks for first.
    """

    name: str
    label: str
    results: tuple[CellResult, ...]
    failures: tuple[CellResult, ...]
    summaries: Mapping[str, Summary] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()
    own: bool = False

    @property
    def score(self) -> float:
        """Mean query score; infinite without one, so that it comes last."""
        known = self.summaries.get("query_score")
        return known.mean if known else float("inf")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the cells that came off."""
        return tuple(result.cell.seed for result in self.results)

    def network_of(self, seed: int) -> str:
        """What tells the network, or the learner, that ran under a seed from another."""
        return next(result.network for result in self.results if result.cell.seed == seed)

    @property
    def by_replicate(self) -> dict[str, list[CellResult]]:
        """The cells that came off, by what tells one network, or one seed's learner, from another."""
        return _grouped(self.results, lambda result: result.network)

    @property
    def replicate(self) -> str:
        """What there are several of: a "network" of a meta-trained learner, a "seed" of any other."""
        return "network" if self.stamped("meta_trained_on") else "seed"

    @property
    def replicates(self) -> str:
        """``1 network`` or ``3 seeds``."""
        number = len(self.by_replicate)
        return f"{number} {self.replicate}{'' if number == 1 else 's'}"

    @property
    def has_few_replicates(self) -> bool:
        """Whether there are too few for an interval over them."""
        return len(self.by_replicate) < FEWEST

    @property
    def tuned_elsewhere(self) -> str:
        """Where its numbers were chosen, if not in this setting; empty if they were, or if there are none."""
        if not self.results:
            return ""
        cell = self.results[0].cell
        env = cell.env.rpartition(":")[2].removesuffix("-v0")
        elsewhere = [tuned_on for tuned_on in self.stamped("tuned_on") if tuned_on != env]
        return ", ".join(elsewhere) or (f"{env} as it is" if self.stamped("tuned_on") and cell.env_options else "")

    def stamped(self, key: str) -> list[str]:
        """Different values of one entry of the stamps, sorted, without empty ones."""
        return stamped(self.results or self.failures, key)


@dataclass(frozen=True)
class Leaderboard:
    """One setting and all learners that were tried in it.

    Attributes:
        setting: which.
        metric: of its scores, "mse" or "error_percent"; empty if every cell failed.
        seeds: that at least one learner was tried with.
        rows: best query score first, those without any last.
    """

    setting: Setting
    metric: str
    seeds: tuple[int, ...]
    rows: tuple[LeaderboardRow, ...]

    @property
    def unit(self) -> str:
        """Of its scores, in words."""
        return UNITS.get(self.metric, self.metric)

    @property
    def ranked(self) -> tuple[LeaderboardRow, ...]:
        """Those with a query score, best first."""
        return tuple(entry for entry in self.rows if "query_score" in entry.summaries)

    @property
    def shown_first(self) -> tuple[LeaderboardRow, ...]:
        """Those with a query score, what somebody brought before what is built in, best first."""
        return tuple(sorted(self.ranked, key=lambda entry: not entry.own))

    @property
    def best(self) -> LeaderboardRow | None:
        """The best of those that came off under every seed; failing that, the best."""
        whole = [entry for entry in self.ranked if entry.seeds == self.seeds]
        return next(iter(whole or self.ranked), None)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is known of at least one learner, in the order of :data:`METRICS`."""
        return tuple(name for name in METRICS if any(name in entry.summaries for entry in self.rows))

    def best_mean(self, name: str) -> float:
        """The best mean of a metric over learners; NaN where all are alike, and so none stands out."""
        means = {entry.summaries[name].mean for entry in self.rows if name in entry.summaries}
        return (max if METRICS[name].higher_is_better else min)(means) if len(means) > 1 else float("nan")


def make_leaderboards(results: Iterable[CellResult]) -> list[Leaderboard]:
    """All settings that results are of, by environment.

    A learner is known by its name. If one name stands for different weights under one seed, as after a checkpoint was
    meta-trained again in the same folder, each of them is a learner of its own.
    """
    results = sorted(results, key=lambda result: (result.cell.env, result.cell.learner, result.cell.seed))
    replaced = _replaced_names(results)
    by_key = _grouped(results, lambda result: _key(result, replaced))
    names = _distinct(
        {key: _short(of_key) for key, of_key in by_key.items()},
        {key: of_key[0].cell.checkpoint[:SHORT_HASH] for key, of_key in by_key.items()},
    )
    titles = {key: _title(of_key) or names[key] for key, of_key in by_key.items()}
    labels = _distinct(titles, names)
    leaderboards = []
    for setting, of_setting in sorted(_grouped(results, setting_of).items()):
        entries = [
            _row_of(names[key], labels[key], of_learner)
            for key, of_learner in _grouped(of_setting, lambda result: _key(result, replaced)).items()
        ]
        metric = next((result.metric for result in of_setting if result.metric), "")
        seeds = tuple(sorted({result.cell.seed for result in of_setting}))
        leaderboards.append(
            Leaderboard(setting, metric, seeds, tuple(sorted(entries, key=lambda s: (s.score, s.label))))
        )
    return leaderboards


def overall_order(leaderboards: Iterable[Leaderboard]) -> list[str]:
    """Names of all learners, by their mean place over settings, the best ones first, those without a score last; what
    somebody brought before what is built in, so that it is drawn in the most distinct colours."""
    places: dict[str, list[float]] = defaultdict(list)
    own: dict[str, bool] = {}
    for leaderboard in leaderboards:
        for place, entry in enumerate(leaderboard.rows):
            places[entry.name].append(place if entry.results else float("inf"))
            own[entry.name] = own.get(entry.name, False) or (entry.own and bool(entry.results))
    return sorted(places, key=lambda name: (not own[name], float(np.mean(places[name])), name))


def setting_of(result: CellResult) -> Setting:
    """In which setting a result was measured."""
    cell = result.cell
    return Setting(cell.env, cell.split, json.dumps(dict(cell.env_options), sort_keys=True), cell.episodes)


def stamped(results: Iterable[CellResult], key: str) -> list[str]:
    """Different values of one entry of results' stamps, sorted, without empty ones."""
    return sorted({str(result.stamp[key]) for result in results if result.stamp.get(key) not in (None, "")})


_Key = tuple[str, str]


def _key(result: CellResult, replaced: set[str]) -> _Key:
    cell = result.cell
    return cell.learner, cell.checkpoint if cell.learner in replaced else ""


def _replaced_names(results: Iterable[CellResult]) -> set[str]:
    """Learners whose weights changed between cells that are otherwise the same."""
    weights = defaultdict(set)
    for result in results:
        weights[result.cell.learner, setting_of(result), result.cell.seed].add(result.cell.checkpoint)
    return {learner for (learner, _, _), different in weights.items() if len(different) > 1}


def _row_of(name: str, label: str, results: Sequence[CellResult]) -> LeaderboardRow:
    came_off = tuple(result for result in results if result.failure is None)
    summaries, incomplete = {}, []
    for metric in METRICS:
        scores: dict[str, list[float]] = defaultdict(list)
        for result in came_off:
            scores[result.network].extend(result.scores.get(metric) or ())
        values = np.array([value for part in scores.values() for value in part], dtype=np.float64)
        if not np.isfinite(values).any():
            continue
        if np.isfinite(values).all() and all(result.scores.get(metric) for result in came_off):
            summaries[metric] = summarize(scores)
        else:
            incomplete.append(metric)
    failures = tuple(result for result in results if result.failure is not None)
    own = not is_built_in(results[0].cell.learner)
    return LeaderboardRow(name, label, came_off, failures, summaries, tuple(incomplete), own)


def _title(results: Iterable[CellResult]) -> str:
    """What a learner's results call it: a failed cell does not know more than its name."""
    return next((result.title for result in results if result.failure is None and result.title), "")


def _short(results: Iterable[CellResult]) -> str:
    """A learner's name; a checkpoint's without the folders that it lies in, which are nobody else's business."""
    cell = next(iter(results)).cell
    return (PurePath(cell.learner).name if cell.checkpoint else "") or cell.learner


def _distinct(names: Mapping[_Key, str], details: Mapping[_Key, str]) -> dict[_Key, str]:
    """The same names, with a detail or a number behind those that several share."""
    with_details = {
        key: f"{name} · {details[key]}"
        if list(names.values()).count(name) > 1 and details[key] not in ("", name)
        else name
        for key, name in names.items()
    }
    distinct: dict[_Key, str] = {}
    for key, name in with_details.items():
        numbered = (f"{name} · {number}" for number in itertools.count(2))
        distinct[key] = next(n for n in itertools.chain([name], numbered) if n not in distinct.values())
    return distinct


def _grouped(results: Iterable[CellResult], key: Callable[[CellResult], GroupKey]) -> dict[GroupKey, list[CellResult]]:
    groups: dict[GroupKey, list[CellResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups
