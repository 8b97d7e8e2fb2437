"""Files that are there whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from flp_datasets.errors import FLPError


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file by one with other content; a crash at any moment leaves the old one or the new.

    Raises:
        OSError: if it cannot be written; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Removes what writes of this file that were killed have left behind, where nobody else is writing it.

    Raises:
        OSError: if something cannot be removed.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


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
        FLPError: ``error``, if it is missing, cannot be read, is no JSON, or of another version.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise error(missing) from None
    except OSError as fault:
        raise error(f"cannot read {path}: {fault.strerror}") from None
    except ValueError:
        raise error(f"{path} is truncated or not JSON: {damaged}") from None
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != version:
        raise error(f"{path} has format version {found}, this version reads {version}: use the flp-envs that wrote it")
    return dict(content)
