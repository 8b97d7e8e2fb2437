"""Folders that are empty, wrong, damaged, or of another version."""

import json
from dataclasses import replace

import pytest
from synthetic_results import made_up_result

from flp_agents.benchmark.reading import read_results
from flp_agents.benchmark.results import CELLS, ResultsError, cell_path, write_result


def test_everything_that_was_written_is_read(tmp_path):
    results = [made_up_result(), made_up_result("mine", failure="hung"), made_up_result("joint-training")]
    for result in results:
        write_result(tmp_path, result)
    read, unreadable = read_results(tmp_path)
    assert unreadable == []
    assert {result.cell for result in map(_hashable, read)} == {result.cell for result in map(_hashable, results)}


def _hashable(result):
    return replace(result, cell=replace(result.cell, env_options=(), depends_on=()))


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_no_results(tmp_path, name):
    if name == "empty":
        (tmp_path / name / CELLS).mkdir(parents=True)
    with pytest.raises(ResultsError, match=r"no results in .*: expected a folder that flp benchmark wrote"):
        read_results(tmp_path / name)


def damage(folder, **changes):
    """A second cell's file, with changes of its content."""
    write_result(folder, made_up_result())
    result = made_up_result("sgd")
    write_result(folder, result)
    path = cell_path(folder, result.cell)
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "has format version 99"),
        ({"scores": {"query_score": [1.0]}}, "scores is not as flp benchmark writes it"),
        ({"scores": {"query_score": "12345678"}}, "scores is not"),
        ({"scores": {"query_score": list("abcdefgh")}}, "scores is not"),
        ({"scores": {}}, "scores is not"),
        ({"scores": {"query_score": [*range(7), [1.0]]}}, "scores is not"),
        ({"scores": {"query_score": [1, 2, 3, 4, 5, 6, 7, "8"]}}, "scores is not"),
        ({"scores": {"query_score": [-1.0] * 8}}, "scores is not"),
        ({"scores": {"query_score": [None] * 8}}, "scores is not"),
        ({"curves": {"query_at": [1, 0], "query": [1.0, 1.0]}}, "curves is not"),
        ({"scores": [1]}, "scores is not"),
        ({"curves": {"query_at": [0, 1], "query": [1.0]}}, "curves is not"),
        ({"curves": {"prequential": [[1.0]]}}, "curves is not"),
        ({"curves": {"prequential": [1.0], "prequential_error": [1.0, 2.0]}}, "curves is not"),
        ({"curves": {"query_at": ["a"]}}, "curves is not"),
        ({"title": 3}, "title, network, metric, failure is not"),
        ({"state_bytes": "much"}, "seconds, state_bytes is not"),
        ({"stamp": "x"}, "stamp is not"),
        ({"cell": {"env": 1, "learner": "a"}}, "cell is not"),
        ({"cell": {"colour": 1}}, "is no result of a benchmark"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_there(tmp_path, changes, message):
    path = damage(tmp_path, **changes)
    read, (line,) = read_results(tmp_path)
    assert [result.cell.learner for result in read] == ["flp"]
    assert line.startswith(f"{CELLS}/{path.name} ")
    assert message in line
    assert "\n" not in line
    assert str(tmp_path) not in line


def test_truncated(tmp_path):
    path = damage(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    _, (line,) = read_results(tmp_path)
    assert "is truncated or not JSON" in line


def test_a_copy_does_not_count_twice(tmp_path):
    path = damage(tmp_path)
    path.with_name("zzz.json").write_bytes(path.read_bytes())
    read, (line,) = read_results(tmp_path)
    assert len(read) == 2
    assert line.startswith(f"{CELLS}/zzz.json is of the same cell as another file")


def test_nothing_can_be_read(tmp_path):
    damage(tmp_path)
    for path in (tmp_path / CELLS).glob("*.json"):
        path.write_text("{", encoding="utf-8")
    with pytest.raises(ResultsError, match=r"no result in .* can be read: .*truncated.* \(and 1 more"):
        read_results(tmp_path)


def test_many_files_of_an_earlier_version_are_counted(tmp_path):
    write_result(tmp_path, made_up_result())
    for number in range(20):
        (tmp_path / CELLS / f"{number:02}.json").write_text('{"format_version": 1}', encoding="utf-8")
    results, left_out = read_results(tmp_path)
    assert len(results) == 1
    assert len(left_out) == 7
    assert left_out[0].startswith(f"{CELLS}/00.json has format version 1, this version reads 2")
    assert left_out[-1] == f"14 more files in {CELLS}"
