"""Where data lies: the folder that was named, or the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from flp_base.errors import SourceError

VARIABLE = "FLP_DATA_ROOT"


def cache_root() -> Path:
    """The user's own folder for data: ``data`` in ``FLP_CACHE``, or in flp-envs' part of the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(os.path.expanduser(os.environ.get("FLP_CACHE") or os.path.join(base, "flp-envs"))) / "data"


def expand_home(name: str) -> str:
    """A path whose ``~`` or ``~user`` at the beginning, which a shell leaves alone between quotes, is a home folder.

    Raises:
        SourceError: if there is no such home folder: a folder called ``~`` is never meant.
    """
    expanded = os.path.expanduser(name)
    if expanded.startswith("~"):
        raise SourceError(f"there is no home folder {name.split('/')[0]}: for a file of that name write ./{name}")
    return expanded


def named_root(data_root: str | os.PathLike[str] | None) -> Path | None:
    """The folder that an argument names, else ``FLP_DATA_ROOT``, else none.

    Raises:
        SourceError: if it is not a folder that can be read.
    """
    name, how = (data_root, "data_root") if data_root is not None else (os.environ.get(VARIABLE) or None, VARIABLE)
    if name is None:
        return None
    path = Path(os.path.expanduser(name))
    if not os.path.isdir(path):
        raise SourceError(f"{how} is {path}, which is not a folder: name the folder that holds the data")
    if not os.access(path, os.R_OK | os.X_OK):
        raise SourceError(f"{how} is {path}, which cannot be read: change its permissions, or name another folder")
    return path


def roots(data_root: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to look in, in this order: the named one, if any, then the user's cache.

    Raises:
        SourceError: see :func:`named_root`.
    """
    named = named_root(data_root)
    return list(dict.fromkeys([cache_root()] if named is None else [named, cache_root()]))
