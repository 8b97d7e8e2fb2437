"""Query loss over the lifetime, appendix C of the paper: a file for each network, and a picture and a table of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flp_agents.experiments.analysis.figures import LOSSES, Curve, draw_curves, png_of, styles_of
from flp_agents.experiments.analysis.tables import LOSS_UNITS, over_episodes
from flp_agents.experiments.reproduction.analysing import AnalysedNetwork
from flp_agents.experiments.reproduction.files import json_of, read_record, write_all, write_record
from flp_agents.experiments.reproduction.networks import plan_digest
from flp_agents.experiments.reproduction.running import How, counts
from flp_agents.experiments.reproduction.tables import Network
from flp_agents.support.provenance import stamp
from flp_base.files import finite_or_none
from flp_datasets.csv_files import csv_of
from flp_envs.rendering import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Row = dict[str, Any]


@dataclass(frozen=True)
class LearningCurve:
    """One network's mean query loss, on all that a lifetime meets, after some of its inner steps.

    Attributes:
        name: of the network.
        command: that meta-trained it.
        plan: names how it was to be meta-trained, see :func:`flp_agents.experiments.reproduction.networks.plan_digest`.
        weights: SHA-256 of its file of weights.
        episodes: meta-test lifetimes.
        metric: of the scores that belong to the loss, "mse" or "error_percent".
        inner_steps: ``(n,)``, from 0.
        mean: ``(n,)``, over episodes; none where the loss is not finite.
        standard_error: ``(n,)``, of the mean, over episodes; none for fewer than two.
        cost_seconds: of its meta-training.
        threads: the same.
        outer_steps: the same.
        stamp: versions, machine, time.
    """

    name: str
    command: str
    plan: str
    weights: str
    episodes: int
    metric: str
    inner_steps: Sequence[int]
    mean: Sequence[float | None]
    standard_error: Sequence[float | None]
    cost_seconds: float
    threads: int
    outer_steps: int
    stamp: Mapping[str, Any] = field(default_factory=dict)


def keep_curves(how: How, networks: Sequence[AnalysedNetwork]) -> None:
    """Writes each network's curve: ``SCALE/curves/NAME.json``.

    Raises:
        ReproductionError: if one cannot be written.
    """
    for of in networks:
        write_record(_path(how, of.network), _curve_of(of))


def kept_curves(
    how: How, networks: Sequence[Network], *, episodes: int, without_data: Collection[str] = ()
) -> list[tuple[Network, LearningCurve]]:
    """The curves that count as a table's results do: also of networks that were meta-trained elsewhere.

    Args:
        how: where.
        networks: of which.
        episodes: meta-test lifetimes that a curve must be of.
        without_data: names of columns whose data is not on this machine.

    Raises:
        ReproductionError: if a file is damaged.
    """
    found = []
    for network in networks:
        curve = read_record(_path(how, network), LearningCurve)
        if curve is None or curve.episodes != episodes:
            continue
        if network.column.name in without_data or counts(how, network, plan=curve.plan, weights=curve.weights):
            found.append((network, curve))
    return found


def write_curves(
    folder: Path, curves: Sequence[tuple[Network, LearningCurve]], command: str
) -> tuple[list[Row], list[Path]]:
    """A panel for each environment, and the same as a table.

    Args:
        folder: where to.
        curves: at least one; several of one method and environment are averaged in the picture.
        command: what was typed.

    Returns:
        A row for each network and inner step, and what was written.

    Raises:
        ReproductionError: if something cannot be written.
        MissingDependency: if matplotlib is not installed.
    """
    require_matplotlib()
    rows = [row for network, curve in curves for row in _rows(network, curve)]
    about = ("name", "command", "cost_seconds", "threads", "outer_steps", "weights")
    networks = [{key: value for key, value in asdict(curve).items() if key in about} for _, curve in curves]
    contents = {
        "curves.csv": csv_of(rows),
        "curves.png": png_of(_draw(curves)),
        "curves.json": json_of({"command": command, "rows": rows, "networks": networks, **stamp()}),
    }
    return rows, write_all(folder, contents)


def _path(how: How, network: Network) -> Path:
    return how.folder / network.scale / "curves" / f"{network.name}.json"


def _curve_of(of: AnalysedNetwork) -> LearningCurve:
    analysis = of.measured.analysis
    losses = over_episodes(analysis.query_losses)
    return LearningCurve(
        name=of.network.name,
        command=of.origin["command"],
        plan=plan_digest(of.network),
        weights=of.origin["weights"],
        episodes=len(analysis.query_losses),
        metric=analysis.metric,
        inner_steps=analysis.asked_at.tolist(),
        mean=_short(losses.mean, 6),
        standard_error=_short(losses.standard_error, 3),
        cost_seconds=of.origin["cost_seconds"],
        threads=of.origin["threads"],
        outer_steps=of.origin["outer_steps_done"],
        stamp=stamp(),
    )


def _short(values: NDArray[np.float64], digits: int) -> list[float | None]:
    return [finite_or_none(float(f"{value:.{digits}g}")) for value in values]


def _rows(network: Network, curve: LearningCurve) -> list[Row]:
    return [
        {
            "method": network.method.title,
            "column": network.column.name,
            "seed": network.seed,
            "inner_step": step,
            "unit": LOSS_UNITS[curve.metric],
            "mean": mean,
            "standard_error": error,
            "episodes": curve.episodes,
        }
        for step, mean, error in zip(curve.inner_steps, curve.mean, curve.standard_error, strict=True)
    ]


def _draw(curves: Sequence[tuple[Network, LearningCurve]]) -> Figure:
    from matplotlib.figure import Figure

    columns = list({network.column.name: network.column for network, _ in curves}.values())
    learners = {_label(network): network.method.learner for network, _ in curves}
    styles = dict(zip(learners, styles_of(list(learners.values())), strict=True))
    wide = 2 if len(columns) > 1 else 1
    high = -(-len(columns) // wide)
    figure = Figure(figsize=(5.2 * wide, 3.4 * high + 0.6), dpi=110, layout="constrained")
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    drawn: dict[str, Line2D] = {}
    for axes, column in zip(panels, columns, strict=False):
        by_label: dict[str, list[LearningCurve]] = {}
        for network, curve in curves:
            if network.column == column:
                by_label.setdefault(_label(network), []).append(curve)
        lines = [
            Curve(there[0].inner_steps, np.mean([_losses(curve) for curve in there], axis=0), styles[label], label)
            for label, there in by_label.items()
        ]
        ylabel = LOSSES[next(iter(by_label.values()))[0].metric]
        draw_curves(axes, lines, title=column.env.removesuffix("-v0"), xlabel="inner steps", ylabel=ylabel)
        drawn |= dict(zip(by_label, axes.get_lines(), strict=True))
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _label(network: Network) -> str:
    """Methods of the two tables that differ in the number of plastic layers alone share a line, but for FLP."""
    title = network.method.title
    return title if network.method.learner == "flp" else re.sub(r" \(\d\)", "", title)


def _losses(curve: LearningCurve) -> NDArray[np.float64]:
    return np.array(curve.mean, float)
