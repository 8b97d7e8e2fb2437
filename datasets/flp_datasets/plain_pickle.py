"""Unpickling without running code: numbers, text, lists, dicts and numpy arrays, nothing else.

A pickle is a program that may call whatever it can name (https://docs.python.org/3/library/pickle.html, "Restricting
globals"). Here it can name a few constructors only, each a stand-in written below: numpy's own would let it forge a
dtype's flags, to have its bytes taken for pointers, and ``_codecs.encode`` would look up any codec.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from flp_base.errors import SourceError

_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU]\d{1,4}|O8?")
_Array: TypeAlias = np.ndarray[Any, Any]


def load_plain_pickle(path: Path, instead: str) -> object:
    """What a pickle of any protocol holds, of Python 2 too, whose strings are taken for Latin-1.

    Args:
        path: the file.
        instead: what to do with a pickle that cannot be read: the end of a sentence.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, set, dict (ordered and default ones become plain), numpy
        scalars, or ``numpy.ndarray`` (perhaps not writeable) of these or of numbers.

    Raises:
        SourceError: if it names anything else, is cut short or damaged, or cannot be opened. Nothing of it was run.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except _Refused as refused:
        raise SourceError(f"{path} is not read, as it may run code: it names {refused}; {instead}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be opened: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        cause = one_line(f"{type(error).__name__}: {error}")
        raise SourceError(f"{path} is no whole pickle of plain data ({cause}): fetch it again, or {instead}") from error


def one_line(value: object, length: int = 100) -> str:
    """Text from a file, fit for a message: printable, on one line, not too long."""
    text = str(value).encode("unicode_escape").decode("ascii")
    return text if len(text) <= length else f"{text[: length - 3]}..."


class _Refused(Exception):
    """A global that is no plain data."""


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")
        self._constructors = _constructors()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        # Looked up whole: a dotted name must not lead from an allowed object to its attributes.
        if (module_name, global_name) not in self._constructors:
            raise _Refused(one_line(f"{module_name}.{global_name}"))
        return self._constructors[module_name, global_name]


class _Dtype:
    """Stands in for a dtype while it is built: a plain one only, without fields or subarrays."""

    def __init__(self, code: str) -> None:
        if not _PLAIN_DTYPE.fullmatch(code):
            raise ValueError(f"dtype {code!r} is no plain one")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, byte_order, subarray, names, fields, *_ = state
        if not (subarray is None and names is None and fields is None and byte_order in ("<", ">", "=", "|")):
            raise ValueError("a dtype with fields or subarrays is no plain one")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _ArrayBeingBuilt(np.ndarray[Any, Any]):
    """An array whose state comes checked: numpy trusts the length of a list of objects."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, description, fortran, content = state
        dtype: np.dtype[Any] = description.dtype
        if self.size or not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError(f"an array's shape is {shape!r}, or was another before")
        if not dtype.hasobject:
            content = _checked_bytes(content, dtype, math.prod(shape))
        elif not isinstance(content, list) or len(content) != math.prod(shape):
            raise ValueError(f"an array of {shape!r} objects without a list of as many")
        built: Any = (1, shape, dtype, bool(fortran), content)
        super().__setstate__(built)


def _checked_bytes(content: object, dtype: np.dtype[Any], count: int) -> bytes | bytearray:
    """What fills ``count`` elements: no other array, whose memory a pickle may free; and no text past Unicode's end."""
    content = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(content, bytes | bytearray) or len(content) != count * dtype.itemsize:
        raise ValueError(f"an array's content is not {count * dtype.itemsize} bytes")
    if dtype.kind == "U" and np.frombuffer(content, f"{dtype.byteorder}u4").max(initial=0) > sys.maxunicode:
        raise ValueError("an array's text is not Unicode")
    return content


def _constructors() -> dict[tuple[str, str], Callable[..., object] | str]:
    """What a pickle may name. Made anew for each, so that attributes it sets on them die with it."""

    def dtype(code: str, align: object = False, copy: object = True) -> _Dtype:
        return _Dtype(code)

    def reconstruct(subtype: object, shape: object, code: object) -> _Array:
        return np.ndarray.__new__(_ArrayBeingBuilt, (0,), np.uint8)

    def from_buffer(content: object, description: _Dtype, shape: tuple[int, ...], order: Any) -> _Array:
        content = _checked_bytes(content, description.dtype, math.prod(shape))
        return np.frombuffer(content, description.dtype).reshape(shape, order=order).view(_ArrayBeingBuilt)

    def scalar(description: _Dtype, content: object) -> object:
        return from_buffer(content, description, (1,), "C")[0]

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise ValueError(f"bytes written as {encoding!r}, not as latin1")
        return text.encode("latin1")

    def default_dict(factory: object = None, *content: Any) -> dict[object, object]:
        return dict(*content)

    def empty_bytes() -> bytes:
        return b""

    found: dict[tuple[str, str], Callable[..., object] | str] = {
        ("numpy", "dtype"): dtype,
        ("numpy", "ndarray"): "ndarray",  # named only as the first argument of _reconstruct
        ("_codecs", "encode"): encode,
        ("collections", "OrderedDict"): dict,
        ("collections", "defaultdict"): default_dict,
    }
    for package in ("numpy.core", "numpy._core"):
        found[f"{package}.multiarray", "_reconstruct"] = reconstruct
        found[f"{package}.multiarray", "scalar"] = scalar
        found[f"{package}.numeric", "_frombuffer"] = from_buffer
    for package in ("builtins", "__builtin__"):
        found |= {(package, kind.__name__): kind for kind in (list, dict, set, int)}
        found[package, "bytes"] = empty_bytes  # how old protocols write b""
    return found
