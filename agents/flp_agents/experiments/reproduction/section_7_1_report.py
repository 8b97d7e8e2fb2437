"""What came of section 7.1's experiment: rows, files and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flp_agents.benchmark.report.formats import UNKNOWN
from flp_agents.evaluation.uncertainty import standard_error
from flp_agents.experiments.analysis.figures import Curve, draw_curves, png_of
from flp_agents.experiments.reproduction.files import json_of, markdown_table, write_all
from flp_agents.experiments.reproduction.results import NOT_TRAINED, figure, over_networks
from flp_agents.experiments.reproduction.section_7_1 import PLASTIC_LAYERS, ContinuedNetwork
from flp_agents.experiments.reproduction.tables import Column
from flp_agents.support.provenance import stamp
from flp_base.files import finite_or_none
from flp_datasets.csv_files import csv_of
from flp_envs.rendering import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AS_IT_WAS = "Feature Reuse (1), as it was"
_COLOURS = {1: "#E69F00", 2: "#0072B2", 3: "#D55E00"}
_LINES = ("-", "--", "-.", ":")


def rows_of(columns: Sequence[Column], results: Iterable[ContinuedNetwork]) -> list[dict[str, Any]]:
    """Like a table's: a row for the networks as they were, and one for each number of plastic layers.

    As networks differ more than what becomes of one, a cell has ``ratio_to_control`` besides: ``mean``, the geometric
    mean over networks of their error's ratio to the one that they go on to with 1 plastic layer, and
    ``log_standard_error``, that of its logarithm; none where there is no such pair, or one only.
    """
    results = list(results)
    titles = {1: "1 plastic layer, the control", **{n: f"{n} plastic layers" for n in PLASTIC_LAYERS[1:]}}
    rows: list[dict[str, Any]] = [{"method": AS_IT_WAS}, *({"method": titles[n]} for n in PLASTIC_LAYERS)]
    for column in columns:
        of_column = [of for of in results if of.column == column.name]
        as_they_were = {of.network: of.before for of in of_column if of.before is not None}
        for row, layers in zip(rows, (None, *PLASTIC_LAYERS), strict=True):
            there = [of.after for of in of_column if of.plastic_layers == layers]
            found = list(as_they_were.values()) if layers is None else there
            row[column.name] = {**over_networks(found), "note": "" if found else NOT_TRAINED}
            if layers is not None:
                row[column.name]["ratio_to_control"] = _ratio_to_control(of_column, layers)
    return rows


def _ratio_to_control(results: Sequence[ContinuedNetwork], layers: int) -> dict[str, float | None] | None:
    control = {of.network: of.after for of in results if of.plastic_layers == 1}
    pairs = [(of.after, control.get(of.network)) for of in results if of.plastic_layers == layers]
    logarithms = np.array([math.log(after / before) for after, before in pairs if after and before])
    if not len(logarithms):
        return None
    return {
        "mean": float(np.exp(logarithms.mean())),
        "log_standard_error": finite_or_none(standard_error(logarithms)),
    }


def write_section_7_1(
    folder: Path,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    results: Sequence[ContinuedNetwork],
    command: str,
) -> list[Path]:
    """``section7.1.json``, with all that is known, ``.csv``, a row for each evaluation, ``.md`` and ``.png``.

    Raises:
        ReproductionError: if something cannot be written.
        MissingDependency: if matplotlib is not installed.
    """
    headings = ["", *(column.title for column in columns)]
    lines = [[str(row["method"]), *(figure(row[column.name]) for column in columns)] for row in rows]
    page = (
        "# Section 7.1: Feature Reuse networks, meta-trained on with more plasticity\n\n"
        f"Standard errors over networks in brackets; made with `{command}`.\n\n{markdown_table(headings, lines)}\n"
        "Each network, on the same episodes before and after; standard errors over episodes in brackets.\n\n"
        + markdown_table(("network", "plastic layers", "before", "after", "difference"), map(_change, results))
    )
    content = {"command": command, "rows": list(rows), "networks": [asdict(of) for of in results], **stamp()}
    contents = {"section7.1.json": json_of(content), "section7.1.csv": _evaluations(results)}
    contents["section7.1.md"] = page.encode()
    if any(of.failure is None for of in results):
        contents["section7.1.png"] = png_of(_draw(columns, results))
    return write_all(folder, contents)


def _change(of: ContinuedNetwork) -> tuple[str, ...]:
    if of.before is None or of.after is None:
        return (of.network, str(of.plastic_layers), UNKNOWN, "diverged", UNKNOWN)
    difference = f"{of.difference:.2g} ({of.difference_error:.1g})"
    return (of.network, str(of.plastic_layers), f"{of.before:.3g}", f"{of.after:.3g}", difference)


def _evaluations(results: Sequence[ContinuedNetwork]) -> bytes:
    columns = ("network", "column", "seed", "plastic_layers", "outer_step", "mean", "failure")
    lines: list[tuple[Any, ...]] = []
    for of in results:
        shared = (of.network, of.column, of.seed, of.plastic_layers)
        lines += [(*shared, step, mean, "") for step, mean in zip(of.judged_at, of.means, strict=True)]
        if of.failure is not None:
            lines.append((*shared, of.outer_steps, "", of.failure))
    return csv_of([dict(zip(columns, line, strict=True)) for line in lines], columns)


def _draw(columns: Sequence[Column], results: Sequence[ContinuedNetwork]) -> Figure:
    require_matplotlib()
    from matplotlib.figure import Figure

    shown = [column for column in columns if any(of.column == column.name for of in results)]
    figure = Figure(figsize=(4.6 * len(shown), 3.6), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, column in zip(panels, shown, strict=True):
        curves = [
            Curve(
                of.judged_at,
                np.array([np.nan if mean is None else mean for mean in of.means]),
                (_COLOURS[of.plastic_layers], _LINES[of.seed % len(_LINES)]),
                f"{of.plastic_layers} plastic, seed {of.seed}",
            )
            for of in results
            if of.column == column.name and of.failure is None
        ]
        draw_curves(
            axes,
            curves,
            title=column.env.removesuffix("-v0"),
            xlabel="further outer steps",
            ylabel="query mean squared error" if axes is panels[0] else "",
            marked=True,
        )
    panels[0].legend(fontsize=7, frameon=False)
    return figure
