"""Runs the cells of a benchmark in parallel processes, each at most once, whatever happens to the processes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from flp_agents.benchmark.backends import backend_of, way_of_returning
from flp_agents.benchmark.cell import failed, run_cell
from flp_agents.benchmark.plan import BenchmarkPlan
from flp_agents.benchmark.reading import check_result, read_result, read_results
from flp_agents.benchmark.report.tables import summary_rows
from flp_agents.benchmark.results import Cell, CellResult, ResultsError, cell_path, write_result, write_tables
from flp_agents.benchmark.sending import Brought, pack, unpack
from flp_agents.benchmark.shared_folder import find, lock, mark_of, prepare_folder, set_aside, was_begun
from flp_agents.benchmark.source_files import remember_sources
from flp_agents.support.plugins import load_plugins
from flp_agents.support.processes import one_thread
from flp_base.errors import check_at_least
from flp_base.files import remove_leftovers, write_atomically

# After its time is up, how long a cell may take to notice before its process is ended.
_GRACE_SECONDS = 20.0


def run_benchmark(
    plan: BenchmarkPlan,
    folder: Path,
    *,
    jobs: int = 1,
    backend: str = "loky",
    retry_failed: bool = False,
    rerun: bool = False,
    command: str = "",
    on_cell: Callable[[CellResult], None] | None = None,
) -> list[CellResult]:
    """Runs all cells of a plan that ``folder`` does not hold, and writes the tables.

    Each cell's result is written when it is done. So a benchmark that is killed goes on where it was when it is
    called again, and two that share a folder share the work. A cell is another one as soon as the source of its learner
    or environment, its weights, its data or the version of this package change; the results of the old one stay in the
    folder, and are left out of its tables.

    Args:
        plan: what to compare.
        folder: of the results.
        jobs: processes.
        backend: of joblib: "loky" on this machine, "ray" or "dask" on a cluster.
        retry_failed: run cells again that have failed.
        rerun: run all cells again; their earlier results are kept in a folder beside, ``earlier``.
        command: what was typed, to be stamped into every result.
        on_cell: is given every result, those found first.

    Returns:
        All results of the plan.

    Raises:
        FLPError: if the plan is wrong, if the folder holds another benchmark's results, or if a learner or environment
            was defined where no other process can find it and cannot be sent to one.
    """
    check_at_least("jobs", jobs, 1)
    plan.check()
    cells = list(plan.cells())
    brought = pack(plan) if jobs > 1 or backend != "loky" else Brought()
    prepare_folder(folder, cells)
    report = on_cell or (lambda _: None)
    for cell in cells:
        found = find(folder, cell)
        if found is not None and (rerun or (retry_failed and found.failure is not None)):
            set_aside(folder, cell)
    todo = []
    for cell in cells:
        found = find(folder, cell)
        if found is None:
            todo.append(cell)
        else:
            report(found)
    with backend_of(backend):
        for cell in _run(todo, plan, brought, folder, jobs, backend, command):
            report(read_result(cell_path(folder, cell)))
    write_summary(folder)
    return [read_result(cell_path(folder, cell)) for cell in cells]


def write_summary(folder: Path) -> None:
    """Writes ``results.csv``, a row for each episode, and ``summary.json``, a row for each learner and metric."""
    results, _ = read_results(folder)
    write_tables(folder, results)
    rows = summary_rows(results)
    write_atomically(folder / "summary.json", (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())


def _run(
    cells: Sequence[Cell],
    plan: BenchmarkPlan,
    brought: Brought,
    folder: Path,
    jobs: int,
    backend: str,
    command: str,
) -> Iterator[Cell]:
    """Yields cells as they are done. When a process dies, what it was at is tried once more, each cell on its own."""
    by_digest = {cell.digest: cell for cell in cells}
    together, alone = list(by_digest), list[str]()
    while together or alone:
        batch = together or alone[:1]
        # One job would run in this process: what may die must not take it along.
        processes = max(jobs, 1 if together else 2)
        own_process = processes > 1 or backend != "loky"
        settings = (brought, str(folder), plan.plugins, plan.cell_minutes, own_process, command)
        work = [joblib.delayed(_work)(by_digest[digest], *settings) for digest in batch]
        try:
            for digest in joblib.Parallel(n_jobs=processes, return_as=way_of_returning())(work):
                batch.remove(digest)
                yield by_digest[digest]
            alone = alone if batch is together else alone[1:]
            continue
        except TerminatedWorkerError:
            done = [digest for digest in batch if cell_path(folder, by_digest[digest]).exists()]
        begun = [digest for digest in batch if digest not in done and was_begun(folder, by_digest[digest])]
        if not together:
            for cell in (by_digest[digest] for digest in begun):
                write_result(folder, failed(cell, "its process died: out of memory, or a crash outside Python"))
                mark_of(folder, cell).unlink()
            done += begun
            alone = [digest for digest in alone if digest not in done]
        else:
            together = [digest for digest in together if digest not in done and digest not in begun]
            alone += begun
        for digest in done:
            yield by_digest[digest]


def _work(
    cell: Cell,
    brought: Brought,
    folder_name: str,
    plugins: Sequence[str],
    minutes: float,
    own_process: bool,
    command: str,
) -> str:
    """Runs one cell, unless another process has done so or is doing so; returns its digest."""
    load_plugins(plugins)
    unpack(brought)
    remember_sources()
    folder = Path(folder_name)
    # With one job this is the user's own process.
    with one_thread(), lock(folder, cell, on_wait=lambda: None):
        if not cell_path(folder, cell).exists():
            remove_leftovers(cell_path(folder, cell))
            mark = mark_of(folder, cell)
            mark.touch()
            watched = _watched(cell, folder, minutes * 60 + _GRACE_SECONDS) if own_process else nullcontext()
            with watched:
                result = run_cell(cell, minutes=minutes, sent=brought.by_value)
                result = replace(result, stamp={**result.stamp, "command": command})
                try:
                    check_result(result)
                except ResultsError as error:
                    result = failed(cell, f"its results {error}")
                write_result(folder, result)
            mark.unlink(missing_ok=True)
    return cell.digest


@contextmanager
def _watched(cell: Cell, folder: Path, seconds: float) -> Iterator[None]:
    """Ends this process, after writing why, if the cell neither ends nor lets itself be interrupted."""

    def end() -> None:
        write_result(folder, failed(cell, f"hung: did not stop {_GRACE_SECONDS:.0f} s after its time was up"))
        mark_of(folder, cell).unlink(missing_ok=True)
        os._exit(1)

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
