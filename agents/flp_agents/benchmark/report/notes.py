"""What a report must say beside its numbers: what is missing, what was left out, and what the numbers came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flp_agents.benchmark.report.leaderboard import Leaderboard, stamped
from flp_agents.benchmark.report.tables import seeds_in_words
from flp_agents.benchmark.results import CellResult
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import FEWEST

# Names that are listed one by one; of more, the number is given.
MOST_NAMED = 6
# Metrics that need sub-tasks one after another.


@dataclass(frozen=True)
class Fact:
    """Something that holds for all results, such as the machine: a heading, and what stands behind it."""

    heading: str
    text: str


def facts_of(results: Sequence[CellResult], leaderboards: Sequence[Leaderboard]) -> list[Fact]:
    """What was compared, when, on what, with which versions; as the results' stamps say it."""
    learners = {entry.name for leaderboard in leaderboards for entry in leaderboard.rows}
    seeds = sorted({result.cell.seed for result in results})
    episodes = sorted({result.cell.episodes for result in results})
    days = [moment[:10] for moment in stamped(results, "finished")]
    versions = sorted({key for result in results for key in result.stamp if key.startswith("version_")})
    return [
        Fact(
            "compared",
            f"{_counted(len(learners), 'learner')} in {_counted(len(leaderboards), 'setting')}, "
            f"{seeds_in_words(seeds)}, {' or '.join(map(str, episodes))} episodes each, "
            f"{_counted(len(results), 'cell')}",
        ),
        Fact("replicates", _replication(leaderboards)),
        Fact("when", " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not recorded"),
        Fact("machine", _all(results, "machine")),
        Fact(
            "versions",
            ", ".join(f"{key.removeprefix('version_').replace('_', '-')} {_all(results, key)}" for key in versions)
            or "not recorded",
        ),
        Fact("precision", _all(results, "precision")),
        Fact("command", _all(results, "command")),
    ]


def notes_of(results: Sequence[CellResult], leaderboards: Sequence[Leaderboard], left_out: Iterable[str]) -> list[str]:
    """A sentence for everything that is missing or must be known to read the numbers right."""
    notes = [f"Left out: {line}." for line in left_out]
    failed = [result for result in results if result.failure is not None]
    if failed:
        cells = "the only cell" if len(results) == 1 else f"{len(failed)} of {len(results)} cells"
        notes.append(f"Failed: {cells}. The reasons stand in the tables.")
    few = [entry for leaderboard in leaderboards for entry in leaderboard.ranked if entry.has_few_replicates]
    if few:
        numbers = dict.fromkeys(f"{entry.label} ({entry.replicates})" for entry in few)
        notes.append(
            f"Fewer than {FEWEST} networks or seeds: {_named(list(numbers))}. No interval over them is given, and the "
            "score of each is shown: whether other networks, meta-trained alike, or other seeds would do the same is "
            "hardly known. Errors and intervals are over episodes."
        )
    everybody = {entry.name: entry.label for leaderboard in leaderboards for entry in leaderboard.rows}
    for leaderboard in leaderboards:
        absent = [label for name, label in everybody.items() if name not in {s.name for s in leaderboard.rows}]
        notes += _notes_of_leaderboard(leaderboard, absent)
    unknown = sorted({name for result in results for name in result.scores if name not in METRICS})
    if unknown:
        notes.append(f"Left out are metrics that are not known here, as no plug-in registers them: {_named(unknown)}.")
    for key in sorted({key for result in results for key in result.stamp if key.startswith("version_")}):
        values = stamped(results, key)
        if len(values) > 1:
            notes.append(f"Results of different versions of {key.removeprefix('version_')}: {', '.join(values)}.")
    return notes


def _notes_of_leaderboard(leaderboard: Leaderboard, absent: Sequence[str]) -> list[str]:
    env, notes = leaderboard.setting.env, []
    if leaderboard.ranked and leaderboard.setting.episodes < FEWEST:
        notes.append(f"{env}: fewer than {FEWEST} episodes a seed, so no intervals over episodes either.")
    if not leaderboard.ranked:
        notes.append(f"{env}: every cell failed, so there is nothing to show but the reasons.")
    elif not any(METRICS[name].of_sub_tasks for name in leaderboard.metrics):
        of_sub_tasks = ", ".join(metric.title for metric in METRICS.values() if metric.of_sub_tasks)
        notes.append(f"{env}: its sub-tasks are mixed, so {of_sub_tasks} mean nothing there.")
    partial = [
        f"{entry.label} ({len(entry.seeds)} of {len(leaderboard.seeds)})"
        for entry in leaderboard.ranked
        if entry.seeds != leaderboard.seeds
    ]
    if partial:
        notes.append(f"{env}: results under some of the seeds only: {_named(partial)}.")
    elsewhere = [f"{s.label} ({s.tuned_elsewhere})" for s in leaderboard.rows if s.tuned_elsewhere]
    if elsewhere:
        notes.append(
            f"{env}: settings chosen elsewhere, so that these learners could do better here: {_named(elsewhere)}."
        )
    if absent:
        notes.append(f"{env}: no results of {_named(absent)}.")
    at_the_end = [entry.label for entry in leaderboard.ranked if "learning_area" not in entry.summaries]
    if at_the_end:
        notes.append(f"{env}: queried at the end only, so without a curve of it: {_named(at_the_end)}.")
    for entry in leaderboard.rows:
        if entry.incomplete:
            names = ", ".join(METRICS[name].title for name in entry.incomplete)
            notes.append(f"{env}: {entry.label} has no {names} in some episodes, so none is shown.")
    return notes


def _replication(leaderboards: Iterable[Leaderboard]) -> str:
    """``1 network of each of 3 learners, 5 seeds of each of 13``; too few for an interval if they are."""
    learners = {(entry.name, entry.replicates) for leaderboard in leaderboards for entry in leaderboard.ranked}
    numbers = Counter(replicates for _, replicates in sorted(learners))
    text = ", ".join(f"{replicates} of {_counted(number, 'learner')}" for replicates, number in numbers.items())
    few = any(entry.has_few_replicates for leaderboard in leaderboards for entry in leaderboard.ranked)
    return (f"{text}: fewer than {FEWEST} are shown one by one, without an interval" if few else text) or "none"


def _all(results: Iterable[CellResult], key: str) -> str:
    return "; ".join(stamped(results, key)) or "not recorded"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
