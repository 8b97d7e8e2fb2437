"""The folder of a benchmark's results: what it holds of a plan, and which cells processes are at."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from flp_agents.benchmark.identity import LATEST, latest_of, note_latest, select_current
from flp_agents.benchmark.plan import PlanError
from flp_agents.benchmark.reading import read_all_results, read_result
from flp_agents.benchmark.results import CELLS, Cell, CellResult, ResultsError, cell_path
from flp_base.errors import FLPError
from flp_base.locking import LockedElsewhere, file_lock

LOCKS = ".locks"
# Where results lie that were run again, or that could not be read.
EARLIER = "earlier"


def find(folder: Path, cell: Cell) -> CellResult | None:
    """A cell's result if there is one; a file that cannot be read is set aside, and the cell is run again."""
    path = cell_path(folder, cell)
    try:
        return read_result(path) if path.exists() else None
    except ResultsError:
        set_aside(folder, cell)
        return None


def set_aside(folder: Path, cell: Cell) -> None:
    """Moves a cell's file to where no table is made of it."""
    (folder / EARLIER).mkdir(exist_ok=True)
    with suppress(FileNotFoundError):  # another benchmark in this folder did
        os.replace(cell_path(folder, cell), folder / EARLIER / cell_path(folder, cell).name)


def prepare_folder(folder: Path, cells: Collection[Cell]) -> None:
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


def lock(folder: Path, cell: Cell, on_wait: Callable[[], None] | None) -> AbstractContextManager[bool]:
    return _lock_of(folder, cell.digest, on_wait)


def _lock_of(folder: Path, name: str, on_wait: Callable[[], None] | None) -> AbstractContextManager[bool]:
    (folder / LOCKS).mkdir(exist_ok=True)
    return file_lock(folder / LOCKS / f"{name}.lock", on_wait=on_wait)


def mark_of(folder: Path, cell: Cell) -> Path:
    """A file that is there while a cell runs."""
    return folder / LOCKS / f"{cell.digest}.begun"


def was_begun(folder: Path, cell: Cell) -> bool:
    """Whether a process that is gone was at a cell; another benchmark in the same folder may be at it now."""
    try:
        with lock(folder, cell, on_wait=None):
            return mark_of(folder, cell).exists()
    except LockedElsewhere:
        return False
