"""What a user's code is, as one number: so that results of code that was edited since are told from those of this one.

A file counts with all that it holds, and with the user's own files that it imports, however deep. What was written in
a notebook or a script that is run has no file of its own, and counts by its functions' instructions and by what they
refer to. Python itself, installed packages and this package count by their versions elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import re
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flp_agents.benchmark.source_files import file_of, imports_of, is_own, sha256_of
from flp_base.errors import FLPError

# What a class holds beside what its author wrote.
_NOT_WRITTEN = (
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__static_attributes__",
    "__slotnames__",
    "__abstractmethods__",
    "_abc_impl",
    "__annotations_cache__",
)


def source_digest(*things: Any) -> str:
    """SHA-256 of the user's code that classes, functions or objects are defined by; empty where there is none.

    Args:
        things: classes, functions, ``functools.partial`` of them with their arguments, or instances of classes.

    Raises:
        EditedSource: if a file was edited after this process imported it.
    """
    walk = _Walk()
    try:
        for thing in things:
            walk.feed(thing)
    except RecursionError:
        raise FLPError(
            f"{_repr(things[-1])} refers to objects that are nested too deeply to be told from others: define it in a "
            "file, and name that with --plugin"
        ) from None
    return walk.digest()


def value_digest(value: Any) -> str:
    """SHA-256 of a value, whatever it is made of, and of the user's code that it refers to."""
    walk = _Walk()
    walk.feed(value)
    return walk.digest(always=True)


class _Walk:
    """Collects files, and feeds one hash with what has none."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._fed = False
        self._files: dict[str, str] = {}
        self._roots: set[str] = set()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # else another object may get the number of one that is gone

    def digest(self, *, always: bool = False) -> str:
        """Of everything so far; unless ``always``, empty if none of it was the user's."""
        if not (always or self._fed or self._files):
            return ""
        for name, sha256 in sorted((Path(file).name, sha256) for file, sha256 in self._files.items()):
            self._write(name, sha256)
        return self._hash.hexdigest()

    def feed(self, value: Any) -> None:
        """Takes a thing, and all that it refers to."""
        while isinstance(value, functools.partial):
            self._feed_all("partial", (value.args, value.keywords))
            value, self._fed = value.func, True
        top = str(getattr(value, "__module__", "")).partition(".")[0]
        if top not in sys.stdlib_module_names:
            self._roots.add(top)
        self._feed(value)

    def _write(self, *texts: str) -> None:
        for text in texts:
            encoded = text.encode(errors="surrogatepass")
            self._hash.update(f"{len(encoded)}:".encode() + encoded)

    def _feed(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return self._write(type(value).__name__, repr(value))
        if id(value) in self._seen:
            return self._write("again", str(self._seen[id(value)]))
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        if isinstance(value, types.ModuleType):
            self._feed_module(value)
        elif isinstance(value, type):
            self._feed_class(value)
        elif inspect.isfunction(value):
            self._feed_function(value)
        elif inspect.ismethod(value):
            self._feed_all("method", (value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._feed_all("partial", (value.func, value.args, value.keywords))
        elif isinstance(value, staticmethod | classmethod):
            self._feed_all(type(value).__name__, (value.__func__,))
        elif isinstance(value, property):
            self._feed_all("property", (value.fget, value.fset, value.fdel))
        else:
            self._feed_data(value)
        return None

    def _feed_all(self, kind: str, parts: Iterable[Any]) -> None:
        parts = list(parts)
        self._write(kind, str(len(parts)))
        for part in parts:
            self._feed(part)

    def _feed_data(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self._feed_all("table", [part for item in value.items() for part in item])
        elif isinstance(value, list | tuple):
            self._feed_all("list", value)
        elif isinstance(value, set | frozenset):
            self._write("set", *sorted(map(value_digest, value)))
        elif isinstance(value, types.CodeType):
            self._feed_code(value)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self._write("array", str(value.dtype), str(value.shape), hashlib.sha256(value.tobytes()).hexdigest())
        elif isinstance(value, torch.Tensor) and value.layout is torch.strided:
            wide = torch.float64 if value.is_floating_point() else value.dtype
            self._feed(value.detach().cpu().to(wide).resolve_conj().numpy())
        else:
            self._fed = True
            self._feed(type(value))
            if isinstance(value, torch.nn.Module):
                self._feed(dict(value.state_dict()))
            elif self._is_written_by_the_user(type(value)) and isinstance(getattr(value, "__dict__", None), dict):
                self._feed(vars(value))
            else:
                self._write(_as_text(value))

    def _feed_module(self, module: types.ModuleType) -> None:
        if not self._take_file(module):
            self._write("module", module.__name__)

    def _feed_class(self, cls: type) -> None:
        self._write("class", cls.__qualname__)
        for base in cls.__mro__[:-1]:
            if self._is_written_by_the_user(base) and not self._take_file(sys.modules.get(base.__module__)):
                self._fed = True
                self._write(base.__qualname__)
                for name, part in sorted(vars(base).items()):
                    if name not in _NOT_WRITTEN:
                        self._write(name)
                        self._feed(part)

    def _feed_function(self, function: types.FunctionType) -> None:
        self._write("function", function.__qualname__)
        if not self._is_written_by_the_user(function):
            return
        if self._take_file(sys.modules.get(function.__module__)):
            # Its file says what it is, but not what it was made with.
            self._feed_closure(function)
            return
        self._fed = True
        self._feed_code(function.__code__)
        self._feed_all("defaults", [function.__defaults__, function.__kwdefaults__])
        self._feed_closure(function)
        for name in sorted(_names_in(function.__code__)):
            if name in function.__globals__:
                self._write(name)
                self._feed(function.__globals__[name])

    def _feed_closure(self, function: types.FunctionType) -> None:
        for cell in function.__closure__ or ():
            self._fed = True
            try:
                self._feed(cell.cell_contents)
            except ValueError:  # not assigned yet
                self._write("empty")

    def _feed_code(self, code: types.CodeType) -> None:
        self._write(hashlib.sha256(code.co_code).hexdigest(), *code.co_names, *code.co_varnames, *code.co_freevars)
        self._feed_all("constants", code.co_consts)

    def _is_written_by_the_user(self, thing: Any) -> bool:
        name = str(getattr(thing, "__module__", None) or "")
        module = sys.modules.get(name)
        file = file_of(module)
        return name == "__main__" or module is None or (file is not None and is_own(name, file, self._roots))

    def _take_file(self, module: types.ModuleType | None) -> bool:
        """Counts a module's file and those that it imports, if it is the user's and has one."""
        file = file_of(module)
        if module is None or file is None or module.__name__ == "__main__":
            return False
        if not is_own(module.__name__, file, self._roots):
            return False
        todo = [(module.__name__, file)]
        while todo:
            name, file = todo.pop()
            if file in self._files:
                continue
            self._files[file] = sha256_of(sys.modules.get(name), file)
            todo += [(other, path) for other, path in imports_of(name, file) if is_own(other, path, self._roots)]
        return True


def _as_text(value: Any) -> str:
    """An object of a library: as it is pickled, or else as it is printed, but for its address."""
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", _repr(value))


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return type(value).__name__


def _names_in(code: types.CodeType) -> set[str]:
    """All names that a function looks up, those of functions within it too."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names
