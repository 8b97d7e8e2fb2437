"""Reads results, for tables and pages alike: what is right and of one kind is given, what is not is named.

A file may come from anywhere. Whatever it holds, it costs itself at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from flp_agents.benchmark.identity import select_current
from flp_agents.benchmark.results import CELLS, FORMAT_VERSION, Cell, CellResult, ResultsError, encoded
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.lifetime.recording import LARGEST_LOSS
from flp_base.errors import check_at_least
from flp_base.files import UnreadableContent, parse_json, read_versioned_json

# Files that are named one by one; of more, the number is given.
MOST_NAMED = 6
# Curves and their numbers of axes; each with standard errors of the same shape.
CURVES = {"prequential": 1, "query": 1, "query_by_task": 2}
# A mean of percentages may end a rounding above the largest of them.
_MOST_PERCENT = 100.0 * (1 + 1e-9)


def read_result(path: Path) -> CellResult:
    """Reads one cell's file and makes sure that every part of it has the type, length and range that it should have.

    Raises:
        ResultsError: naming the part that has not; or if the file is damaged, or of another version.
    """
    content = read_versioned_json(
        path,
        FORMAT_VERSION,
        error=ResultsError,
        missing=f"no result at {path}",
        damaged="delete it, and the cell is run again",
    )
    try:
        return _result_of(content)
    except ResultsError as error:
        raise ResultsError(f"{path} is no result of a benchmark: {error}") from None


def check_result(result: CellResult) -> None:
    """Makes sure that a result can be read again once it is written.

    Raises:
        ResultsError: naming the part that cannot.
    """
    try:
        _result_of(parse_json(encoded(result)))
    except (UnreadableContent, TypeError, ValueError) as error:
        raise ResultsError(f"cannot be written: {error}") from None


def _result_of(content: dict[str, Any]) -> CellResult:
    missing = [f.name for f in fields(CellResult) if f.name not in content]
    if missing:
        raise ResultsError(f"{missing[0]!r} is missing")
    wrong = next((part for part, fine in _CHECKS.items() if not fine(content)), None)
    if wrong is not None:
        raise ResultsError(f"{wrong} is not as flp benchmark writes it")
    seconds = math.nan if content["seconds"] is None else content["seconds"]
    parts = {**content, "cell": Cell(**content["cell"]), "seconds": seconds}
    return CellResult(**{f.name: parts[f.name] for f in fields(CellResult)})


def read_results(folder: Path) -> tuple[list[CellResult], list[str]]:
    """The results of a folder that belong together, and a line for each of what is left out.

    Left out are files that cannot be read, and results of sources, weights, data or a version that is not the latest
    that was run (:func:`flp_agents.benchmark.identity.select_current`).

    Returns:
        Results by environment, learner and seed; lines.

    Raises:
        ResultsError: if it is no folder of results, or holds none that can be read.
    """
    results, unreadable = read_all_results(folder)
    current, replaced = select_current(folder, results)
    if len(unreadable) > MOST_NAMED + 1:
        unreadable[MOST_NAMED:] = [f"{len(unreadable) - MOST_NAMED} more files in {CELLS}"]
    return current, [*unreadable, *replaced]


def read_all_results(folder: Path) -> tuple[list[CellResult], list[str]]:
    """All that a folder holds and can be read, whether it belongs together or not, and a line for each other file.

    Raises:
        ResultsError: if it is no folder of results, or holds none that can be read.
    """
    try:
        paths = sorted((folder / CELLS).glob("*.json"))
    except (OSError, ValueError):
        paths = []
    if not paths:
        raise ResultsError(f"no results in {folder}: expected a folder that flp benchmark wrote, with {CELLS}/*.json")
    results: dict[str, CellResult] = {}
    unreadable = []
    for path in paths:
        try:
            result = read_result(path)
            digest = result.cell.digest
            if digest in results:
                raise ResultsError(f"{path} is of the same cell as another file, whose episodes would count twice")
            results[digest] = result
        except ResultsError as error:
            unreadable.append(str(error).replace(str(path), f"{CELLS}/{path.name}"))
    if not results:
        more = f" (and {len(unreadable) - 1} more files cannot be read)" if len(unreadable) > 1 else ""
        raise ResultsError(f"no result in {folder} can be read: {unreadable[0]}{more}")
    return sorted(results.values(), key=_order), unreadable


def _order(result: CellResult) -> tuple[str, str, int]:
    return result.cell.env, result.cell.learner, result.cell.seed


def _is_cell(content: Mapping[str, Any]) -> bool:
    cell = content.get("cell")
    if not isinstance(cell, dict) or cell.keys() != {f.name for f in fields(Cell)}:
        return False
    return (
        _all_are(str, (cell["env"], cell["learner"], cell["split"], cell["checkpoint"]))
        and _is_whole(cell["seed"], 0)
        and _is_whole(cell["episodes"], 1)
        and isinstance(cell["env_options"], dict)
        and isinstance(cell["depends_on"], dict)
        and _all_are(str, cell["depends_on"].values())
    )


def _are_scores(content: Mapping[str, Any]) -> bool:
    """Whether there is a number, or none, for each episode; of the query, always a number."""
    scores, episodes = content.get("scores"), content["cell"]["episodes"]
    if not isinstance(scores, dict) or not all(isinstance(name, str) and name.isidentifier() for name in scores):
        return False
    if content["failure"] is None and not scores.get("query_score"):
        return False
    of_scores = _MOST_PERCENT if content["metric"] == "error_percent" else LARGEST_LOSS
    for name, values in scores.items():
        # A plug-in's metric may have any unit, and the plug-in need not be here.
        most = of_scores if METRICS.is_built_in(name) else LARGEST_LOSS
        least = 0.0 if METRICS.is_built_in(name) and METRICS[name].nonnegative else -most
        if not isinstance(values, list) or not _within(values, least, most):
            return False
        if values and _shape(values) != (episodes,):
            return False
    return None not in scores.get("query_score", ())


def _are_curves(content: Mapping[str, Any]) -> bool:
    """Whether curves are numbers, those over the same axis of the same length."""
    curves = content.get("curves")
    if not isinstance(curves, dict):
        return False
    shapes = {name: _shape(curves.get(name)) for name in CURVES}
    errors = {name: _shape(curves.get(f"{name}_error")) for name in CURVES}
    at = curves.get("query_at")
    queried = _shape(at)
    return (
        len(queried or ()) == 1
        and all(shape == (0,) or len(shape or ()) == CURVES[name] for name, shape in shapes.items())
        and all(errors[name] in ((0,), shape) for name, shape in shapes.items())
        and all((shapes[name] or ())[:1] in ((0,), queried) for name in ("query", "query_by_task"))
        and all(
            _within(curves.get(name), 0.0, LARGEST_LOSS) for name in (*CURVES, *(f"{name}_error" for name in CURVES))
        )
        and all(_is_whole(moment, 0) for moment in at or ())
        and sorted(set(at or ())) == list(at or ())
    )


def _is_stamp(content: Mapping[str, Any]) -> bool:
    stamp = content.get("stamp")
    return isinstance(stamp, dict) and all(value is None or isinstance(value, _SCALARS) for value in stamp.values())


_SCALARS = (str, int, float, bool)
# Each part of a file, and whether it is as it should be; the later ones rely on the earlier ones.
_CHECKS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "cell": _is_cell,
    "title, network, metric, failure": lambda content: (
        _all_are(str, (content[name] for name in ("title", "network", "metric")))
        and isinstance(content["failure"], str | None)
        and (content["failure"] is not None or bool(content["metric"]))
    ),
    "scores": _are_scores,
    "curves": _are_curves,
    "task_ends": lambda content: isinstance(content["task_ends"], bool),
    "seconds, state_bytes": lambda content: (
        _within([content["seconds"]], 0.0, LARGEST_LOSS) and _is_whole(content["state_bytes"], 0)
    ),
    "stamp": _is_stamp,
}


def _all_are(kind: type, values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for value in values)


def _is_whole(value: Any, least: int) -> bool:
    try:
        return isinstance(value, int) and check_at_least("it", value, least) == value
    except ValueError:
        return False


def _shape(values: Any) -> tuple[int, ...] | None:
    """Of nested lists of equal lengths; ``(0,)`` of nothing at all."""
    if values is None or values == []:
        return (0,)
    shape: tuple[int, ...] = ()
    level = [values]
    while all(isinstance(part, list) for part in level):
        lengths = {len(part) for part in level}
        if len(lengths) > 1:
            return None
        shape += (lengths.pop(),)
        level = [part for parts in level for part in parts]
        if not level:
            break
    return None if any(isinstance(part, list) for part in level) else shape


def _within(values: Any, least: float, most: float) -> bool:
    """Whether nested lists hold nothing but numbers in a range, and none for what is not known."""
    flat = [values]
    while any(isinstance(part, list) for part in flat):
        flat = [part for parts in flat for part in (parts if isinstance(parts, list) else [parts])]
    known = [value for value in flat if value is not None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return False
    # Larger whole numbers are objects to NumPy, not numbers.
    if not all(abs(value) < 2**63 for value in known if isinstance(value, int)):
        return False
    numbers = np.array(known, dtype=np.float64)
    return bool(((numbers >= least) & (numbers <= most)).all())
