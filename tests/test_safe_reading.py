"""JSON and TOML from anywhere: plain values of bounded depth and size, or one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flp_base.errors import FLPError, InvalidSize, check_at_least, check_number
from flp_base.files import (
    DEEPEST,
    LARGEST_INTEGER,
    UnreadableContent,
    parse_json,
    parse_toml,
    read_bytes,
    read_versioned_json,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 100 deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 100 deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested more than 100 deep"),
        ("[" * 100_000, "nested more than 100 deep|not JSON"),
        ("1" + "0" * 400, "a whole number of 1329 bits"),
        ("1" + "0" * 5000, "not JSON"),
        (f"[{LARGEST_INTEGER + 1}]", "a whole number of 129 bits"),
        ("[1e999]", "a number that is not finite"),
        ('{"a": NaN}', "a number that is not finite"),
        (r'["\ud800"]', "text that is not Unicode"),
        (r'{"\ud800": 1}', "text that is not Unicode"),
        ("", "truncated or not JSON"),
        ("{", "truncated or not JSON"),
    ],
)
def test_json_that_is_not_read(text: str, said: str) -> None:
    with pytest.raises(UnreadableContent, match=said):
        parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 100_000 + "]" * 100_000, "nested more than 100 deep"),
        ("a = " + "{b = " * 100_000 + "1" + "}" * 100_000, "nested more than 100 deep"),
        (".".join("a" * 200) + " = 1", "nested more than 100 deep"),
        ("a = 1" + "0" * 400, "a whole number of 1329 bits"),
        ("a = 1" + "0" * 5000, "not TOML"),
        ("a = = 1", "not TOML: .*line 1"),
    ],
)
def test_toml_that_is_not_read(text: str, said: str) -> None:
    with pytest.raises(UnreadableContent, match=said):
        parse_toml(text.encode())


def test_what_is_sensible_is_read() -> None:
    state = 2**128 - 1  # a random generator's
    assert parse_json(json.dumps({"a": [1, 2.5, None, True, "é", state]}).encode()) == {
        "a": [1, 2.5, None, True, "é", state]
    }
    assert parse_json(b"\xef\xbb\xbf{}") == {} == parse_toml(b"\xef\xbb\xbf")
    assert parse_toml(b"a = inf\n[b]\nc = 1") == {"a": float("inf"), "b": {"c": 1}}


def test_bytes_that_are_not_utf_8() -> None:
    for parse in (parse_json, parse_toml):
        with pytest.raises(UnreadableContent, match=r"not (JSON|TOML)"):
            parse(b'"\xff\xfe"')


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("flp_base.files.LARGEST_FILE", 2**20)
    with pytest.raises(UnreadableContent, match="larger than 1 MiB"):
        read_bytes(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "a\0b")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1e999", b"7", b"[]", b'{"format_version": "1"}', b'"' * 3])
def test_every_versioned_file_ends_in_the_error_asked_for(tmp_path: Path, content: bytes) -> None:
    class Refused(FLPError):
        pass

    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Refused, match=r"a\.json"):
        read_versioned_json(tmp_path / "a.json", 1, error=Refused, missing="", damaged="delete it")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, True, "1", None, 1j, 0.0, -1.0])
def test_numbers_that_are_refused(value: object) -> None:
    with pytest.raises(InvalidSize, match="rate must be a finite number above 0, got "):
        check_number("rate", value, above=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), True, "1", None, 1.0, 0])
def test_whole_numbers_that_are_refused(value: object) -> None:
    with pytest.raises(InvalidSize, match="size must be a whole number of at least 1, got "):
        check_at_least("size", value, 1)  # type: ignore[arg-type]


def test_whole_numbers_have_an_end() -> None:
    assert check_at_least("size", 2**53 - 1, 1) == 2**53 - 1
    for value in (2**53, 10**5000):
        with pytest.raises(InvalidSize, match="size must be a whole number of at most 9007199254740991, got "):
            check_at_least("size", value, 1)
    with pytest.raises(InvalidSize, match="share must be a finite number of at least 0 and at most 1, got 2"):
        check_number("share", 2, least=0, most=1)
