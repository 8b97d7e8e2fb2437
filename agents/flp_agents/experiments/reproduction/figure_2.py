"""Figure 2, as a picture and tables of the networks that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flp_agents.experiments.analysis.figures import draw_analyses, png_of
from flp_agents.experiments.analysis.tables import csv_of, summary_of, tables_of
from flp_agents.experiments.reproduction.analysing import AnalysedNetwork
from flp_agents.experiments.reproduction.files import json_of, write_all
from flp_agents.support.provenance import stamp

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
    networks = (*continual, *iid)
    measured = [of.measured for of in continual]
    measured_iid = [of.measured for of in iid]
    rows = [
        {"method": of.network.method.title, "column": of.network.column.name, **summary_of(of.measured)}
        for of in networks
    ]
    contents = {f"{name}.csv": csv_of(table) for name, table in tables_of(measured).items() if name != "magnitude"}
    if measured_iid:
        contents["magnitude_iid.csv"] = csv_of(tables_of(measured_iid)["magnitude"])
    contents["figure2.png"] = png_of(draw_analyses(measured, measured_iid))
    meta_trained = [{"name": of.network.name, "seed": of.network.seed, **of.origin} for of in networks]
    contents["figure2.json"] = json_of({"command": command, "rows": rows, "networks": meta_trained, **stamp()})
    return rows, write_all(folder, contents)
