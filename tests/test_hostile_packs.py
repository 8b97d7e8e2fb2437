"""Packs made by an enemy: each is read, or refused in one line, in little time and memory, and nothing is touched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pack_fuzzer import SECONDS

pytest.importorskip("resource")
FUZZER = Path(__file__).with_name("pack_fuzzer.py")

# What other tools may make of a pack and is as good.
HARMLESS = {
    f"{part} is {how}"
    for part in ("class_names", "class_splits", "class_counts")
    for how in ("in chunks", "within the file's header")
} | {"format_version is one number in a list"}


def run_cases(folder: Path, way: str, first: int = 0, count: int = 0) -> dict[str, dict[str, object]]:
    """What came of each case, by its name."""
    command = [sys.executable, str(FUZZER), str(folder), way, str(first), str(count)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=280)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (ended.returncode, ended.stderr) == (0, ""), f"ended at {lines[-1:]}"
    return {case["case"]: result for case, result in zip(lines[::2], lines[1::2], strict=True)}


def assert_harmless(results: dict[str, dict[str, object]]) -> None:
    assert results
    for case, result in results.items():
        outcome = result["outcome"]
        assert outcome == "read" or outcome.startswith("PATH "), (case, outcome)
        assert result["kilobytes"] < 20_000, case
        assert result["seconds"] < SECONDS / 2, case


def test_each_part_is_checked_before_it_is_read(tmp_path):
    results = run_cases(tmp_path, "named")
    assert_harmless(results)
    assert {case for case, result in results.items() if result["outcome"] == "read"} == HARMLESS
    for case, part in (
        ("class_names is virtual, of another file", "'class_names' is virtual or external, expected all of it in this"),
        ("class_counts is external, of another file", "'class_counts' is virtual or external, expected all of it in"),
        ("images is a link to another file", "'images' is no dataset, expected one in this file"),
        ("class_names is 5 GB, never written", "'class_names' claims 45000000000 bytes, of which 0 are stored in"),
        ("class_splits is a bomb", "'class_splits' is compressed or filtered, expected it as it is"),
        ("class_counts is with one more axis", "'class_counts' has another number of dimensions than 1"),
        ("class_names is texts of a variable length", "'class_names' holds no texts of a fixed length"),
        ("class_counts is numbers with a point", "'class_counts' holds no whole numbers"),
        ("format_version is null", "'format_version' holds no whole numbers"),
        ("fewer than no images", "expected classes with different names, of known splits, with as many images as are"),
    ):
        outcome = results[case]["outcome"]
        assert outcome.startswith("PATH lacks a part of a pack: it was altered; make it anew with flp data prepare")
        assert part in outcome


@pytest.mark.parametrize("way", ["structures", "bytes"])
def test_a_hundred_random_ones_do_no_harm(tmp_path, way):
    assert_harmless(run_cases(tmp_path, way, 0, 100))


@pytest.mark.slow  # a minute for every thousand on a busy machine
@pytest.mark.parametrize("first", range(1000, 4000, 1000))
@pytest.mark.parametrize("way", ["structures", "bytes"])
def test_thousands_of_random_ones_do_no_harm(tmp_path, way, first):
    assert_harmless(run_cases(tmp_path, way, first, 1000))
