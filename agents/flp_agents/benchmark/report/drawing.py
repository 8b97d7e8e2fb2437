"""How a report draws: one style for each learner, sizes, scales, legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from flp_agents.benchmark.report.formats import one_line
from flp_agents.benchmark.report.leaderboard import LeaderboardRow
from flp_agents.benchmark.report.svg import FONT_SIZE, SERIES, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
WIDTH = 3.9
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (6, 1.5, 1.5, 1.5)), (0, (1.5, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# Losses that differ by more than this factor are drawn on a logarithmic axis.
LARGEST_LINEAR_SPAN = 30.0
LONGEST_NAME = 28


@dataclass(frozen=True)
class Style:
    """How one learner is drawn everywhere: no two of the first 20 share a colour, nor any two of
    the first 180 colour, dashes and marker.

    Attributes:
        index: its place in the order of learners.
    """

    index: int

    @property
    def colour(self) -> str:
        """Of :data:`flp_agents.benchmark.report.svg.SERIES`."""
        return SERIES[self.index % len(SERIES)]

    @property
    def line(self) -> dict[str, Any]:
        """For matplotlib."""
        dashes, marker = DASHES[self.index % len(DASHES)], MARKERS[self.index % len(MARKERS)]
        return {"color": self.colour, "linestyle": dashes, "marker": marker}


@dataclass(frozen=True)
class Drawing:
    """A figure, ready to be put into a page.

    Attributes:
        name: that no other figure of the page has, fit for a file.
        title: what it shows.
        svg: the figure.
        caption: how to read it.
        headings, rows: the numbers that it was drawn from, or the most important ones of them.
    """

    name: str
    title: str
    svg: Markup
    caption: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def draw_sample(style: Style, name: str) -> Markup:
    """How a learner is drawn, for a legend outside of figures."""
    from matplotlib.lines import Line2D

    figure = make_figure(0.17, 0.5)
    figure.add_artist(Line2D([0.06, 0.5, 0.94], [0.5] * 3, **style.line, markevery=[1], markersize=5.0))
    return inline_svg(figure, name)


def make_figure(height: float, width: float = WIDTH) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def add_legend(figure: Figure, entries: Iterable[LeaderboardRow], styles: Mapping[str, Style]) -> None:
    """An entry for each learner, all in one place on the lower edge; who shows the figure decides where they go."""
    from matplotlib.lines import Line2D

    inches = figure.dpi_scale_trans
    for entry in entries:
        style = styles[entry.name]
        sample = Line2D([0.08, 0.2, 0.32], [0.03] * 3, **style.line, markevery=[1], transform=inches)
        text = figure.text(0.38, 0, drawable(entry.label), transform=inches, parse_math=False, fontsize=FONT_SIZE - 1)
        for artist in (figure.add_artist(sample), text):
            artist.set_gid(f"legend-{style.index}-{type(artist).__name__}")
            artist.set_in_layout(False)


def scale_axis(axes: Axes, letter: str, values: Iterable[float]) -> None:
    """Makes one axis, "x" or "y", logarithmic where losses spread over decades."""
    if is_wide(np.asarray(list(values))):
        from matplotlib.ticker import NullFormatter

        axes.set(**{f"{letter}scale": "log"})
        # Its many minor ticks would each be measured for a label.
        getattr(axes, f"{letter}axis").set_minor_formatter(NullFormatter())


def is_wide(values: NDArray[np.float64]) -> bool:
    """Whether losses spread over decades; never where one is 0, as shares of wrong answers may be."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > LARGEST_LINEAR_SPAN * finite.min())


def drawable(text: str) -> str:
    """A name in one line of readable length, with a box for each character that the font has not."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    line = one_line(text)
    line = line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"
    return "".join(c if font.get_char_index(ord(c)) else "\N{WHITE SQUARE}" for c in line)
