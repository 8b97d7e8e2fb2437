"""Figure 2 and the learning curves, as pictures and tables of the networks that are there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flp_agents.analysis.figures import LOSSES, Curve, draw_analyses, draw_curves, png_of, styles_of
from flp_agents.analysis.tables import LOSS_UNITS, csv_of, over_episodes, summary_of, tables_of
from flp_agents.provenance import stamp
from flp_agents.reproduction.analysing import AnalysedNetwork
from flp_agents.reproduction.files import json_of, write_all
from flp_envs.rendering import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Array = NDArray[np.float64]
Row = dict[str, Any]


def write_figure_2(
    folder: Path, continual: Sequence[AnalysedNetwork], iid: Sequence[AnalysedNetwork], command: str
) -> tuple[list[Row], list[Path]]:
    """Panels A, B, C and E of continual episodes, D of i.i.d. ones, one network for each method.

    Args:
        folder: where to.
        continual: at least one.
        iid: the same methods.
        command: what was typed.

    Returns:
        A row for each network with its most important means, and what was written.

    Raises:
        ReproductionError: if something cannot be written.
        MissingDependency: if matplotlib is not installed.
    """
    measured = [of.measured for of in continual]
    measured_iid = [of.measured for of in iid]
    rows = [
        {"method": of.network.method.title, "column": of.network.column.name, **summary_of(of.measured)}
        for of in (*continual, *iid)
    ]
    contents = {f"{name}.csv": csv_of(table) for name, table in tables_of(measured).items() if name != "magnitude"}
    if measured_iid:
        contents["magnitude_iid.csv"] = csv_of(tables_of(measured_iid)["magnitude"])
    contents["figure2.png"] = png_of(draw_analyses(measured, measured_iid))
    contents["figure2.json"] = _record(command, rows, (*continual, *iid))
    return rows, write_all(folder, contents)


def write_curves(folder: Path, networks: Sequence[AnalysedNetwork], command: str) -> tuple[list[Row], list[Path]]:
    """Query loss over the lifetime, a panel for each environment: what the paper's appendix C shows.

    Args:
        folder: where to.
        networks: at least one; several of one method and environment are averaged.
        command: what was typed.

    Returns:
        A row for each method, environment and inner step, and what was written.

    Raises:
        ReproductionError: if something cannot be written.
        MissingDependency: if matplotlib is not installed.
    """
    require_matplotlib()
    rows = [row for of in networks for row in _curve_rows(of)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    contents = {
        "curves.csv": text.getvalue().encode(),
        "curves.png": png_of(_draw_curves(networks)),
        "curves.json": _record(command, rows, networks),
    }
    return rows, write_all(folder, contents)


def _curve_rows(of: AnalysedNetwork) -> list[Row]:
    analysis = of.measured.analysis
    losses = over_episodes(analysis.query_losses)
    return [
        {
            "method": of.network.method.title,
            "column": of.network.column.name,
            "seed": of.network.seed,
            "inner_step": int(step),
            "unit": LOSS_UNITS[analysis.metric],
            "mean": float(f"{mean:.6g}"),
            "standard_error": float(f"{error:.3g}") if np.isfinite(error) else None,
            "episodes": int(episodes),
        }
        for step, mean, error, episodes in zip(analysis.asked_at, *losses, strict=True)
    ]


def _draw_curves(networks: Sequence[AnalysedNetwork]) -> Figure:
    from matplotlib.figure import Figure

    columns = list({of.network.column.name: of.network.column for of in networks}.values())
    learners = {_label(of): of.network.method.learner for of in networks}
    styles = dict(zip(learners, styles_of(list(learners.values())), strict=True))
    wide = 2 if len(columns) > 1 else 1
    high = -(-len(columns) // wide)
    figure = Figure(figsize=(5.2 * wide, 3.4 * high + 0.6), dpi=110, layout="constrained")
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    drawn: dict[str, Line2D] = {}
    for axes, column in zip(panels, columns, strict=False):
        there = [of for of in networks if of.network.column == column]
        by_label: dict[str, list[AnalysedNetwork]] = {}
        for of in there:
            by_label.setdefault(_label(of), []).append(of)
        curves = [Curve(_steps(of), _mean_losses(of), styles[label], label) for label, of in by_label.items()]
        title, metric = column.env.removesuffix("-v0"), there[0].measured.analysis.metric
        draw_curves(axes, curves, title=title, xlabel="inner steps", ylabel=LOSSES[metric])
        drawn |= dict(zip(by_label, axes.get_lines(), strict=True))
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _label(of: AnalysedNetwork) -> str:
    """Methods of the two tables that differ in the number of plastic layers alone share a line, but for FLP."""
    title = of.network.method.title
    return title if of.network.method.learner == "flp" else re.sub(r" \(\d\)", "", title)


def _steps(networks: Sequence[AnalysedNetwork]) -> NDArray[np.int64]:
    return networks[0].measured.analysis.asked_at


def _mean_losses(networks: Sequence[AnalysedNetwork]) -> Array:
    losses: Array = np.mean([over_episodes(of.measured.analysis.query_losses).mean for of in networks], axis=0)
    return losses


def _record(command: str, rows: Sequence[Row], networks: Sequence[AnalysedNetwork]) -> bytes:
    """All that is known, and where it comes from."""
    meta_trained = [{"name": of.network.name, "seed": of.network.seed, **of.origin} for of in networks]
    return json_of({"command": command, "rows": rows, "networks": meta_trained, **stamp()})
