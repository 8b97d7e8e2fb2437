"""Files that are there whole or not at all, and the one way in which JSON and TOML are read.

Whatever a file holds, reading it ends in plain values of a bounded depth and size, or in one error. What those values
mean is the caller's to check.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flp_base.errors import FLPError, in_short

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Far above anything that this package writes, and far below what exhausts the stack or the memory.
DEEPEST, LARGEST_FILE = 100, 2**28
# The states of random generators are the largest whole numbers in any file: 128 bits.
LARGEST_INTEGER = 2**128


class UnreadableContent(ValueError):
    """Bytes that are no JSON or TOML of a sensible depth and size; the text continues "FILE ..."."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file by one with other content; a crash at any moment leaves the old one or the new.

    Raises:
        OSError: if it cannot be written; nothing is left behind.
    """
    with replacing(path) as (_, handle), os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def spelt(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file's name that are no text become ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[tuple[Path, int]]:
    """A new file beside another, which takes its place when the block ends, and is removed when the block fails.

    It can be read and written by whoever the user's umask says, as any file that the user makes: those of
    :mod:`tempfile` are the user's alone.

    Yields:
        Where it is until then, and a descriptor open for reading and writing, which the block closes.

    Raises:
        OSError: if it cannot be made, or cannot take the other's place.
    """
    new, handle = _open_new(path)
    try:
        yield new, handle
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _open_new(path: Path) -> tuple[Path, int]:
    while True:
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with contextlib.suppress(FileExistsError):
            return new, os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def remove_leftovers(path: Path) -> None:
    """Removes what writes of this file that were killed have left behind, where nobody else is writing it.

    Raises:
        OSError: if something cannot be removed.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def finite_or_none(value: float) -> float | None:
    """For JSON, which knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def parse_json(data: bytes) -> Any:
    """What JSON says, in UTF-8, with or without a byte-order mark.

    Raises:
        UnreadableContent: if it is not JSON, or too deeply nested; or if it holds a number that is not finite or of
            more than 128 bits, or text that is not Unicode.
    """
    return _parse(data, json.loads, "truncated or not JSON", is_json=True)


def parse_toml(data: bytes) -> dict[str, Any]:
    """What TOML says, in UTF-8, with or without a byte-order mark. Numbers may be ``inf`` and ``nan``.

    Raises:
        UnreadableContent: if it is not TOML, or too deeply nested; or if it holds a number of more than 128 bits.
    """
    content: dict[str, Any] = _parse(data, tomllib.loads, "not TOML", is_json=False)
    return content


def _parse(data: bytes, parse: Callable[[str], Any], unreadable: str, *, is_json: bool) -> Any:
    try:
        content = parse(data.decode("utf-8-sig"))
    except RecursionError:
        raise UnreadableContent(f"is nested more than {DEEPEST} deep") from None
    except ValueError as error:
        # A file of JSON is ours: where it breaks helps nobody. A file of TOML is the user's.
        reason = "" if is_json else f": {' '.join(str(error).split())}"
        raise UnreadableContent(f"is {unreadable}{reason}") from None
    # Not by recursion: that is what is to be refused.
    level, depth = [content], 0
    while level:
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.keys()
                below += value.values()
            elif isinstance(value, list):
                below += value
            else:
                _check_plain(value, finite=is_json)
        level, depth = below, depth + 1
        if depth > DEEPEST:
            raise UnreadableContent(f"is nested more than {DEEPEST} deep")
    return content


def _check_plain(value: Any, *, finite: bool) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnreadableContent("holds text that is not Unicode") from None
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise UnreadableContent(f"holds a whole number of {value.bit_length()} bits")
    elif finite and isinstance(value, float) and not math.isfinite(value):
        raise UnreadableContent("holds a number that is not finite")


def read_bytes(path: Path) -> bytes:
    """All of a file that is to be parsed.

    Raises:
        OSError: if it cannot be read.
        UnreadableContent: if it is larger than any that this package reads.
    """
    if "\0" in str(path):
        raise FileNotFoundError(errno.ENOENT, "no file's name holds a NUL", str(path))
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise UnreadableContent(f"is larger than {LARGEST_FILE // 2**20} MiB")
    return data


def read_versioned_json(
    path: Path, version: int, *, error: type[FLPError], missing: str, damaged: str
) -> dict[str, Any]:
    """The content of a JSON file whose ``format_version`` is the one that this package writes.

    Args:
        path: of the file.
        version: that can be read.
        error: what is raised.
        missing: what is said where there is no such file.
        damaged: what to do with one that is no JSON.

    Raises:
        FLPError: ``error``, if it is missing, cannot be read, is no JSON that :func:`parse_json` takes, or of another
            version.
    """
    try:
        content = parse_json(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        raise error(missing) from None
    except OSError as fault:
        raise error(f"cannot read {path}: {fault.strerror}") from None
    except UnreadableContent as fault:
        raise error(f"{path} {fault}: {damaged}") from None
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != version:
        raise error(
            f"{path} has format version {in_short(found)}, this version reads {version}: use the flp-envs that wrote it"
        )
    return dict(content)
