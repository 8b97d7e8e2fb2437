"""Figures: what they show, in which colours, and that they are the same each time."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from synthetic_results import LEARNERS, made_up_result

from flp_agents.benchmark.report import figures
from flp_agents.benchmark.report.curves import loss_at_each_step, query_loss
from flp_agents.benchmark.report.drawing import LONGEST_NAME, Style, draw_sample, drawable, is_wide
from flp_agents.benchmark.report.figures import (
    MOST_NUMBERED,
    _pen_on,
    draw_curves,
    draw_forgetting,
    draw_r_matrix,
    draw_scores,
)
from flp_agents.benchmark.report.leaderboard import make_leaderboards
from flp_agents.benchmark.report.page import render_page
from flp_agents.benchmark.report.svg import DARK, LIGHT, SERIES, drawing_style
from flp_envs import rendering

NAMES = ("flp", "ridge", "sgd")


@pytest.fixture(autouse=True)
def style():
    with drawing_style():
        yield


def leaderboard_of(*results):
    (leaderboard,) = make_leaderboards(results)
    return leaderboard, {entry.name: Style(i) for i, entry in enumerate(leaderboard.rows)}


def parsed(drawing):
    return ElementTree.fromstring(drawing.svg)


def series_of(svg):
    return [g.get("data-series") for g in svg.iter("{http://www.w3.org/2000/svg}g") if g.get("data-series")]


def curves(leaderboard, styles, curve_of=query_loss):
    return draw_curves(leaderboard, styles, "x", title="Loss", caption="", curve_of=curve_of)


def test_every_learner_has_a_style_of_its_own():
    """Told apart without colours too: no two of the same dashes and marker next to each other."""
    styles = [Style(i) for i in range(180)]
    assert len({str(style.line) for style in styles}) == 180
    assert len({style.colour for style in styles[:20]}) == 20
    without_colour = [str(style.line | {"color": None}) for style in styles]
    assert len(set(without_colour)) == 36


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_stands_out(palette):
    """Contrast of at least 4.5 (WCAG 2.2, 1.4.3); less for curves, which dashes and markers tell apart too."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return np.dot(
            [0.2126, 0.7152, 0.0722], [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        )

    def contrast(*colours):
        low, high = sorted(luminance(palette[colour]) for colour in colours)
        return (high + 0.05) / (low + 0.05)

    for paper in ("page", "surface", "raised"):
        assert min(contrast(name, paper) for name in ("ink", "muted", "accent", "warning")) >= 4.5
    assert min(contrast(name, "warning-surface") for name in ("ink", "warning")) >= 4.5
    assert min(contrast(name, "page") for name in palette if name.startswith("series-")) >= 2.2


# Machado, Oliveira & Fernandes (2009), at full severity: what linear RGB looks like without one kind of cones.
VISIONS = {
    "full": np.eye(3),
    "red-blind": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green-blind": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "blue-blind": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
# Ottosson (2020): linear RGB to cones, and the cones' cube roots to OKLab, where equal distances look equal.
TO_CONES = [
    [0.41222147, 0.53633254, 0.05144599],
    [0.2119035, 0.68069955, 0.10739696],
    [0.08830246, 0.28171884, 0.6299787],
]
TO_OKLAB = [
    [0.21045426, 0.79361779, -0.00407205],
    [1.9779985, -2.42859221, 0.45059371],
    [0.02590404, 0.78277177, -0.80867577],
]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("vision", VISIONS)
def test_no_two_learners_share_a_colour_with_any_vision(palette, vision):
    """0.02 in OKLab is what can just be noticed; the default benchmark's 18 learners and two more are apart by more."""
    colours = [palette.get(f"series-{i}", palette["ink"]) for i in range(len(SERIES))]
    values = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISIONS[vision]), 0, 1)
    lab = np.cbrt(seen @ np.transpose(TO_CONES)) @ np.transpose(TO_OKLAB)
    apart = np.linalg.norm(lab[:, None] - lab, axis=2) + np.eye(len(lab))
    assert len(colours) >= 20
    assert apart.min() > 0.05
    assert apart[:7, :7].min() > 0.07


def test_numbers_on_any_colour_stand_out():
    assert _pen_on((1.0, 1.0, 0.0, 1.0)) == "#000000"
    assert _pen_on((0.2, 0.0, 0.3, 1.0)) == "#ffffff"


def test_figures_follow_the_theme_and_use_no_other_colour_of_it():
    leaderboard, styles = leaderboard_of(*map(made_up_result, NAMES))
    for drawing in (
        draw_scores(leaderboard, styles, "a"),
        draw_forgetting(leaderboard, styles, "b"),
        curves(leaderboard, styles),
    ):
        used = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"<use[^>]*href[^>]*?\"[^>]*>", "", drawing.svg)))
        assert not used & set(LIGHT.values())
        assert set(re.findall(r"var\(--([\w-]+)\)", drawing.svg)) <= set(LIGHT)
        assert "var(--ink)" in drawing.svg


def test_figures_are_the_same_bytes_each_time():
    leaderboard, styles = leaderboard_of(*map(made_up_result, NAMES))
    assert curves(leaderboard, styles).svg == curves(leaderboard, styles).svg
    assert (
        draw_r_matrix(leaderboard, leaderboard.best, "m").svg == draw_r_matrix(leaderboard, leaderboard.best, "m").svg
    )


def test_figures_have_nothing_that_two_of_a_page_could_share():
    leaderboard, styles = leaderboard_of(*map(made_up_result, NAMES))
    first, second = draw_scores(leaderboard, styles, "a"), draw_scores(leaderboard, styles, "b")
    ids = [set(re.findall(r'\bid="([^"]+)"', drawing.svg)) for drawing in (first, second)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'href="#([^"]+)"', first.svg)) <= ids[0]
    assert set(re.findall(r"url\(#([^)]+)\)", first.svg)) <= ids[0]


def test_every_curve_can_be_found():
    leaderboard, styles = leaderboard_of(*map(made_up_result, NAMES))
    svg = parsed(curves(leaderboard, styles))
    assert sorted(series_of(svg)) == sorted(2 * ["0", "1", "2"])
    legends = [g.get("data-legend") for g in svg.iter("{http://www.w3.org/2000/svg}g") if g.get("data-legend")]
    assert sorted(legends) == sorted(2 * ["0", "1", "2"])


def test_an_unknown_error_makes_no_band():
    leaderboard, styles = leaderboard_of(replace(made_up_result(), curves={"prequential": [1.0, 2.0]}))
    assert series_of(parsed(curves(leaderboard, styles, loss_at_each_step))) == ["0"]


def test_the_numbers_of_curves_are_beside_them():
    result = made_up_result()
    drawing = curves(*leaderboard_of(result))
    assert drawing.headings == ("support steps", "0", "5", "10", "15", "20")
    assert [float(value) for value in drawing.rows[0][1:]] == pytest.approx(result.curves["query"], rel=0.01)


def test_what_there_is_nothing_of_is_not_drawn():
    leaderboard, styles = leaderboard_of(made_up_result(env="FLPSine-IID-v0"))
    assert draw_forgetting(leaderboard, styles, "x") is None
    assert draw_r_matrix(leaderboard, leaderboard.best, "x") is None
    leaderboard, styles = leaderboard_of(made_up_result("joint-training"))
    assert curves(leaderboard, styles) is None


def test_an_r_matrix_shows_its_numbers():
    result = made_up_result(tasks=3)
    leaderboard, _ = leaderboard_of(result)
    drawing = draw_r_matrix(leaderboard, leaderboard.best, "x")
    assert drawing.headings == ("after sub-task", "1", "2", "3")
    assert [row[0] for row in drawing.rows] == ["initial", "1", "2", "3"]
    numbers = [[float(value) for value in row[1:]] for row in drawing.rows]
    assert np.allclose(numbers, result.curves["query_by_task"], rtol=0.01)


def test_what_was_just_learned_is_framed(monkeypatch):
    """Row ``i`` is after ``i`` sub-tasks: the frame of column ``j`` is in row ``j + 1``."""
    leaderboard, _ = leaderboard_of(made_up_result(tasks=3))
    monkeypatch.setattr(figures, "inline_svg", lambda figure, *_: figure)
    axes = draw_r_matrix(leaderboard, leaderboard.best, "x").svg.axes[0]
    assert [(int(frame.get_x()), int(frame.get_y())) for frame in axes.patches] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("tasks", [1, 2, MOST_NUMBERED, MOST_NUMBERED + 1, 40])
def test_r_matrices_of_any_size(tasks):
    leaderboard, _ = leaderboard_of(made_up_result(tasks=tasks))
    texts = parsed(draw_r_matrix(leaderboard, leaderboard.best, "x")).findall(".//*[@id]")
    numbered = sum("text_" in g.get("id") for g in texts) > tasks * (tasks + 1)
    assert numbered == (tasks <= MOST_NUMBERED)


def test_all_alike_zero_or_in_per_cent():
    for scale in (0.0, 1.0):
        result = made_up_result(percent=True)
        scores = {name: [scale] * 8 for name in result.scores}
        table = np.full_like(np.array(result.curves["query_by_task"]), scale).tolist()
        flat = {**result.curves, "query": [scale] * 5, "query_by_task": table}
        leaderboard, styles = leaderboard_of(replace(result, scores=scores, curves=flat))
        for drawing in (
            draw_scores(leaderboard, styles, "a"),
            draw_forgetting(leaderboard, styles, "b"),
            draw_r_matrix(leaderboard, leaderboard.best, "c"),
            curves(leaderboard, styles),
        ):
            parsed(drawing)


def test_decades_make_a_logarithmic_axis():
    assert is_wide(np.array([1e-4, 1.0, np.nan]))
    assert not is_wide(np.array([0.5, 1.0]))
    assert not is_wide(np.array([0.0, 80.0]))
    assert not is_wide(np.array([]))


def test_forgetting_below_zero_and_over_decades():
    results = []
    for name, value in zip(NAMES, (-3e-4, 2e-4, 1.0), strict=True):
        result = made_up_result(name)
        results.append(
            replace(result, scores={**result.scores, "forgetting": [value * (1 + i / 50) for i in range(8)]})
        )
    leaderboard, styles = leaderboard_of(*results)
    drawing = draw_forgetting(leaderboard, styles, "x")
    assert "FLP (2) -0.00032, ridge 0.00021, sgd 1.1" in drawing.svg


def test_hostile_names_are_drawn_as_they_are():
    names = ["$\\frac{$", "$x_2$", "<script>--><b>", "a\nb\x00\u202e", "名前 🙂", "x" * 300, "&amp;", "_^%#", "</svg>"]
    leaderboard, styles = leaderboard_of(*(made_up_result(f"{i}", title=name) for i, name in enumerate(names)))
    for drawing in (
        draw_scores(leaderboard, styles, "a"),
        curves(leaderboard, styles),
        draw_forgetting(leaderboard, styles, "b"),
    ):
        parsed(drawing)
        assert "script" not in re.sub(r'aria-label="[^"]*"', "", drawing.svg)


@pytest.mark.parametrize(
    "metric",
    [
        r"$\\frac{$",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("$x_2$", r"50 % of \\$", "</svg>", "a\x00b\nc", "[/bold]")
        ),
    ],
)
def test_hostile_metrics_are_drawn_as_they_are(metric):
    results = [replace(made_up_result(name), metric=metric) for name in NAMES]
    leaderboard, styles = leaderboard_of(*results)
    drawings = (
        draw_scores(leaderboard, styles, "a"),
        curves(leaderboard, styles),
        draw_forgetting(leaderboard, styles, "b"),
        draw_r_matrix(leaderboard, leaderboard.best, "c"),
    )
    for drawing in drawings:
        parsed(drawing)
    render_page(results)


def test_names_are_short_and_have_a_box_for_what_the_font_has_not():
    assert drawable("名") == "\N{WHITE SQUARE}"
    assert drawable("Ünïcode (2)") == "Ünïcode (2)"
    assert len(drawable("x" * 300)) == LONGEST_NAME
    assert drawable("a\n b\u202e") == "a b"


def test_samples_say_nothing():
    assert 'aria-hidden="true"' in draw_sample(Style(3), "x")


def test_the_settings_of_matplotlib_do_not_matter():
    import matplotlib

    leaderboard, styles = leaderboard_of(*map(made_up_result, NAMES))
    before = draw_scores(leaderboard, styles, "a").svg
    matplotlib.rcParams["font.size"] = 30
    matplotlib.rcParams["svg.fonttype"] = "none"
    with drawing_style():
        assert draw_scores(leaderboard, styles, "a").svg == before
    assert matplotlib.rcParams["font.size"] == 30


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(rendering.MissingDependency, match="flp-envs\\[plots\\]"), drawing_style():
        pass


def test_the_made_up_learners_are_all_drawn():
    leaderboard, styles = leaderboard_of(*(made_up_result(row[0]) for row in LEARNERS))
    assert len(set(series_of(parsed(curves(leaderboard, styles, loss_at_each_step))))) == len(LEARNERS)
