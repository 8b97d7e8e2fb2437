"""Results on disk: whole, readable again, and refused where they are not."""

import csv
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flp_agents.benchmark.reading import read_result, read_results
from flp_agents.benchmark.results import CELLS, Cell, CellResult, ResultsError, cell_path, write_result, write_tables
from flp_agents.evaluation.lifetime_metrics.metric import METRICS

CELL = Cell("FLPSine-Continual-v0", 'mine, with [brackets] & "quotes"\n', 1, 2, env_options={"num_functions": 3})
RESULT = CellResult(
    CELL,
    title="Mine",
    network="seed 1",
    metric="mse",
    scores={"query_score": [0.5, 0.25], "forgetting": [0.125, -0.5]},
    curves={"prequential": [1.0, 0.5], "query_at": [0, 2], "query_by_task": [[1.0, math.nan], [0.5, 0.25]]},
    task_ends=True,
    seconds=0.001,
    state_bytes=80,
    stamp={"version_numpy": "2.0", "machine": "Linux"},
)


def test_what_is_written_is_read_again(tmp_path):
    write_result(tmp_path, RESULT)
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]
    read = read_result(cell_path(tmp_path, CELL))
    assert read.cell == CELL
    assert read.curves["query_by_task"] == [[1.0, None], [0.5, 0.25]]
    assert replace(read, curves=RESULT.curves) == RESULT


def test_a_failure_is_a_result(tmp_path):
    write_result(tmp_path, CellResult(CELL, "Mine", failure="raised"))
    read, left_out = read_results(tmp_path)
    assert left_out == []
    assert [result.failure for result in read] == ["raised"]
    assert math.isnan(read[0].seconds)


@given(st.builds(Cell, st.text(), st.text(), st.integers(0, 9), st.integers(2, 5)), st.data())
def test_equal_cells_have_equal_names(cell, data):
    assert cell.digest == replace(cell).digest
    other = replace(cell, seed=cell.seed + 1)
    assert cell.digest != other.digest
    assert cell.digest != replace(cell, env_options={"a": 1}).digest
    assert cell.digest != replace(cell, checkpoint="abc").digest


def test_a_table_has_a_row_for_each_episode_with_its_origin(tmp_path):
    failed = CellResult(replace(CELL, seed=2), "Mine", stamp={"machine": "Linux"}, failure="raised: x, y")
    write_tables(tmp_path, [RESULT, failed])
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text(encoding="utf-8").splitlines(keepends=True)))
    assert len(rows) == 3
    assert [row["episode"] for row in rows] == ["0", "1", ""]
    assert [row["query_score"] for row in rows] == ["0.5", "0.25", ""]
    assert rows[0]["backward_transfer"] == ""
    assert rows[2]["failure"] == "raised: x, y"
    for row in rows:
        assert row["learner"] == CELL.learner
        assert (row["split"], row["env"], row["machine"]) == ("meta-test", "FLPSine-Continual-v0", "Linux")
        assert json.loads(row["env_options"]) == {"num_functions": 3}
    assert set(METRICS) <= set(rows[0])


FORMULAS = ["=HYPERLINK(0)", "+1", "-1+cmd", "@SUM(1)", "\t=1", "\r=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_a_table_is_a_formula(tmp_path, text):
    """Whoever it is that chose a name: a spreadsheet shows it, and does not compute it."""
    stamp = {"machine": text, text: "value"}
    result = replace(RESULT, cell=replace(CELL, learner=text), title=text, network=text, stamp=stamp)
    write_tables(tmp_path, [result, replace(result, failure=text)])
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert {row[key] for key in ("learner", "title", "network", "machine")} == {f"'{text}"}
    assert rows[1]["failure"] == ""
    assert rows[-1]["failure"] == f"'{text}"
    # Numbers stay numbers, and what is written can be read again.
    assert rows[1]["forgetting"] == "-0.5"
    assert all(not cell.startswith(("=", "+", "@", "\t", "\r")) for row in rows for cell in [*row, *row.values()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-30], "truncated or not JSON: delete it"),
        (lambda text: "[]", "has format version None"),
        (lambda text: text.replace('"format_version": 2', '"format_version": 1'), "has format version 1"),
        (lambda text: text.replace('"title"', '"titel"'), "is no result of a benchmark: 'title'"),
        (lambda text: text.replace('"seed"', '"seeds"'), "is no result of a benchmark"),
    ],
)
def test_what_cannot_be_read(tmp_path, change, message):
    write_result(tmp_path, RESULT)
    path = cell_path(tmp_path, CELL)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)


def test_folders_without_results(tmp_path):
    with pytest.raises(ResultsError, match=f"no results in .*expected a folder that flp benchmark wrote, with {CELLS}"):
        read_results(tmp_path)
    with pytest.raises(ResultsError, match="no results"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResultsError, match="cannot write results"):
        write_result(tmp_path / "file", RESULT)
