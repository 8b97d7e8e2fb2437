"""The files of a user's code: which they are, what they import, and whether they are still what was imported."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import sysconfig
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from flp_base.errors import FLPError
from flp_base.registry import OWN_PACKAGES

# Covered by the version of this package.
_OF_THIS_PACKAGE = OWN_PACKAGES
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
# The files that this process has imported, as they were when it first looked at them.
_REMEMBERED: dict[str, tuple[ModuleSpec | None, str]] = {}


class EditedSource(FLPError, RuntimeError):
    """Code that was edited after this process imported it: what is run is not what stands in the file."""


def remember_sources() -> None:
    """Notes what the user's files that this process has imported hold, as close to their import as can be.

    Without this, a file that is edited in the meantime would be taken for what is run.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name != "__main__" and is_own(name, file, set()):
            path = file_of(module)
            if path is not None:
                sha256_of(module, path)


def file_of(module: types.ModuleType | None) -> str | None:
    file = getattr(module, "__file__", None)
    return str(Path(file).resolve()) if isinstance(file, str) and Path(file).is_file() else None


def is_own(name: str, file: str, roots: set[str]) -> bool:
    """Whether a module is the user's: in no library, or in the same package as what is asked for."""
    top = name.partition(".")[0]
    if top in _OF_THIS_PACKAGE:
        return False
    installed = "site-packages" in file or "dist-packages" in file or file.startswith(_LIBRARIES)
    return top in roots or not installed


def sha256_of(module: types.ModuleType | None, file: str) -> str:
    """Of a file's content, which must be what was imported.

    Raises:
        EditedSource: if it was edited since.
    """
    try:
        sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        sha256 = ""
    if module is None:
        return sha256
    spec = getattr(module, "__spec__", None)
    earlier = _REMEMBERED.get(file)
    if earlier is None or earlier[0] is not spec:  # new, or imported anew
        _REMEMBERED[file] = (spec, sha256)
    elif earlier[1] != sha256:
        raise EditedSource(
            f"{Path(file).name} was edited after it was imported, so what would run is not what stands in it: start "
            "Python anew"
        )
    return sha256


def imports_of(name: str, file: str) -> Iterator[tuple[str, str]]:
    """Modules that a file imports anywhere in it, and their files."""
    if not file.endswith(".py"):
        return
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            try:
                base = importlib.util.resolve_name(base, package) if node.level else base
            except ImportError:
                continue
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for imported in names:
            for whole in _with_packages(imported):
                path = _find(whole)
                if path is not None:
                    yield whole, path


def _with_packages(name: str) -> list[str]:
    """``a.b.c``, and the packages that it lies in."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _find(name: str) -> str | None:
    """The file of a module that is imported, or would be, without importing anything."""
    if name in sys.modules:
        return file_of(sys.modules[name])
    places, spec = None, None
    for whole in _with_packages(name):
        spec = PathFinder.find_spec(whole, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations or []
    origin = spec.origin if spec is not None else None
    return str(Path(origin).resolve()) if origin and Path(origin).is_file() else None
