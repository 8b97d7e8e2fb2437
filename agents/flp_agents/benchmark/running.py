"""Runs the cells of a benchmark in parallel processes, each at most once, whatever happens to the processes."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from flp_agents.benchmark.cell import failed, run_cell
from flp_agents.benchmark.identity import LATEST, latest_of, note_latest, select_current
from flp_agents.benchmark.plan import BenchmarkPlan, PlanError
from flp_agents.benchmark.reading import check_result, read_all_results, read_result, read_results
from flp_agents.benchmark.report.tables import summary_rows
from flp_agents.benchmark.results import (
    CELLS,
    Cell,
    CellResult,
    ResultsError,
    cell_path,
    write_result,
    write_tables,
)
from flp_agents.benchmark.sending import Brought, pack, unpack
from flp_agents.benchmark.source import remember_sources
from flp_agents.support.plugins import load_plugins
from flp_agents.support.processes import one_thread
from flp_base.errors import FLPError, check_at_least, check_choice
from flp_base.files import remove_leftovers, write_atomically
from flp_base.locking import LockedElsewhere, file_lock

# Backends that this package knows how to set up; joblib's own are "loky" (processes) and "sequential".
BACKENDS = ("loky", "ray", "dask")
LOCKS = ".locks"
# Where results lie that were run again, or that could not be read.
EARLIER = "earlier"
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
    _prepare_folder(folder, cells)
    report = on_cell or (lambda _: None)
    for cell in cells:
        found = _find(folder, cell)
        if found is not None and (rerun or (retry_failed and found.failure is not None)):
            _set_aside(folder, cell)
    todo = []
    for cell in cells:
        found = _find(folder, cell)
        if found is None:
            todo.append(cell)
        else:
            report(found)
    with _backend(backend):
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
            for digest in joblib.Parallel(n_jobs=processes, return_as=_way_of_returning())(work):
                batch.remove(digest)
                yield by_digest[digest]
            alone = alone if batch is together else alone[1:]
            continue
        except TerminatedWorkerError:
            done = [digest for digest in batch if cell_path(folder, by_digest[digest]).exists()]
        begun = [digest for digest in batch if digest not in done and _was_begun(folder, by_digest[digest])]
        if not together:
            for cell in (by_digest[digest] for digest in begun):
                write_result(folder, failed(cell, "its process died: out of memory, or a crash outside Python"))
                _mark(folder, cell).unlink()
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
    with one_thread(), _lock(folder, cell, on_wait=lambda: None):
        if not cell_path(folder, cell).exists():
            remove_leftovers(cell_path(folder, cell))
            mark = _mark(folder, cell)
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


def _find(folder: Path, cell: Cell) -> CellResult | None:
    """A cell's result if there is one; a file that cannot be read is set aside, and the cell is run again."""
    path = cell_path(folder, cell)
    try:
        return read_result(path) if path.exists() else None
    except ResultsError:
        _set_aside(folder, cell)
        return None


def _set_aside(folder: Path, cell: Cell) -> None:
    """Moves a cell's file to where no table is made of it."""
    (folder / EARLIER).mkdir(exist_ok=True)
    with suppress(FileNotFoundError):  # another benchmark in this folder did
        os.replace(cell_path(folder, cell), folder / EARLIER / cell_path(folder, cell).name)


def _prepare_folder(folder: Path, cells: Collection[Cell]) -> None:
    """Makes a plan's cells the ones that the folder's tables are made of.

    Raises:
        FLPError: if the folder cannot be written to.
        PlanError: if results that stay in the tables are of other episodes than the plan's.
    """
    try:
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
        with _lock_of(folder, LATEST, on_wait=lambda: None):
            results: list[CellResult] = []
            if any((folder / CELLS).glob("*.json")):
                with suppress(ResultsError):
                    results, _ = read_all_results(folder)
            current, _ = select_current(folder, results, latest_of(cells))
            wanted = {cell.env: cell for cell in cells}
            for old in (result.cell for result in current):
                new = wanted.get(old.env, old)
                for name in ("episodes", "split", "env_options"):
                    before, now = getattr(old, name), getattr(new, name)
                    if before != now:
                        raise PlanError(
                            f"{folder} holds results on {old.env} with {name} {before}, not {now}: choose another "
                            "--output"
                        )
            note_latest(folder, cells)
    except OSError as error:
        raise FLPError(f"cannot write to {folder}: {error.strerror}: choose another --output") from None


def _lock(folder: Path, cell: Cell, on_wait: Callable[[], None] | None) -> AbstractContextManager[bool]:
    return _lock_of(folder, cell.digest, on_wait)


def _lock_of(folder: Path, name: str, on_wait: Callable[[], None] | None) -> AbstractContextManager[bool]:
    (folder / LOCKS).mkdir(exist_ok=True)
    return file_lock(folder / LOCKS / f"{name}.lock", on_wait=on_wait)


def _mark(folder: Path, cell: Cell) -> Path:
    """A file that is there while a cell runs."""
    return folder / LOCKS / f"{cell.digest}.begun"


def _was_begun(folder: Path, cell: Cell) -> bool:
    """Whether a process that is gone was at a cell; another benchmark in the same folder may be at it now."""
    try:
        with _lock(folder, cell, on_wait=None):
            return _mark(folder, cell).exists()
    except LockedElsewhere:
        return False


@contextmanager
def _watched(cell: Cell, folder: Path, seconds: float) -> Iterator[None]:
    """Ends this process, after writing why, if the cell neither ends nor lets itself be interrupted."""

    def end() -> None:
        write_result(folder, failed(cell, f"hung: did not stop {_GRACE_SECONDS:.0f} s after its time was up"))
        _mark(folder, cell).unlink(missing_ok=True)
        os._exit(1)

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _way_of_returning() -> str:
    """As they come, where the backend can do that; Ray's returns all at the end."""
    backend, _ = joblib.parallel.get_active_backend()
    return "generator_unordered" if backend.supports_return_generator else "list"


@contextmanager
def _backend(name: str) -> Iterator[None]:
    """Sets up a joblib backend.

    Raises:
        FLPError: if what it needs is not installed.
    """
    check_choice("backend", name, BACKENDS)
    if name == "ray":
        try:
            of_ray: Any = importlib.import_module("ray.util.joblib")
        except ImportError:
            raise FLPError("the ray backend needs Ray: pip install 'flp-envs[ray]'") from None
        of_ray.register_ray()
    elif name == "dask":
        try:
            from distributed import get_client
        except ImportError:
            raise FLPError("the dask backend needs Dask: pip install 'flp-envs[dask]'") from None
        try:
            get_client()
        except ValueError:
            raise FLPError(
                "the dask backend needs a dask.distributed.Client, made by the program that calls run_benchmark"
            ) from None
    with joblib.parallel_config(backend=name):
        yield
