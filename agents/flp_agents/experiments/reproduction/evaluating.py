"""One of the paper's tables, reproduced: meta-trains what is missing, evaluates every network, writes the table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flp_agents.experiments.reproduction.files import read_record, write_record
from flp_agents.experiments.reproduction.results import (
    NetworkResult,
    evaluate_network,
    failed,
    result_path,
    rows_of,
    write_table,
)
from flp_agents.experiments.reproduction.running import How, OnProgress, Work, counts, missing_data, work_at
from flp_agents.experiments.reproduction.tables import Network, Table
from flp_base.errors import check_at_least


@dataclass(frozen=True)
class Reproduced:
    """What came of a table.

    Attributes:
        rows: see :func:`flp_agents.experiments.reproduction.results.rows_of`.
        results: of each network that there is a result of.
        files: what was written.
        missing: networks without a result, of columns whose data is here.
    """

    rows: list[dict[str, Any]]
    results: list[NetworkResult]
    files: list[Path]
    missing: list[Network]


def reproduce_table(
    table: Table,
    scale: str,
    how: How,
    *,
    part: Table | None = None,
    overwrite: bool = False,
    command: str = "",
    on_progress: OnProgress = lambda *_: None,
) -> Reproduced:
    """Makes one of the paper's tables.

    A network's result is written when it is there, and is not made again: what is killed goes on where it was. A
    result without its network, such as one that came with the repository, counts until the network is meta-trained
    here.

    Args:
        table: which.
        scale: a preset's name.
        how: where, and in how many processes.
        part: of the table, that is worked at and returned; none: all of it. The files are of the whole table.
        overwrite: evaluates networks again whose results are there.
        command: what was typed.
        on_progress: see :func:`flp_agents.experiments.reproduction.running.work_at`.

    Raises:
        FLPError: if a folder holds another network than its name says, cannot be written, or a process dies.
    """
    part = part or table
    check_at_least("networks", part.networks, 1)
    check_at_least("episodes", part.episodes, 2)
    if part.episodes != table.episodes:
        # Quick looks do not replace what took long.
        part = replace(part, name=f"{table.name}-{part.episodes}-episodes")
    whole = replace(table, name=part.name, networks=max(table.networks, part.networks), episodes=part.episodes)
    networks = list(part.cells(scale))
    without_data = missing_data([*networks, *whole.cells(scale)])
    here = [network for network in networks if network.column.name not in without_data]
    work = Work(
        measure=partial(_evaluate, part, how),
        diverged=partial(_diverged, part, how.folder),
        done=partial(_done, part, how, overwrite),
    )
    try:
        work_at(here, work, how, on_progress)
    finally:
        # Also when it is stopped: what is there is worth a table.
        results = _results_of(whole, scale, how, without_data)
        files = write_table(how.folder, whole, scale, rows_of(whole, results, without_data), results, command)
    names = {network.name for network in networks}
    of_part = [result for result in results if result.name in names]
    missing = [network for network in here if network.name not in {result.name for result in of_part}]
    return Reproduced(rows_of(part, of_part, without_data), of_part, files, missing)


def part_of(table: Table, *, methods: Sequence[str] = (), columns: Sequence[str] = ()) -> Table:
    """Some rows and columns of a table, by the beginnings of networks' names and by columns' names; none: all."""
    return replace(
        table,
        methods=tuple(of for of in table.methods if not methods or of.name in methods),
        columns=tuple(of for of in table.columns if not columns or of.name in columns),
    )


def _results_of(table: Table, scale: str, how: How, without_data: Collection[str]) -> list[NetworkResult]:
    """Of all networks of a table, those that count."""
    found = []
    for network in table.cells(scale):
        result = _result_of(table, how.folder, network)
        # Of a column without data nothing here is newer.
        if result is not None and (
            network.column.name in without_data or counts(how, network, plan=result.plan, weights=result.weights)
        ):
            found.append(result)
    return found


def _result_of(table: Table, folder: Path, network: Network) -> NetworkResult | None:
    result = read_record(result_path(folder, table.name, network), NetworkResult)
    return result if result is not None and result.episodes == table.episodes else None


def _done(table: Table, how: How, overwrite: bool, network: Network, _place: Path | None) -> bool:
    result = None if overwrite else _result_of(table, how.folder, network)
    return result is not None and counts(how, network, plan=result.plan, weights=result.weights)


def _evaluate(table: Table, how: How, network: Network, place: Path, _remaining: float | None) -> None:
    result = evaluate_network(network, place, episodes=table.episodes, device=how.device)
    write_record(result_path(how.folder, table.name, network), result)


def _diverged(table: Table, folder: Path, network: Network, reason: str, outer_steps: int) -> None:
    result = failed(network, reason, episodes=table.episodes, outer_steps=outer_steps)
    write_record(result_path(folder, table.name, network), result)
