"""Analyses as tables: a row for every mean over episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flp_agents.experiments.analysis.together import Analysis
from flp_datasets import csv_files

Array = NDArray[np.float64]
Row = dict[str, Any]
# What a loss is measured in, by the metric of the scores that belong to it.
LOSS_UNITS = {"mse": "mse", "error_percent": "nats"}


@dataclass(frozen=True)
class Analysed:
    """One of several learners that are compared.

    Attributes:
        name: of its checkpoint.
        learner: its kind, such as "flp".
        title: for people, such as "FLP (2)".
        analysis: what was measured.
    """

    name: str
    learner: str
    title: str
    analysis: Analysis


class OverEpisodes(NamedTuple):
    """Means over episodes; each field has the shape of what is averaged, without ``E``.

    Attributes:
        mean: NaN where no episode has a value.
        standard_error: of it; NaN where fewer than two have.
        episodes: how many have.
    """

    mean: Array
    standard_error: Array
    episodes: NDArray[np.int64]


def over_episodes(values: Array) -> OverEpisodes:
    """Averages ``(E, ...)`` over episodes; a NaN does not count."""
    known = np.isfinite(values)
    count = known.sum(0)
    mean = np.divide(np.where(known, values, 0).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0)
    squares = np.where(known, np.square(values - mean), 0).sum(0)
    variance = np.divide(squares, count - 1, out=np.full(count.shape, np.nan), where=count > 1)
    return OverEpisodes(mean, np.sqrt(variance / np.maximum(count, 1)), count)


def tables_of(learners: Sequence[Analysed]) -> dict[str, list[Row]]:
    """Every analysis by name, each as rows of one shape.

    Every row has ``checkpoint``, ``learner``, ``plastic_layers``, ``quantity``, ``unit``, ``mean``,
    ``standard_error`` (over episodes) and ``episodes``, and beside them where it was measured: ``sub_tasks_met``,
    ``inner_step``, ``layer_from_output`` (1 is the output layer). An analysis that no learner has is left out.
    """
    tables: dict[str, list[Row]] = {}
    for of in learners:
        for table, rows in _tables(of.analysis).items():
            about = {"checkpoint": of.name, "learner": of.learner, "plastic_layers": of.analysis.plastic_layers}
            tables.setdefault(table, []).extend({**about, **row} for row in rows)
    return tables


def csv_of(rows: Sequence[Row]) -> bytes:
    """Rows of one shape, at least one; a number that is not known stays empty."""
    return csv_files.csv_of({key: _short(value) for key, value in row.items()} for row in rows)


def summary_of(of: Analysed) -> Row:
    """The most important means of one learner, fit for JSON; layers from the output downwards."""
    analysis, updates = of.analysis, of.analysis.updates
    score, readout = over_episodes(analysis.query_scores[:, -1]), over_episodes(analysis.readout_scores)
    by_layer = {
        "cosine_by_layer": updates.cosines,
        "magnitude_by_layer": updates.magnitudes,
        "relative_magnitude_by_layer": updates.relative_magnitudes,
    }
    return {
        "checkpoint": of.name,
        "learner": of.learner,
        "title": of.title,
        "plastic_layers": analysis.plastic_layers,
        "metric": analysis.metric,
        "score": _number(score.mean),
        "score_standard_error": _number(score.standard_error),
        "readout_score": _number(readout.mean),
        "readout_score_standard_error": _number(readout.standard_error),
        "interference": None if analysis.changes is None else _number(over_episodes(analysis.changes.ravel()).mean),
        **{
            name: [_number(over_episodes(layer.ravel()).mean) for layer in np.moveaxis(values, 2, 0)[::-1]]
            for name, values in by_layer.items()
        },
    }


def _tables(analysis: Analysis) -> dict[str, list[Row]]:
    updates, metric = analysis.updates, analysis.metric
    loss_unit, steps = LOSS_UNITS[metric], np.arange(1, updates.cosines.shape[1] + 1)
    scores, asked_at = analysis.query_scores, analysis.asked_at
    tables = {
        "readout": [
            *_rows({}, "score at the lifetime's end", metric, scores[:, -1]),
            *_rows({}, "score of a readout fitted on initial features", metric, analysis.readout_scores),
        ],
        "query_loss": list(_rows({"inner_step": asked_at}, "query loss", loss_unit, analysis.query_losses)),
        "cosine": list(_by_layer(steps, "cosine of update and negative gradient", "1", updates.cosines)),
        "magnitude": [
            *_by_layer(steps, "norm of update", "weights", updates.magnitudes),
            *_by_layer(steps, "norm of update / norm of weights", "1", updates.relative_magnitudes),
        ],
    }
    if loss_unit != metric:
        tables["query_loss"] += _rows({"inner_step": asked_at}, "query score", metric, scores)
    if analysis.changes is not None and analysis.changes.shape[1]:
        unit = {"mse": "mean squared change", "error_percent": "% of labels changed"}[metric]
        met = np.arange(2, analysis.changes.shape[1] + 2)
        tables["interference"] = list(
            _rows({"sub_tasks_met": met}, "change of predictions on earlier sub-tasks", unit, analysis.changes)
        )
    return tables


def _by_layer(steps: NDArray[np.int64], quantity: str, unit: str, values: Array) -> Iterator[Row]:
    """``(E, T, layers)``, the output layer first."""
    layers = values.shape[2]
    for layer in range(1, layers + 1):
        where = {"inner_step": steps, "layer_from_output": np.full(len(steps), layer)}
        yield from _rows(where, quantity, unit, values[:, :, layers - layer])


def _rows(where: dict[str, NDArray[np.int64]], quantity: str, unit: str, values: Array) -> Iterator[Row]:
    """``(E, n)`` values measured at ``n`` places, or ``(E,)`` at none in particular."""
    means = [np.atleast_1d(field) for field in over_episodes(values)]
    for i, (mean, error, episodes) in enumerate(zip(*means, strict=True)):
        yield {
            **{name: int(places[i]) for name, places in where.items()},
            "quantity": quantity,
            "unit": unit,
            "mean": float(mean),
            "standard_error": float(error),
            "episodes": int(episodes),
        }


def _number(value: Array) -> float | None:
    return float(value) if np.isfinite(value) else None


def _short(value: Any) -> Any:
    """Numbers with six digits, which is more than any of them is sure of."""
    if isinstance(value, float):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return value
