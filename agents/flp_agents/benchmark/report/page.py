"""A benchmark's results as one HTML page that needs nothing else: no network, no further file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from flp_agents.benchmark.reading import read_results
from flp_agents.benchmark.report.comparison import compare_with_best
from flp_agents.benchmark.report.curves import loss_at_each_step, query_loss, running_mean
from flp_agents.benchmark.report.drawing import Drawing, Style, draw_sample
from flp_agents.benchmark.report.figures import draw_curves, draw_forgetting, draw_r_matrix, draw_scores
from flp_agents.benchmark.report.formats import ERROR_DIGITS, as_html, latex, markdown, one_line
from flp_agents.benchmark.report.leaderboard import Leaderboard, LeaderboardRow, make_leaderboards, overall_order
from flp_agents.benchmark.report.notes import facts_of, notes_of
from flp_agents.benchmark.report.svg import DARK, LIGHT, drawing_style
from flp_agents.benchmark.report.tables import (
    IN_THESE_RUNS,
    OVER_REPLICATES,
    caption_of,
    failures_of,
    seconds_of,
    seeds_in_words,
    state_bytes_of,
    tables_of,
)
from flp_agents.benchmark.results import CELLS, CellResult
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import FEWEST
from flp_base.errors import FLPError
from flp_base.files import spelt, write_atomically
from flp_base.machine_memory import readable

FILE_NAME = "report.html"
# R matrices that are open from the start if nobody brought a learner; the others unfold.
MATRICES_SHOWN = 4
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """All that a page shows of one setting.

    Attributes:
        anchor: that no other section has, fit for an address and a file name.
        leaderboard: its learners.
        overview: figures of scores and forgetting.
        curves: figures over the lifetime.
        matrices: an R matrix for each learner, what somebody brought first, then best first.
    """

    anchor: str
    leaderboard: Leaderboard
    overview: tuple[Drawing, ...]
    curves: tuple[Drawing, ...]
    matrices: tuple[Drawing, ...]

    @property
    def matrices_shown(self) -> int:
        """How many R matrices are open from the start: all that somebody brought, and some of the best."""
        own = sum(entry.own for entry in self.leaderboard.ranked)
        return max(MATRICES_SHOWN, own + MATRICES_SHOWN - 1)


def write_report(results_folder: Path, output: Path | None = None) -> Path:
    """Writes a page of all results in a folder; the same results make the same page, byte for byte.

    Args:
        results_folder: that ``flp benchmark`` wrote, however far it came.
        output: the file; none: ``report.html`` in the folder.

    Returns:
        The file.

    Raises:
        ResultsError: if the folder holds no result that can be read.
        MissingDependency: if matplotlib is not installed.
        FLPError: if the file cannot be written.
    """
    results, left_out = read_results(results_folder)
    path = results_folder / FILE_NAME if output is None else output
    page = render_page(results, left_out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, spelt(page).encode())
    except OSError as error:
        raise FLPError(f"cannot write {path}: {error.strerror or error}: choose another --output") from None
    return path


def render_page(results: Sequence[CellResult], left_out: Sequence[str] = ()) -> str:
    """The page itself.

    Args:
        results: at least one.
        left_out: a line for each file, or kind of results, that is left out.

    Raises:
        MissingDependency: if matplotlib is not installed.
    """
    leaderboards = make_leaderboards(results)
    order = overall_order(leaderboards)
    styles = {name: Style(index) for index, name in enumerate(order)}
    with drawing_style():
        sections = [
            _section(leaderboard, anchor, styles)
            for leaderboard, anchor in zip(leaderboards, _anchors(leaderboards), strict=True)
        ]
        samples = {name: draw_sample(style, f"sample-{style.index}") for name, style in styles.items()}
    script = Markup((_HERE / "page.js").read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": as_html, "line": one_line, "bytes": readable}
    return environment.from_string((_HERE / "page.html").read_text(encoding="utf-8")).render(
        sections=sections,
        styles=styles,
        samples=samples,
        facts=facts_of(results, leaderboards),
        notes=notes_of(results, leaderboards, left_out),
        light=LIGHT,
        dark=DARK,
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        METRICS=METRICS,
        CELLS=CELLS,
        ERROR_DIGITS=ERROR_DIGITS,
        caption_of=caption_of,
        compare_with_best=compare_with_best,
        failures_of=failures_of,
        latex=_joined_latex,
        markdown=_joined_markdown,
        options_of=_options_of,
        origin_of=_origin_of,
        seconds_of=seconds_of,
        seeds_in_words=seeds_in_words,
        state_bytes_of=state_bytes_of,
        FEWEST=FEWEST,
        IN_THESE_RUNS=IN_THESE_RUNS,
        OVER_REPLICATES=OVER_REPLICATES,
    )


def _section(leaderboard: Leaderboard, anchor: str, styles: Mapping[str, Style]) -> Section:
    if not leaderboard.ranked:
        return Section(anchor, leaderboard, (), (), ())
    overview = [
        draw_scores(leaderboard, styles, f"{anchor}-query-score"),
        draw_scores(leaderboard, styles, f"{anchor}-prequential-score", "prequential_score"),
        draw_forgetting(leaderboard, styles, f"{anchor}-forgetting"),
    ]
    shared = "Bands: one standard error over episodes."
    curves = [
        draw_curves(
            leaderboard,
            styles,
            f"{anchor}-query-loss",
            title="Query loss over the lifetime",
            caption=f"What the query would have found, had the lifetime ended there. {shared}",
            curve_of=query_loss,
        ),
        draw_curves(
            leaderboard,
            styles,
            f"{anchor}-step-loss",
            title="Loss at each step",
            caption=f"Of each prediction, before its target was seen. {shared}",
            curve_of=loss_at_each_step,
        ),
        draw_curves(
            leaderboard,
            styles,
            f"{anchor}-prequential",
            title="Prequential curve",
            caption="Running mean of the loss at each step; it ends at the prequential score.",
            curve_of=running_mean,
        ),
    ]
    matrices = [
        draw_r_matrix(leaderboard, entry, f"{anchor}-r-matrix-{styles[entry.name].index}")
        for entry in leaderboard.shown_first
    ]
    return Section(anchor, leaderboard, _there(overview), _there(curves), _there(matrices))


def _there(drawings: Sequence[Drawing | None]) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawings if drawing is not None)


def _anchors(leaderboards: Sequence[Leaderboard]) -> list[str]:
    """One for each leaderboard: its environment's id, with a number behind it where several have the same."""
    anchors: list[str] = []
    for leaderboard in leaderboards:
        plain = re.sub(r"[^a-z0-9]+", "-", leaderboard.setting.env.lower()).strip("-") or "setting"
        number = sum(other == plain or other.startswith(f"{plain}--") for other in anchors)
        anchors.append(f"{plain}--{number + 1}" if number else plain)
    return anchors


def _options_of(leaderboard: Leaderboard) -> str:
    options = json.loads(leaderboard.setting.env_options)
    return ", ".join(f"{name} = {value}" for name, value in options.items())


def _origin_of(entry: LeaderboardRow) -> str:
    """What a learner was meta-trained on, as its results' stamps say it."""
    return ", ".join(entry.stamped("meta_trained_on")) or ("nothing" if entry.results else "")


def _joined_latex(leaderboard: Leaderboard) -> str:
    needed = r"% Needs \usepackage{booktabs} and, for names beyond ASCII, a compiler that reads UTF-8."
    return "\n\n".join([needed, *map(latex, tables_of(leaderboard))]) + "\n"


def _joined_markdown(leaderboard: Leaderboard) -> str:
    return "\n\n".join(map(markdown, tables_of(leaderboard))) + "\n"
