"""Results of a benchmark: one JSON file for each cell, and the tables made of them.

A cell is one learner in one environment under one seed. Its file is written once, atomically, when the cell is done,
so a folder of results is whole at any moment, however its benchmark ended.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_base.errors import FLPError
from flp_base.files import write_atomically
from flp_datasets.csv_files import csv_of

# Version 1 had no identities.
FORMAT_VERSION = 2
CELLS = "cells"


class ResultsError(FLPError, ValueError):
    """Results that cannot be read or written."""


@dataclass(frozen=True)
class Cell:
    """One learner in one environment under one seed.

    Attributes:
        env: id.
        env_options: keyword arguments of the environment, besides the split.
        split: that its episodes come from.
        learner: name.
        seed: of the episodes, and of a learner that is not meta-trained.
        episodes: how many lifetimes.
        checkpoint: SHA-256 of the weights that a name or folder stands for; empty for learners without.
        depends_on: what else the numbers depend on, by :data:`flp_agents.benchmark.identity.PARTS`; empty if nobody
            knows.
    """

    env: str
    learner: str
    seed: int = 0
    episodes: int = 100
    split: str = "meta-test"
    env_options: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    depends_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Names the cell's file: equal for equal cells only."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CellResult:
    """What came of a cell.

    Attributes:
        cell: which.
        title: the learner's name as tables show it, such as "FLP (2)".
        network: what tells one learner of that name from another: SHA-256 of a checkpoint's meta-parameters, or the
            seed of a learner that is not meta-trained.
        metric: "mse" or "error_percent"; empty after a failure.
        scores: for each name in :data:`~flp_agents.evaluation.lifetime_metrics.metric.METRICS` one number for each
            episode, or none at all where the metric means nothing (transfer in an environment whose sub-tasks are
            mixed).
        curves: means over episodes. ``prequential``: ``(T,)`` loss of each support step's answer, before its target
            was told. ``query_at``: ``(P,)`` numbers of support steps after which the learner was queried;
            ``query``: ``(P,)`` its loss; ``query_by_task``: ``(P, K)`` that on each sub-task. ``prequential_error``,
            ``query_error``, ``query_by_task_error``: standard errors of those means.
        task_ends: whether ``query_at`` are the ends of sub-tasks, so that ``query_by_task`` is the R matrix, its first
            row before all learning.
        seconds: of the cell's own time, for each inner step of one lifetime.
        state_bytes: of what changes within one lifetime.
        stamp: versions, machine, checkpoint, command: where the numbers come from.
        failure: why there are no numbers, in one line; none if there are.
    """

    cell: Cell
    title: str
    network: str = ""
    metric: str = ""
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)
    task_ends: bool = False
    seconds: float = math.nan
    state_bytes: int = 0
    stamp: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a cell's result lies."""
    return folder / CELLS / f"{cell.digest}.json"


def write_result(folder: Path, result: CellResult) -> None:
    """Writes one cell's file atomically.

    Raises:
        ResultsError: if the folder cannot be written to.
    """
    path = cell_path(folder, result.cell)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, encoded(result))
    except OSError as error:
        raise ResultsError(f"cannot write results to {folder}: {error.strerror or error}") from None


def encoded(result: CellResult) -> bytes:
    """A cell's file."""
    content = {"format_version": FORMAT_VERSION, **asdict(result)}
    return (json.dumps(_plain(content), allow_nan=False) + "\n").encode()


def write_tables(folder: Path, results: Iterable[CellResult]) -> None:
    """``results.csv``: a row for each episode, with all that is known of where it comes from."""
    rows = [row for result in results for row in _rows(result)]
    write_atomically(folder / "results.csv", csv_of(rows, newline="\r\n"))


def _rows(result: CellResult) -> list[dict[str, Any]]:
    cell = result.cell
    shared = {
        "env": cell.env,
        "split": cell.split,
        "learner": cell.learner,
        "title": result.title,
        "seed": cell.seed,
        "network": result.network,
        "metric": result.metric,
    }
    depends_on = {
        "version": cell.depends_on.get("version", ""),
        "checkpoint_sha256": cell.checkpoint,
        **{f"{part}_sha256": cell.depends_on.get(part, "") for part in ("learner", "env", "data")},
    }
    about = {
        "seconds_per_inner_step": _finite(result.seconds),
        "state_bytes": result.state_bytes,
        "env_options": json.dumps(dict(cell.env_options), sort_keys=True),
        **depends_on,
        **{key: value for key, value in result.stamp.items() if key not in shared | depends_on},
    }
    if result.failure is not None:
        return [{**shared, "episode": "", "failure": result.failure, **about}]
    nothing: list[float | None] = [None] * cell.episodes
    scores = {name: result.scores.get(name) or nothing for name in METRICS}
    return [
        {
            **shared,
            "episode": i,
            **{name: _finite(values[i]) for name, values in scores.items()},
            "failure": "",
            **about,
        }
        for i in range(cell.episodes)
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """As JSON: NumPy's numbers as Python's, and none for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Sequence):
        return [_plain(part) for part in value]
    return _finite(value) if isinstance(value, float) else value
