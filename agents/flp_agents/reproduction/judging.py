"""One of the paper's tables, made anew: meta-trains what is missing, judges every network, writes the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flp_agents.reproduction.results import (
    NetworkResult,
    failed,
    judge,
    read_result,
    result_path,
    rows_of,
    weights_digest,
    write_result,
    write_table,
)
from flp_agents.reproduction.running import How, OnProgress, Work, missing_data, work_at
from flp_agents.reproduction.tables import Network, Table
from flp_datasets.errors import check_at_least


@dataclass(frozen=True)
class Reproduced:
    """What came of a table.

    Attributes:
        rows: see :func:`flp_agents.reproduction.results.rows_of`.
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
    overwrite: bool = False,
    command: str = "",
    on_progress: OnProgress = lambda *_: None,
) -> Reproduced:
    """Makes one of the paper's tables.

    A network's result is written when it is there, and is not made again: what is killed goes on where it was. A
    result without its network, such as one that came with the repository, counts until the network is meta-trained
    here.

    Args:
        table: which, or a part of it.
        scale: a preset's name.
        how: where, and in how many processes.
        overwrite: judges networks anew whose results are there.
        command: what was typed.
        on_progress: see :func:`flp_agents.reproduction.running.work_at`.

    Raises:
        FLPError: if a folder holds another network than its name says, cannot be written, or a process dies.
    """
    check_at_least("networks", table.networks, 1)
    check_at_least("episodes", table.episodes, 2)
    networks = list(table.cells(scale))
    without_data = missing_data(networks)
    here = [network for network in networks if network.column.name not in without_data]
    work = Work(
        measure=partial(_judge, table, how),
        diverged=partial(_diverged, table, how.folder),
        done=partial(_done, table, how, overwrite),
    )
    work_at(here, work, how, on_progress)
    found = {network.name: _result_of(table, how.folder, network) for network in networks}
    results = [result for result in found.values() if result is not None]
    rows = rows_of(table, results, without_data)
    files = write_table(how.folder, table, scale, rows, results, command)
    return Reproduced(rows, results, files, [network for network in here if found[network.name] is None])


def part_of(table: Table, *, methods: Sequence[str] = (), columns: Sequence[str] = ()) -> Table:
    """Some rows and columns of a table, by the beginnings of networks' names and by columns' names; none: all."""
    return replace(
        table,
        methods=tuple(of for of in table.methods if not methods or of.name in methods),
        columns=tuple(of for of in table.columns if not columns or of.name in columns),
    )


def _result_of(table: Table, folder: Path, network: Network) -> NetworkResult | None:
    path = result_path(folder, table.name, network)
    result = read_result(path) if path.exists() else None
    return result if result is not None and result.episodes == table.episodes else None


def _done(table: Table, how: How, overwrite: bool, network: Network, place: Path | None) -> bool:
    result = None if overwrite else _result_of(table, how.folder, network)
    if result is None:
        return False
    if place is not None:
        return result.weights == weights_digest(place)
    return not how.retrain or (result.failure is not None and result.command == network.command)


def _judge(table: Table, how: How, network: Network, place: Path, _remaining: float | None) -> None:
    result = judge(network, place, episodes=table.episodes, device=how.device)
    write_result(result_path(how.folder, table.name, network), result)


def _diverged(table: Table, folder: Path, network: Network, reason: str, outer_steps: int) -> None:
    result = failed(network, reason, episodes=table.episodes, outer_steps=outer_steps)
    write_result(result_path(folder, table.name, network), result)
