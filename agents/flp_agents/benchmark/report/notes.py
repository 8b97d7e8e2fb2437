"""What a report must say beside its numbers: what is missing, what was left out, and what the numbers came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flp_agents.benchmark.report.leaderboard import Board, stamped
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


def facts_of(results: Sequence[CellResult], boards: Sequence[Board]) -> list[Fact]:
    """What was compared, when, on what, with which versions; as the results' stamps say it."""
    learners = {standing.name for board in boards for standing in board.standings}
    seeds = sorted({result.cell.seed for result in results})
    episodes = sorted({result.cell.episodes for result in results})
    days = [moment[:10] for moment in stamped(results, "finished")]
    versions = sorted({key for result in results for key in result.stamp if key.startswith("version_")})
    return [
        Fact(
            "compared",
            f"{_counted(len(learners), 'learner')} in {_counted(len(boards), 'setting')}, {seeds_in_words(seeds)}, "
            f"{' or '.join(map(str, episodes))} episodes each, {_counted(len(results), 'cell')}",
        ),
        Fact("replicates", _replication(boards)),
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


def notes_of(results: Sequence[CellResult], boards: Sequence[Board], left_out: Iterable[str]) -> list[str]:
    """A sentence for everything that is missing or must be known to read the numbers right."""
    notes = [f"Left out: {line}." for line in left_out]
    failed = [result for result in results if result.failure is not None]
    if failed:
        cells = "the only cell" if len(results) == 1 else f"{len(failed)} of {len(results)} cells"
        notes.append(f"Failed: {cells}. The reasons stand in the tables.")
    few = [standing for board in boards for standing in board.ranked if standing.has_few_replicates]
    if few:
        numbers = dict.fromkeys(f"{standing.label} ({standing.replicates})" for standing in few)
        notes.append(
            f"Fewer than {FEWEST} networks or seeds: {_named(list(numbers))}. No interval over them is given, and the "
            "score of each is shown: whether other networks, meta-trained alike, or other seeds would do the same is "
            "hardly known. Errors and intervals are over episodes."
        )
    everybody = {standing.name: standing.label for board in boards for standing in board.standings}
    for board in boards:
        absent = [label for name, label in everybody.items() if name not in {s.name for s in board.standings}]
        notes += _notes_of_board(board, absent)
    unknown = sorted({name for result in results for name in result.scores if name not in METRICS})
    if unknown:
        notes.append(f"Left out are metrics that are not known here, as no plug-in registers them: {_named(unknown)}.")
    for key in sorted({key for result in results for key in result.stamp if key.startswith("version_")}):
        values = stamped(results, key)
        if len(values) > 1:
            notes.append(f"Results of different versions of {key.removeprefix('version_')}: {', '.join(values)}.")
    return notes


def _notes_of_board(board: Board, absent: Sequence[str]) -> list[str]:
    env, notes = board.setting.env, []
    if board.ranked and board.setting.episodes < FEWEST:
        notes.append(f"{env}: fewer than {FEWEST} episodes a seed, so no intervals over episodes either.")
    if not board.ranked:
        notes.append(f"{env}: every cell failed, so there is nothing to show but the reasons.")
    elif not any(METRICS[name].of_sub_tasks for name in board.metrics):
        of_sub_tasks = ", ".join(metric.title for metric in METRICS.values() if metric.of_sub_tasks)
        notes.append(f"{env}: its sub-tasks are mixed, so {of_sub_tasks} mean nothing there.")
    partial = [
        f"{standing.label} ({len(standing.seeds)} of {len(board.seeds)})"
        for standing in board.ranked
        if standing.seeds != board.seeds
    ]
    if partial:
        notes.append(f"{env}: results under some of the seeds only: {_named(partial)}.")
    elsewhere = [f"{s.label} ({s.tuned_elsewhere})" for s in board.standings if s.tuned_elsewhere]
    if elsewhere:
        notes.append(
            f"{env}: settings chosen elsewhere, so that these learners could do better here: {_named(elsewhere)}."
        )
    if absent:
        notes.append(f"{env}: no results of {_named(absent)}.")
    at_the_end = [standing.label for standing in board.ranked if "learning_area" not in standing.summaries]
    if at_the_end:
        notes.append(f"{env}: asked the query at the end only, so without a curve of it: {_named(at_the_end)}.")
    for standing in board.standings:
        if standing.incomplete:
            names = ", ".join(METRICS[name].title for name in standing.incomplete)
            notes.append(f"{env}: {standing.label} has no {names} in some episodes, so none is shown.")
    return notes


def _replication(boards: Iterable[Board]) -> str:
    """``1 network of each of 3 learners, 5 seeds of each of 13``; too few for an interval if they are."""
    learners = {(standing.name, standing.replicates) for board in boards for standing in board.ranked}
    numbers = Counter(replicates for _, replicates in sorted(learners))
    text = ", ".join(f"{replicates} of {_counted(number, 'learner')}" for replicates, number in numbers.items())
    few = any(standing.has_few_replicates for board in boards for standing in board.ranked)
    return (f"{text}: fewer than {FEWEST} are shown one by one, without an interval" if few else text) or "none"


def _all(results: Iterable[CellResult], key: str) -> str:
    return "; ".join(stamped(results, key)) or "not recorded"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
