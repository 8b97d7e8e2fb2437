"""Colours of a report's light and dark theme, and figures as SVG that follow them."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from markupsafe import Markup

from flp_envs.rendering import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d5dae0"
# Okabe & Ito's palette without its yellow and its second blue, then what lies farthest from all before it, seen with
# full, red-blind, green-blind and blue-blind vision (the tests say how far). Black is the ink, light on dark paper.
SERIES = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", INK, "#e69f00", "#7b3606", "#2e23cc", "#47b5fa", "#a74ff8"),
    *("#af0f6f", "#94b784", "#700e99", "#8f82e2", "#965e4b", "#3d5442", "#c91fae", "#bc9dd0", "#67598c", "#c82708"),
)
_SERIES_ON_DARK = (
    *("#94b7fe", "#d55e00", "#009e73", "#cc79a7", "#e7eaee", "#e69f00", "#745f4c", "#5e4af3", "#5ddae0", "#b212b2"),
    *("#d0afa8", "#9efb6b", "#9d78ed", "#906b98", "#c82708", "#c2dca3", "#e543c8", "#b69fd4", "#797ec7", "#f0b871"),
)
LIGHT = {
    "page": "#ffffff",
    "surface": "#f5f7f9",
    "raised": "#ffffff",
    "ink": INK,
    "muted": MUTED,
    "line": GRID,
    "accent": "#0a58a4",
    "warning": "#8a4200",
    "warning-surface": "#fff6e9",
    **{f"series-{i}": colour for i, colour in enumerate(SERIES) if colour != INK},
}
DARK = {
    **LIGHT,
    "page": "#13161b",
    "surface": "#1b2027",
    "raised": "#222831",
    "ink": "#e7eaee",
    "muted": "#a3adb8",
    "line": "#39414c",
    "accent": "#79b8ff",
    "warning": "#ffc078",
    "warning-surface": "#2b2218",
    **{f"series-{i}": colour for i, colour in enumerate(_SERIES_ON_DARK) if SERIES[i] != INK},
}
# Colours that a figure is drawn with, and those of the theme that take their place.
_THEMED = {
    LIGHT[name]: f"var(--{name})" for name in LIGHT if name in ("ink", "muted", "line") or name.startswith("series-")
}
FONT_SIZE = 8.0


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draws alike on every machine, whatever its own settings of matplotlib are.

    Raises:
        MissingDependency: if matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "flp-envs",
                "svg.fonttype": "path",
                "font.family": "DejaVu Sans",
                "font.size": FONT_SIZE,
                "axes.titlesize": FONT_SIZE,
                "axes.labelsize": FONT_SIZE,
                "xtick.labelsize": FONT_SIZE - 1,
                "ytick.labelsize": FONT_SIZE - 1,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.edgecolor": MUTED,
                "axes.labelcolor": INK,
                "axes.titlecolor": INK,
                "text.color": INK,
                "xtick.color": MUTED,
                "ytick.color": MUTED,
                "xtick.labelcolor": INK,
                "ytick.labelcolor": INK,
                "grid.color": GRID,
                "grid.linewidth": 0.6,
                "axes.grid": True,
                "axes.axisbelow": True,
                "axes.facecolor": "none",
                "figure.facecolor": "none",
                "lines.linewidth": 1.4,
                "lines.markersize": 4.0,
            }
        )
        yield


def inline_svg(figure: Figure, name: str, label: str = "") -> Markup:
    """A figure as an element of a page, in the colours of the page's theme; the same bytes for the same figure.

    Artists whose group id is ``series-3-...`` or ``legend-3-...`` get an attribute ``data-series="3"`` or
    ``data-legend="3"``, by which a page shows and hides them.

    Args:
        figure: drawn within :func:`drawing_style`.
        name: that no other figure of the page has.
        label: what is to be read out instead of it; none: it says nothing that is not beside it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head, _, body = buffer.getvalue().partition("</metadata>")
    # Comments repeat texts that are drawn.
    body = re.sub(r"<!--.*?-->|<style.*?</style>", "", body.removesuffix("</svg>\n"), flags=re.DOTALL)
    # What is used in several places must stay when the place where it stands first is taken away.
    shared = "".join(re.findall(r"<defs>(.*?)</defs>", body, flags=re.DOTALL))
    body = f"<defs>{shared}</defs>" + re.sub(r"<defs>.*?</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'id="(series|legend)-(\d+)[^"]*"', r'data-\1="\2"', body)
    body = body.replace("DejaVuSans-", "")
    prefix = "f" + hashlib.sha256(name.encode()).hexdigest()[:8]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = body.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    body = re.sub(r'( (?:d|x|y)=")([^"]*)', lambda match: match[1] + _rounded(match[2]), body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda match: _THEMED.get(match[0], match[0]), body)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None
    spoken = Markup('role="img" aria-label="{}"').format(label) if label else 'aria-hidden="true"'
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return Markup(f'<svg {namespaces} {view[0]} stroke-linejoin="round" {spoken}>{" ".join(body.split())}</svg>')


def _rounded(coordinates: str) -> str:
    """To a hundredth of a point, which nobody sees."""
    return re.sub(r"-?\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", coordinates)
