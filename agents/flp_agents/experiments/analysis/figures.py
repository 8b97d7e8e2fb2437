"""Analyses as one picture, after figure 2 and appendix C of Lindsey & Litwin-Kumar (2020)."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flp_agents.benchmark.report.drawing import is_wide
from flp_agents.experiments.analysis.over_lifetime import distance_of_points
from flp_agents.experiments.analysis.tables import Analysed, over_episodes
from flp_envs.rendering import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
# Colour and line of each kind of learner, from Okabe & Ito's palette: told apart with any colour vision; lines help.
STYLES = {
    "flp": ("#0072B2", "-"),
    "feature-reuse": ("#E69F00", "--"),
    "gradient-based": ("#009E73", "-."),
    "oml": ("#CC79A7", ":"),
}
# For more learners of one kind, and other kinds: the rest of the palette, then all of it with other lines.
_MORE = [(colour, line) for line in ("-", "--", "-.", ":") for colour in ("#D55E00", "#56B4E9", "#000000")]
SCORES = {"mse": "query mean squared error", "error_percent": "wrong answers to the query (%)"}
LOSSES = {"mse": "query mean squared error", "error_percent": "query cross-entropy (nats)"}
CHANGES = {
    "mse": "mean squared change\nof earlier predictions",
    "error_percent": "changed labels\nof earlier queries (%)",
}
MOST_COLUMNS = 4
PANEL_INCHES = (3.9, 2.9)


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        x, y: ``(n,)``.
        style: colour and line.
        label: for the legend.
    """

    x: ArrayLike
    y: Array
    style: tuple[str, str]
    label: str


def styles_of(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """A colour and a line for each of several learners; the first of each kind has that of its kind."""
    spare, met, styles = 0, Counter[str](), []
    for kind in kinds:
        met[kind] += 1
        if met[kind] == 1 and kind in STYLES:
            styles.append(STYLES[kind])
        else:
            styles.append(_MORE[spare % len(_MORE)])
            spare += 1
    return styles


def draw_curves(
    axes: Axes,
    curves: Sequence[Curve],
    *,
    title: str,
    xlabel: str,
    ylabel: str = "",
    marked: bool = False,
    share: bool = False,
) -> None:
    """One panel; its vertical axis is logarithmic where the curves spread over decades.

    Args:
        axes: where to.
        curves: in the legend's order.
        title: of the panel.
        xlabel: with its unit.
        ylabel: the same.
        marked: whether to mark every point.
        share: whether another panel's scale is shared: then it is left alone.
    """
    for curve in curves:
        colour, line = curve.style
        marker = "o" if marked else ""
        axes.plot(np.asarray(curve.x), curve.y, color=colour, linestyle=line, marker=marker, label=curve.label)
        axes.get_lines()[-1].set(markersize=4, linewidth=1.5)
    if not share and curves and is_wide(np.concatenate([curve.y for curve in curves])):
        axes.set_yscale("log")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel, parse_math=False)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)


def draw_analyses(learners: Sequence[Analysed], on_iid: Sequence[Analysed] = ()) -> Figure:
    """Panels A, B and E, then a panel for each plastic layer of C and of D; letters are those of the paper's figure 2.

    Args:
        learners: at least one, all of one environment.
        on_iid: learners with the same titles, meta-trained on i.i.d. episodes and measured there: panel D shows these,
            as the paper's does. None: it shows ``learners``.

    Raises:
        MissingDependency: if matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    layers = max(of.analysis.plastic_layers for of in learners)
    columns = max(3, min(layers, MOST_COLUMNS))
    rows_of_layers = -(-layers // columns)
    rows = 1 + 2 * rows_of_layers
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 0.5), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.ravel():
        panel.set_axis_off()
    styles, labels = styles_of([of.learner for of in learners]), _labels(learners)
    named = list(zip(learners, styles, labels, strict=True))

    first = panels[0]
    for panel in first[:3]:
        panel.set_axis_on()
    _draw_readout(first[0], named)
    _draw_changes(first[1], named)
    _draw_losses(first[2], named)
    by_layer = panels[1:].reshape(2, -1)
    directions, sizes = "cosine of update and\nnegative loss gradient", "norm of the update of weights"
    _draw_layers(by_layer[0][:layers], named, "C  Direction of updates,", directions, "cosines")
    of_title = {of.title: of for of in on_iid}
    named_iid = [(of_title[of.title], style, label) for of, style, label in named if of.title in of_title]
    title = "D  Size of updates, i.i.d.," if named_iid else "D  Size of updates,"
    _draw_layers(by_layer[1][:layers], named_iid or named, title, sizes, "magnitudes")
    handles = [first[2].get_lines()[i] for i in range(len(learners))]
    legend = figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(learners)), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def png_of(figure: Figure) -> bytes:
    """The picture as a file's content."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


_Named = Sequence[tuple[Analysed, tuple[str, str], str]]


def _labels(learners: Sequence[Analysed]) -> list[str]:
    """Titles, with the checkpoint's name where several have the same."""
    titles = Counter(of.title for of in learners)
    return [of.title if titles[of.title] == 1 else f"{of.title}, {of.name}" for of in learners]


def _draw_readout(axes: Axes, named: _Named) -> None:
    from matplotlib.lines import Line2D

    metric = named[0][0].analysis.metric
    means = []
    layers = [of.analysis.plastic_layers for of, _, _ in named]
    for place, (of, (colour, _), _label) in enumerate(named):
        # Learners with as many plastic layers stand side by side.
        beside = layers.count(layers[place]) - 1
        x = layers[place] + min(0.2, 0.8 / max(1, beside)) * (layers[:place].count(layers[place]) - beside / 2)
        for marker, values in (("o", of.analysis.query_scores[:, -1]), ("s", of.analysis.readout_scores)):
            mean, error, _ = over_episodes(values)
            means.append(float(mean))
            # Of a single episode no error is known.
            bar = None if np.isnan(error) else np.atleast_1d(error)
            fill = colour if marker == "o" else "white"
            axes.errorbar(x, mean, bar, fmt=marker, color=colour, markerfacecolor=fill, markersize=6, capsize=3)
    if is_wide(np.asarray(means)):
        axes.set_yscale("log")
    axes.set_xticks(range(min(layers), max(layers) + 1))
    axes.set_xlim(min(layers) - 0.6, max(layers) + 0.6)
    axes.set_xlabel("plastic layers")
    axes.set_ylabel(SCORES.get(metric, metric), parse_math=False)
    axes.set_title("A  Initial features, and what is made of them", fontsize=10)
    axes.grid(alpha=0.3)
    kinds = [
        Line2D([], [], color="#555555", marker="s", linestyle="", markerfacecolor="white"),
        Line2D([], [], color="#555555", marker="o", linestyle=""),
    ]
    axes.legend(kinds, ["readout of initial features", "learner, end of lifetime"], fontsize=8, frameon=False)


def _draw_changes(axes: Axes, named: _Named) -> None:
    from matplotlib.ticker import MaxNLocator

    curves = [
        Curve(np.arange(2, of.analysis.changes.shape[1] + 2), over_episodes(of.analysis.changes).mean, style, label)
        for of, style, label in named
        if of.analysis.changes is not None and of.analysis.changes.shape[1]
    ]
    if not curves:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "B  Interference: sub-tasks do not\ncome one after another here", ha="center", fontsize=10)
        return
    draw_curves(
        axes,
        curves,
        title="B  Interference with earlier sub-tasks",
        xlabel="sub-tasks met so far",
        ylabel=_in_words(CHANGES, named),
        marked=True,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_losses(axes: Axes, named: _Named) -> None:
    draw_curves(
        axes,
        [
            Curve(of.analysis.asked_at, over_episodes(of.analysis.query_losses).mean, style, label)
            for of, style, label in named
        ],
        title="E  Loss on all sub-tasks over the lifetime",
        xlabel="inner steps",
        ylabel=_in_words(LOSSES, named),
    )
    _mark_task_ends(axes, named)


def _in_words(words: Mapping[str, str], named: _Named) -> str:
    """A metric; a learner of one's own may have one that is not known here."""
    metric = named[0][0].analysis.metric
    return words.get(metric, metric)


def _draw_layers(panels: NDArray[np.object_], named: _Named, title: str, ylabel: str, field: str) -> None:
    """One panel for each layer, the output layer first, all with one scale."""
    in_bin = distance_of_points(int(named[0][0].analysis.asked_at[-1]))
    drawn = []
    for layer, axes in enumerate(panels, 1):
        axes.set_axis_on()
        curves = []
        for of, style, label in named:
            values: Array = getattr(of.analysis.updates, field)
            if layer <= values.shape[2]:
                steps, means = _in_bins(over_episodes(values[:, :, values.shape[2] - layer]).mean, in_bin)
                curves.append(Curve(steps, means, style, label))
        draw_curves(
            axes,
            curves,
            title=f"{title} {_layer_name(layer)}",
            xlabel="inner step" + (f" (means of {in_bin})" if in_bin > 1 else ""),
            ylabel=ylabel if (layer - 1) % MOST_COLUMNS == 0 else "",
            share=True,
        )
        _mark_task_ends(axes, named)
        drawn += [curve.y for curve in curves]
    _share_scale(panels, np.concatenate(drawn), cosine=field == "cosines")


def _share_scale(panels: NDArray[np.object_], values: Array, *, cosine: bool) -> None:
    for axes in panels:
        if cosine:
            axes.axhline(0, color="#555555", linewidth=0.8)
        elif is_wide(values):
            axes.set_yscale("log")
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _mark_task_ends(axes: Axes, named: _Named) -> None:
    ends = named[0][0].analysis.task_ends
    for end in [] if ends is None else ends[:-1]:
        axes.axvline(float(end), color="#999999", linewidth=0.6, alpha=0.6, zorder=0)


def _in_bins(values: Array, size: int) -> tuple[Array, Array]:
    """``(T,)`` as means of ``size`` neighbours, beside the middles of those inner steps, counted from 1."""
    starts = np.arange(0, len(values), size)
    counts = np.diff([*starts, len(values)])
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    number = np.add.reduceat(known.astype(np.int64), starts)
    means = np.divide(sums, number, out=np.full(len(sums), np.nan), where=number > 0)
    return starts + (counts + 1) / 2, means


def _layer_name(layer: int) -> str:
    return "output layer" if layer == 1 else f"{layer - 1} below the output"
