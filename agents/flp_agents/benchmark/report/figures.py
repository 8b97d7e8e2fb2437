"""The figures of a report: query scores, learning curves, R matrices and forgetting, one drawing each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flp_agents.benchmark.report.curves import Curve, r_matrix, task_ends
from flp_agents.benchmark.report.drawing import (
    LARGEST_LINEAR_SPAN,
    Drawing,
    Style,
    add_legend,
    drawable,
    is_wide,
    make_figure,
    scale_axis,
)
from flp_agents.benchmark.report.formats import one_line, plain
from flp_agents.benchmark.report.leaderboard import Leaderboard, LeaderboardRow
from flp_agents.benchmark.report.svg import FONT_SIZE, GRID, INK, MUTED, inline_svg
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import FEWEST, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
CURVE_HEIGHT = 2.9
MATRIX_WIDTH = 4.6
_REPLICATES = f"Rings: each network or seed; from {FEWEST} of them on"
# Sub-tasks up to which there is room for a number in every cell of an R matrix.
MOST_NUMBERED = 12


def draw_scores(
    leaderboard: Leaderboard, styles: Mapping[str, Style], name: str, metric: str = "query_score"
) -> Drawing:
    """One metric's means with their intervals, a row for each learner, in the order of the query score."""
    ranked = [entry for entry in leaderboard.ranked if metric in entry.summaries]
    figure, axes = _rows_of(ranked)
    ends: list[float] = []
    for row, entry in enumerate(ranked):
        summary = entry.summaries[metric]
        line = styles[entry.name].line | {"linestyle": "none"}
        for interval, width in ((summary.interval_over_replicates, 1.0), (summary.interval_over_episodes, 3.0)):
            if math.isfinite(interval[0]):
                axes.plot(interval, [row, row], color=line["color"], linewidth=width, solid_capstyle="butt")
                ends += interval
        axes.plot([summary.mean], [row], **line, markeredgecolor=INK, markeredgewidth=0.4, markersize=5.0)
        _draw_replicates(axes, row, summary)
        ends += [summary.mean, *summary.means]
    scale_axis(axes, "x", ends)
    axes.set_xlabel(_unit(leaderboard), parse_math=False)
    title, by_mean = METRICS[metric].title, sorted(ranked, key=lambda entry: entry.summaries[metric].mean)
    least, most = (f"{s.label}, {plain(s.summaries[metric].mean)}" for s in (by_mean[0], by_mean[-1]))
    label = f"{title} of {len(ranked)} learners with 95 % intervals. Least: {least}; most: {most}."
    caption = f"Mean and 95 % interval over episodes, thick. {_REPLICATES}, a thin line is their 95 % interval."
    return Drawing(name, title.capitalize(), inline_svg(figure, name, one_line(label)), caption)


def draw_forgetting(leaderboard: Leaderboard, styles: Mapping[str, Style], name: str) -> Drawing | None:
    """How far earlier sub-tasks fell behind their best, a bar for each learner; none where that means nothing."""
    known = [entry for entry in leaderboard.ranked if "forgetting" in entry.summaries]
    if not known:
        return None
    known.sort(key=lambda entry: entry.summaries["forgetting"].mean)
    figure, axes = _rows_of(known)
    means = [entry.summaries["forgetting"].mean for entry in known]
    for row, (entry, mean) in enumerate(zip(known, means, strict=True)):
        axes.barh(row, mean, 0.62, color=styles[entry.name].colour, alpha=0.85)
        low, high = entry.summaries["forgetting"].interval_over_episodes
        if math.isfinite(low):
            axes.plot([low, high], [row, row], color=INK, linewidth=1.0)
        _draw_replicates(axes, row, entry.summaries["forgetting"])
        # On the side away from the names, even of a bar towards them.
        end = max(0.0, mean, high if math.isfinite(high) else mean)
        size = FONT_SIZE - 1.5
        axes.annotate(plain(mean, 2), (end, row), (4, 0), textcoords="offset points", va="center", fontsize=size)
    sizes = [abs(mean) for mean in means if mean]
    bent = len(sizes) > 1 and max(sizes) > LARGEST_LINEAR_SPAN * min(sizes)
    if bent:
        largest = math.floor(math.log10(max(sizes)))
        smallest = math.floor(math.log10(max(min(sizes), 1e-6 * max(sizes))))
        axes.set_xscale("symlog", linthresh=10.0**smallest)
        # None at the edge of the linear part, where it would run into the 0.
        decades = [10.0**d for d in range(largest, smallest, -max(1, math.ceil((largest - smallest) / 3)))]
        signs = [sign for sign in (-1.0, 1.0) if any(sign * mean > 0 for mean in means)]
        axes.set_xticks([0.0, *(sign * decade for sign in signs for decade in decades)])
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.margins(x=0.14)
    note = "\n(logarithmic away from 0)" if bent else ""
    axes.set_xlabel(f"forgetting, {_unit(leaderboard)}{note}", parse_math=False)
    label = f"Forgetting of {len(known)} learners: " + ", ".join(
        f"{entry.label} {plain(mean, 2)}" for entry, mean in zip(known, means, strict=True)
    )
    caption = (
        "How far the final loss on earlier sub-tasks lies above the best on the way; line: 95 % over episodes; rings: "
        "each network or seed. Below 0: the last sub-task made the earlier ones better still."
    )
    return Drawing(name, "Forgetting", inline_svg(figure, name, one_line(label)), caption)


def draw_curves(
    leaderboard: Leaderboard,
    styles: Mapping[str, Style],
    name: str,
    *,
    title: str,
    caption: str,
    curve_of: Callable[[LeaderboardRow], Curve | None],
) -> Drawing | None:
    """One curve over the lifetime for each learner that has one, with a band of one standard error."""
    curves = {entry: curve for entry in leaderboard.ranked if (curve := curve_of(entry)) is not None}
    if not curves:
        return None
    figure = make_figure(CURVE_HEIGHT)
    axes: Axes = figure.subplots()
    for end in _ends_of_tasks(curves):
        axes.axvline(end, color=GRID, linewidth=0.8)
    axes.grid(False, axis="x")
    for place, (entry, curve) in enumerate(curves.items()):
        style = styles[entry.name]
        every = max(1, len(curve.at) // 8)
        (line,) = axes.plot(
            curve.at,
            curve.mean,
            **style.line,
            markevery=(place % every, every),
            markeredgewidth=0,
            zorder=3 - place / 100,
        )
        line.set_gid(f"series-{style.index}-line")
        if np.isfinite(curve.error).all():
            low, high = curve.mean - curve.error, curve.mean + curve.error
            band = axes.fill_between(curve.at, low, high, color=style.colour, alpha=0.18, linewidth=0)
            band.set_gid(f"series-{style.index}-band")
    scale_axis(axes, "y", np.concatenate([curve.mean for curve in curves.values()]))
    axes.set_xlabel("support steps")
    axes.set_ylabel(_unit(leaderboard), parse_math=False)
    axes.margins(x=0.02)
    add_legend(figure, curves, styles)
    headings, rows = _numbers_of(curves)
    label = f"{title}: {leaderboard.unit} by support step, of {len(curves)} learners; the table of numbers follows."
    return Drawing(name, title, inline_svg(figure, name, one_line(label)), caption, headings, rows)


def draw_r_matrix(leaderboard: Leaderboard, entry: LeaderboardRow, name: str) -> Drawing | None:
    """A learner's loss on every sub-task after every sub-task, in the leaderboard's colours; none where mixed."""
    matrices = {other.name: matrix for other in leaderboard.ranked if (matrix := r_matrix(other)) is not None}
    if entry.name not in matrices:
        return None
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    matrix, everything = matrices[entry.name], np.concatenate([m.ravel() for m in matrices.values()])
    low, high = np.nanmin(everything), np.nanmax(everything)
    norm = LogNorm(low, high) if is_wide(everything) else Normalize(low, high if high > low else low + 1)
    rows, columns = matrix.shape
    figure = make_figure(0.75 + 3.3 * rows / columns, MATRIX_WIDTH)
    axes: Axes = figure.subplots()
    mesh = axes.pcolormesh(matrix, norm=norm, cmap="viridis")
    for i, j in np.ndindex(rows, columns):
        value = float(matrix[i, j])
        pen = _pen_on(mesh.cmap(norm(value)))
        if rows <= MOST_NUMBERED + 1 and math.isfinite(value):
            size = min(FONT_SIZE - 1, 52 / columns)
            number = axes.text(
                j + 0.5, i + 0.5, _short_number(value), ha="center", va="center", color=pen, fontsize=size
            )
            number.set_in_layout(False)
        if i == j + 1:
            axes.add_patch(Rectangle((j + 0.06, i + 0.06), 0.88, 0.88, fill=False, edgecolor=pen, linewidth=1.0))
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    every = -(-columns // MOST_NUMBERED)
    axes.set_xticks(np.arange(0, columns, every) + 0.5, [str(j + 1) for j in range(0, columns, every)])
    axes.set_yticks(np.arange(0, rows, every) + 0.5, ["initial" if i == 0 else str(i) for i in range(0, rows, every)])
    axes.set(xlabel="loss on sub-task", ylabel="after sub-task")
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
    bar.set_label(_unit(leaderboard), parse_math=False)
    bar.outline.set_visible(False)
    label = (
        f"R matrix of {entry.label}: {leaderboard.unit} on each of {columns} sub-tasks, initially and after each of "
        "them; the table of numbers follows."
    )
    headings = ("after sub-task", *(str(j + 1) for j in range(columns)))
    numbers = [("initial" if i == 0 else str(i), *map(plain, row)) for i, row in enumerate(matrix.tolist())]
    caption = "Framed: the sub-task just learned. Below the frame: its loss later on; above: before it was met."
    return Drawing(name, entry.label, inline_svg(figure, name, one_line(label)), caption, headings, tuple(numbers))


def _draw_replicates(axes: Axes, row: int, summary: Summary) -> None:
    """A ring for each network or seed, below the row's line; none for a single one, which is the mean itself."""
    if summary.replicates > 1:
        axes.plot(
            summary.means,
            [row + 0.27] * summary.replicates,
            linestyle="none",
            marker="o",
            markersize=2.6,
            markeredgewidth=0.7,
            markeredgecolor=INK,
            fillstyle="none",
        )


def _unit(leaderboard: Leaderboard) -> str:
    """Of the scores, as it may be drawn: a learner of one's own may call its metric anything."""
    return drawable(leaderboard.unit)


def _rows_of(entries: Sequence[LeaderboardRow]) -> tuple[Figure, Axes]:
    """A figure with a named row for each learner, from the top."""
    figure = make_figure(max(1.6, 0.62 + 0.17 * len(entries)))
    axes: Axes = figure.subplots()
    names = [drawable(entry.label) for entry in entries]
    axes.set_yticks(range(len(entries)), names, parse_math=False)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _ends_of_tasks(entries: Iterable[LeaderboardRow]) -> NDArray[np.float64]:
    known = [ends for entry in entries if (ends := task_ends(entry)) is not None]
    return known[0] if known and len(known[0]) <= MOST_NUMBERED else np.zeros(0)


def _numbers_of(curves: Mapping[LeaderboardRow, Curve]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """At most eleven points of every curve, of those that all of them have."""
    at = next(iter(curves.values())).at
    same = {entry: curve for entry, curve in curves.items() if np.array_equal(curve.at, at)}
    shown = np.unique(np.linspace(0, len(at) - 1, min(len(at), 11)).astype(int))
    rows = tuple((entry.label, *(plain(curve.mean[i]) for i in shown)) for entry, curve in same.items())
    return ("support steps", *(f"{at[i]:g}" for i in shown)), rows


def _pen_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever stands out more. Source: relative luminance of the WCAG 2.2."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], channels))
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _short_number(value: float) -> str:
    """At most six characters, if possible."""
    if value and not 0.01 <= abs(value) < 1000:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return plain(value, 2)
