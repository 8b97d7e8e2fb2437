"""The paper's claims of sections 6 and 7, each marked by what ``flp reproduce`` found, for every form of the baseline.

Errors span orders of magnitude and vary between networks by factors, so two errors differ when the logarithm of their
ratio is larger than twice its standard error over networks. That they are the same is said only where a factor of two
would have shown. Networks of section 7.1 differ more than what becomes of one, so each is compared with itself, when
it goes on without more plasticity. Figure 2 is of one network for each method, so there the marks follow the thresholds
that each claim states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from flp_agents.experiments.reproduction.findings import Claim, Findings, Rows
from flp_agents.experiments.reproduction.results import figure, over_networks
from flp_agents.experiments.reproduction.tables import TABLE_1, TABLE_2, Column, Table
from flp_agents.experiments.reproduction.verdicts import (
    IS_LESS,
    IS_NOT_LESS,
    IS_NOT_MORE,
    NOT_SEEN,
    OPEN,
    OPPOSITE,
    SEEN,
    SIMILAR,
    SURE,
    named,
    relation,
    similar,
)
from flp_base.files import finite_or_none

FEATURE_REUSE = TABLE_1.methods[0].title
# Functions of a continual lifetime.
SUB_TASKS = 10
# Smaller "drastically", aligned "weakly".
DRASTICALLY, WEAKLY = 0.5, 0.5


def claims_of(findings: Findings) -> list[Claim]:
    """All claims, in the paper's order."""
    return [
        *_deep_plasticity_helps(findings),
        *_flp_matches_gradients(findings),
        *_trajectories(findings.curves),
        *_flp_is_better_at_continual_learning(findings),
        *_initial_features(findings.figure2),
        *_more_plasticity_later(findings.section_7_1),
        *_interference(findings.figure2),
        *_learning_speed_at_first(findings.curves),
        *_directions(findings.figure2),
        *_sizes(findings.figure2),
    ]


def _deep_plasticity_helps(findings: Findings) -> Iterator[Claim]:
    for table, rows, column in _columns(findings):
        for title in _forms(table, "flp"):
            yield _comparison("6.1", f"{title} has less error", rows, column, (title, FEATURE_REUSE), IS_LESS)


def _flp_matches_gradients(findings: Findings) -> Iterator[Claim]:
    for table, rows, column in _columns(findings):
        if not column.name.endswith("continual"):
            for title, form in _pairs(table):
                yield _comparison("6.2", f"{title} has no more error", rows, column, (title, form), IS_NOT_MORE)


def _trajectories(rows: Rows) -> Iterator[Claim]:
    """Query loss over the whole lifetime, averaged."""
    column = TABLE_1.columns[0]
    for title, form in _pairs(TABLE_1):
        cells = [_of_curves(rows, column, of, _over_the_lifetime) for of in (title, form)]
        text = f"{title}'s query loss over the lifetime is within a factor of {SIMILAR:g}"
        yield Claim("6.2", text, column.title, form, similar(*cells), _figures(*cells))
    column = TABLE_2.columns[0]
    for title, form in _pairs(TABLE_2):
        cells = [_of_curves(rows, column, of, _over_the_lifetime) for of in (title, form)]
        verdict = IS_LESS.get(relation(*cells) or "", OPEN)
        yield Claim(
            "6.2", f"{title}'s query loss over the lifetime is less", column.title, form, verdict, _figures(*cells)
        )


def _flp_is_better_at_continual_learning(findings: Findings) -> Iterator[Claim]:
    for table, rows, column in _columns(findings):
        if column.name.endswith("continual"):
            for title, form in _pairs(table):
                yield _comparison("6.3", f"{title} has less error", rows, column, (title, form), IS_LESS)
    column = TABLE_1.columns[1]
    for form in _forms(TABLE_1, "gradient-based"):
        text = f"{form} has no less error"
        yield _comparison("6.3", text, findings.table1, column, (form, FEATURE_REUSE), IS_NOT_LESS)


def _initial_features(rows: Rows) -> Iterator[Claim]:
    plastic = [FEATURE_REUSE, "FLP (2)", "FLP (3)"]
    for before, after in pairwise(plastic):
        less, more = (_of_figure(rows, "continual", title) for title in (before, after))
        verdict, found = OPEN, ""
        if less is not None and more is not None:
            cells = [
                {"mean": row["readout_score"], "standard_error": row["readout_score_standard_error"]}
                for row in (less, more)
            ]
            verdict = IS_LESS.get(relation(*cells) or "", OPEN)
            found = " and ".join(f"{cell['mean']:.2g}" for cell in cells)
        text = f"a readout on the initial features has more error for {after}"
        yield Claim("7.1", text, TABLE_1.columns[1].title, before, verdict, found)


def _more_plasticity_later(rows: Rows) -> Iterator[Claim]:
    for column in TABLE_1.columns:
        for row in rows[2:]:
            pairs = (row.get(column.name) or {}).get("ratio_to_control")
            verdict, found = OPEN, ""
            if pairs is not None:
                found = f"{pairs['mean']:.2g} times as much"
                if pairs["log_standard_error"] is not None:
                    margin = SURE * pairs["log_standard_error"]
                    verdict = IS_NOT_LESS[named(math.log(pairs["mean"]), margin)]
            text = f"a Feature Reuse network that goes on with {row['method']} has no less error"
            yield Claim("7.1", text, column.title, "going on with 1", verdict, found)


def _interference(rows: Rows) -> Iterator[Claim]:
    for title, form in _pairs(TABLE_1):
        one, other = (_of_figure(rows, "continual", of) for of in (title, form))
        verdict, found = OPEN, ""
        if one is not None and other is not None:
            ours, theirs = one["interference"], other["interference"]
            verdict = SEEN if ours < DRASTICALLY * theirs else NOT_SEEN if ours <= theirs else OPPOSITE
            found = f"{ours:.2g} and {theirs:.2g}"
        text = f"learning changes {title}'s predictions on earlier functions less than {DRASTICALLY} times as much"
        yield Claim("7.2", text, TABLE_1.columns[1].title, form, verdict, found)


def _learning_speed_at_first(rows: Rows) -> Iterator[Claim]:
    """That the same learners lose ground later is what section 6.3 says of the end."""
    column = TABLE_1.columns[1]
    for title, form in _pairs(TABLE_1):
        cells = [_of_curves(rows, column, of, _after_the_first) for of in (form, title)]
        verdict = IS_NOT_MORE.get(relation(*cells) or "", OPEN)
        text = f"{form} has no more query loss after the first function"
        yield Claim("7.2", text, column.title, title, verdict, _figures(*cells))


def _directions(rows: Rows) -> Iterator[Claim]:
    for title in _forms(TABLE_1, "flp"):
        row = _of_figure(rows, "continual", title)
        cosines = None if row is None else row["cosine_by_layer"]
        found = "" if cosines is None else "from the output down: " + ", ".join(f"{c:.2f}" for c in cosines)
        for text, holds in (
            (f"{title}'s updates align weakly (below {WEAKLY}) with the negative gradient in every layer", _weak),
            (f"some layer of {title} updates against the gradient, on average", _against),
        ):
            verdict = OPEN if cosines is None else SEEN if holds(cosines) else NOT_SEEN
            yield Claim("7.3", text, TABLE_1.columns[1].title, "", verdict, found)


def _sizes(rows: Rows) -> Iterator[Claim]:
    for title, form in _pairs(TABLE_1):
        one, other = (_of_figure(rows, "iid", of) for of in (title, form))
        for text, layer, larger in (
            (f"{title}'s updates of the layer below the output are larger", 1, True),
            (f"{title}'s updates of the output layer are smaller", 0, False),
        ):
            verdict, found = OPEN, ""
            if one is not None and other is not None:
                sizes = one["magnitude_by_layer"][layer], other["magnitude_by_layer"][layer]
                verdict = SEEN if (sizes[0] > sizes[1]) == larger else OPPOSITE
                found = f"{sizes[0]:.2g} and {sizes[1]:.2g}"
            yield Claim("7.3", text, TABLE_1.columns[0].title, form, verdict, found)


def _weak(cosines: Sequence[float]) -> bool:
    return all(abs(cosine) < WEAKLY for cosine in cosines)


def _against(cosines: Sequence[float]) -> bool:
    return any(cosine < 0 for cosine in cosines)


def _over_the_lifetime(steps: Sequence[int], losses: Sequence[float]) -> float:
    return float(np.trapezoid(losses, steps)) / (steps[-1] - steps[0])


def _after_the_first(steps: Sequence[int], losses: Sequence[float]) -> float:
    return float(np.interp(steps[-1] / SUB_TASKS, steps, losses))


def _of_curves(
    rows: Rows, column: Column, method: str, measure: Callable[[Sequence[int], Sequence[float]], float]
) -> dict[str, Any] | None:
    """A measure of the learning curves of a method's networks, as a table's cell."""
    of_networks: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        if row["method"] == method and row["column"] == column.name:
            loss = math.nan if row["mean"] is None else row["mean"]
            of_networks.setdefault(row["seed"], []).append((row["inner_step"], loss))
    found = [finite_or_none(measure(*zip(*curve, strict=True))) for curve in of_networks.values()]
    return {**over_networks(found), "note": ""} if found else None


def _comparison(
    section: str, text: str, rows: Rows, column: Column, methods: tuple[str, str], marks: Mapping[str, str]
) -> Claim:
    """A claim about the error of the first of two methods, against the second."""
    cells = [next((row[column.name] for row in rows if row["method"] == title), None) for title in methods]
    verdict = marks.get(relation(*cells) or "", OPEN)
    return Claim(section, text, column.title, methods[1], verdict, _figures(*cells))


def _figures(*cells: Mapping[str, Any] | None) -> str:
    return " and ".join(figure(cell) for cell in cells if cell is not None)


def _columns(findings: Findings) -> list[tuple[Table, Rows, Column]]:
    of_tables = ((TABLE_1, findings.table1), (TABLE_2, findings.table2))
    return [(table, rows, column) for table, rows in of_tables for column in table.columns]


def _pairs(table: Table) -> list[tuple[str, str]]:
    """Of FLP and each form of the baseline."""
    return [(title, form) for title in _forms(table, "flp") for form in _forms(table, "gradient-based")]


def _forms(table: Table, learner: str) -> list[str]:
    return [method.title for method in table.methods if method.learner == learner]


def _of_figure(rows: Rows, column: str, method: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["column"] == column and row["method"] == method), None)
