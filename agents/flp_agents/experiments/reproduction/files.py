"""Results on disk: whole or not at all, read back as what they were, and shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from flp_agents.support.schema import WrongValue, argument_types, fit
from flp_base.errors import FLPError
from flp_base.files import read_versioned_json, remove_leftovers, write_atomically

FORMAT_VERSION = 1
Record = TypeVar("Record")


class ReproductionError(FLPError, ValueError):
    """Results that cannot be read or written."""


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, and its folder.

    Raises:
        ReproductionError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        write_atomically(path, content)
    except OSError as error:
        raise ReproductionError(f"cannot write {path}: {error.strerror or error}: choose another --output") from None


def write_all(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """The same for several files of a folder, by name; returns where they are."""
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return [folder / name for name in contents]


def json_of(content: Mapping[str, Any]) -> bytes:
    """A file of it."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def write_record(path: Path, record: Any) -> None:
    """Writes a dataclass atomically.

    Raises:
        ReproductionError: if it cannot be written.
    """
    write_bytes(path, json_of({"format_version": FORMAT_VERSION, **asdict(record)}))


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """Reads a dataclass; none if there is no such file.

    Raises:
        ReproductionError: if it is damaged, of another kind or of another version; a field that is missing or of the
            wrong type is named.
    """
    if not path.exists():
        return None
    content = read_versioned_json(
        path,
        FORMAT_VERSION,
        error=ReproductionError,
        missing=f"no result at {path}",
        damaged="delete it, and it is made again",
    )
    kinds = argument_types(kind)
    try:
        return kind(**{of.name: fit(of.name, content[of.name], kinds[of.name]) for of in fields(kind)})  # type: ignore[arg-type]
    except KeyError as error:
        raise ReproductionError(f"{path} is no result of flp reproduce: it lacks {error}") from None
    except WrongValue as error:
        raise ReproductionError(f"{path} is no result of flp reproduce: {error}") from None


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with a line's end after it."""
    lines = (headings, ["---"] * len(headings), *rows)
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
