"""A benchmark's tables: as rows of data, and to be written for a paper or a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from flp_agents.benchmark.report.comparison import compare_with_best
from flp_agents.benchmark.report.formats import UNKNOWN, Entry, TextTable, plain
from flp_agents.benchmark.report.leaderboard import Leaderboard, LeaderboardRow, make_leaderboards
from flp_agents.benchmark.results import CellResult
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import FEWEST, Summary
from flp_base.machine_memory import readable

# What a table shows of the query score beside its mean; the other metrics have a table of their own.
QUERY = "query_score"
OVER_REPLICATES = "95 % over networks or seeds"
FEW = (
    f"Fewer than {FEWEST} networks or seeds: no interval over them, which would hold the true mean less often than it "
    "says."
)
IN_THESE_RUNS = "In these runs: with these networks and seeds; nothing is said about others."


def summary_rows(results: Iterable[CellResult]) -> list[dict[str, Any]]:
    """A row for each environment, learner and metric that is known; none for learners all of whose cells failed.

    Args:
        results: any, in any order.

    Returns:
        Rows with the keys ``env``, ``split``, ``env_options`` (JSON), ``learner``, ``title``, ``metric`` (a name in
        :data:`flp_agents.evaluation.lifetime_metrics.metric.METRICS`), ``unit`` ("mse" or "error_percent"),
        ``higher_is_better``, and ``replicate`` ("network" of a meta-trained learner, "seed" of any other), and the
        fields of :class:`flp_agents.evaluation.uncertainty.Summary`, intervals as two numbers, ``..._low`` and
        ``..._high``. A number that is not known is none.
    """
    return [
        {
            "env": leaderboard.setting.env,
            "split": leaderboard.setting.split,
            "env_options": leaderboard.setting.env_options,
            "learner": entry.name,
            "title": entry.label,
            "metric": metric,
            "unit": leaderboard.metric,
            "higher_is_better": METRICS[metric].higher_is_better,
            "replicate": entry.replicate,
            **_flat(summary),
        }
        for leaderboard in make_leaderboards(results)
        for entry in leaderboard.rows
        for metric, summary in entry.summaries.items()
    ]


def _flat(summary: Summary) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in asdict(summary).items():
        flat |= {f"{name}_low": value[0], f"{name}_high": value[1]} if name.startswith("interval_") else {name: value}
    return {
        key: list(value) if isinstance(value, tuple) else value if math.isfinite(value) else None
        for key, value in flat.items()
    }


def tables_of(leaderboard: Leaderboard) -> list[TextTable]:
    """The query score and what it cost, each replicate, the other metrics, and the comparison with the best learner."""
    made = [
        _score_table(leaderboard),
        _replicate_table(leaderboard),
        _metric_table(leaderboard),
        _comparison_table(leaderboard),
    ]
    return [table for table in made if table is not None and table.rows]


def seconds_of(entry: LeaderboardRow) -> float:
    """For an inner step of one lifetime, the mean over cells; NaN if it is not known."""
    known = [result.seconds for result in entry.results if math.isfinite(result.seconds)]
    return sum(known) / len(known) if known else math.nan


def state_bytes_of(entry: LeaderboardRow) -> int:
    """Of what changes within one lifetime, the most over cells."""
    return max((result.state_bytes for result in entry.results), default=0)


def failures_of(entry: LeaderboardRow) -> list[str]:
    """``seed 2 failed: out of memory``; one line for seeds that failed alike."""
    reasons: dict[str, list[int]] = {}
    for result in entry.failures:
        reasons.setdefault(result.failure or "", []).append(result.cell.seed)
    return [f"{seeds_in_words(seeds)} failed: {reason}" for reason, seeds in reasons.items()]


def seeds_in_words(seeds: Sequence[int]) -> str:
    """``seed 0`` or ``seeds 0, 1, 2``."""
    return f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}"


def caption_of(leaderboard: Leaderboard) -> str:
    """The setting in one line."""
    setting = leaderboard.setting
    options = "" if setting.env_options == "{}" else f", {setting.env_options}"
    episodes = f"{setting.episodes} episodes for each of {seeds_in_words(leaderboard.seeds)}"
    return f"{setting.env}{options}, {setting.split}, {episodes}"


def _score_table(leaderboard: Leaderboard) -> TextTable:
    rows = []
    for entry in leaderboard.rows:
        summary = entry.summaries.get(QUERY)
        if summary is None:
            rows.append((Entry(entry.label), *[Entry(UNKNOWN)] * 7))
            continue
        rows.append(
            (
                Entry(entry.label),
                _mean(leaderboard, entry, QUERY),
                Entry(interval=summary.interval_over_episodes),
                Entry(interval=summary.interval_over_replicates),
                Entry(entry.replicates),
                Entry(str(summary.episodes)),
                Entry(value=seconds_of(entry)),
                Entry(readable(state_bytes_of(entry))),
            )
        )
    headings = ("learner", "query score (s.e.)", "95 % over episodes", OVER_REPLICATES, "replicates", "episodes")
    notes = [f"{entry.label}: {line}." for entry in leaderboard.rows for line in failures_of(entry)]
    return TextTable(
        f"{caption_of(leaderboard)}: {leaderboard.unit or 'no scores'} on the query, standard error over episodes.",
        (*headings, "seconds an inner step", "state"),
        tuple(rows),
        tuple(notes),
    )


def _replicate_table(leaderboard: Leaderboard) -> TextTable:
    rows = [
        (
            Entry(entry.label),
            Entry(entry.replicates),
            Entry("; ".join(map(plain, summary.means))),
            Entry(value=summary.deviation_between_replicates),
            Entry(value=summary.deviation_between_episodes),
        )
        for entry in leaderboard.ranked
        for summary in [entry.summaries[QUERY]]
    ]
    return TextTable(
        f"{caption_of(leaderboard)}: query score of each network or seed, {leaderboard.unit}.",
        ("learner", "replicates", "mean of each", "s.d. between replicates", "s.d. between episodes"),
        tuple(rows),
        (
            "Between replicates: without what differs between their episodes.",
            *([FEW] if any(entry.has_few_replicates for entry in leaderboard.ranked) else []),
        ),
    )


def _metric_table(leaderboard: Leaderboard) -> TextTable | None:
    metrics = [name for name in leaderboard.metrics if name != QUERY]
    if not metrics:
        return None
    rows = [
        (Entry(entry.label), *(_mean(leaderboard, entry, name) for name in metrics)) for entry in leaderboard.ranked
    ]
    return TextTable(
        f"{caption_of(leaderboard)}: over the lifetime, {leaderboard.unit}, standard errors over episodes.",
        ("learner", *(METRICS[name].title for name in metrics)),
        tuple(rows),
        ("Transfer: more is better; everything else: less is better.",),
    )


def _comparison_table(leaderboard: Leaderboard) -> TextTable | None:
    if leaderboard.best is None:
        return None
    rows = [
        (
            Entry(pair.entry.label),
            Entry(value=pair.over_episodes.mean_difference, error=pair.over_episodes.standard_error),
            Entry(interval=pair.over_episodes.interval),
            Entry(interval=pair.over_replicates),
            Entry(plain(100 * pair.over_episodes.share_better)),
            Entry(str(pair.over_episodes.episodes)),
            Entry(pair.verdict),
        )
        for pair in compare_with_best(leaderboard)
    ]
    return TextTable(
        f"{caption_of(leaderboard)}: query score minus that of {leaderboard.best.label}, on the same episodes.",
        (
            "learner",
            "difference (s.e.)",
            "95 % over episodes",
            OVER_REPLICATES,
            "better on % of episodes",
            "episodes",
            "verdict",
        ),
        tuple(rows),
        (IN_THESE_RUNS,) if any(row[-1].text and "these runs" in row[-1].text for row in rows) else (),
    )


def _mean(leaderboard: Leaderboard, entry: LeaderboardRow, name: str) -> Entry:
    summary = entry.summaries.get(name)
    if summary is None:
        return Entry(UNKNOWN)
    best = summary.mean == leaderboard.best_mean(name)
    return Entry(value=summary.mean, error=summary.standard_error_over_episodes, best=best)
