"""Reads results for a report: what can be read is shown, and what cannot is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flp_agents.benchmark.results import CELLS, METRICS, CellResult, ResultsError, read_result, read_results

# Curves and their numbers of axes; each with standard errors of the same shape.
CURVES = {"prequential": 1, "query": 1, "query_by_task": 2}


def read_readable_results(folder: Path) -> tuple[list[CellResult], list[str]]:
    """What a folder holds, and a line for each file that cannot be read.

    Raises:
        ResultsError: if it is no folder of results, or holds none that can be read.
    """
    paths = sorted((folder / CELLS).glob("*.json"))
    if not paths:
        return read_results(folder), []
    results: dict[str, CellResult] = {}
    unreadable = []
    for path in paths:
        try:
            result = _checked(read_result(path), path)
            digest = result.cell.digest
            if digest in results:
                raise ResultsError(f"{path} is of the same cell as another file, whose episodes would count twice")
            results[digest] = result
        except ResultsError as error:
            unreadable.append(str(error).replace(str(path), f"{CELLS}/{path.name}"))
    if not results:
        more = f" (and {len(unreadable) - 1} more files cannot be read)" if len(unreadable) > 1 else ""
        raise ResultsError(f"no result in {folder} can be read: {unreadable[0]}{more}")
    return list(results.values()), unreadable


def _checked(result: CellResult, path: Path) -> CellResult:
    """A result whose parts have the types and lengths that they should have.

    Raises:
        ResultsError: naming the part that has not.
    """
    cell = result.cell
    right = {
        "cell": _are(str, cell.env, cell.learner, cell.split, cell.checkpoint)
        and _are(int, cell.seed, cell.episodes)
        and isinstance(cell.env_options, Mapping),
        "title, network, metric, failure": _are(str, result.title, result.network, result.metric, result.failure or ""),
        "scores": isinstance(result.scores, Mapping)
        and all(_shape(result.scores.get(name)) in ((0,), (cell.episodes,)) for name in METRICS)
        and (result.failure is not None or bool(result.scores.get("query_score"))),
        "curves": isinstance(result.curves, Mapping) and _fit(result.curves),
        "seconds, state_bytes": _are((int, float), result.seconds, result.state_bytes),
        "stamp": isinstance(result.stamp, Mapping),
    }
    wrong = [part for part, fine in right.items() if not fine]
    if wrong:
        raise ResultsError(f"{path} is no result of a benchmark: {wrong[0]} is not as flp benchmark writes it")
    return result


def _are(kind: type | tuple[type, ...], *values: Any) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _fit(curves: Mapping[str, Any]) -> bool:
    """Whether curves are numbers, those over the same axis of the same length."""
    asked = _shape(curves.get("query_at"))
    shapes = {name: _shape(curves.get(name)) for name in CURVES}
    return (
        len(asked) == 1
        and all(shape == (0,) or len(shape) == CURVES[name] for name, shape in shapes.items())
        and all(_shape(curves.get(f"{name}_error")) in ((0,), shape) for name, shape in shapes.items())
        and all(shapes[name][:1] in ((0,), asked) for name in ("query", "query_by_task"))
    )


def _shape(values: Any) -> tuple[int, ...]:
    """Of an array of numbers, (0,) of nothing at all, and () of anything else."""
    try:
        return np.asarray([] if values is None else values, dtype=np.float64).shape
    except (TypeError, ValueError):
        return ()
