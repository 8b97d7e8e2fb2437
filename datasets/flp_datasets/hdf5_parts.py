"""Parts of an HDF5 file from others: how each is stored is looked at before any of it is read.

HDF5 lets a small file name other files, stand for gigabytes, or send the library in circles. So nothing is read but
what the file itself holds, byte for byte: no links to elsewhere, no virtual and no external storage, no compression
unless it is asked for, nothing longer than what is stored for it, and no texts of variable length, whose heap has no
checksum: HDF5 may never return from a damaged one.
"""

from __future__ import annotations

import math

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5o, h5s, h5t, h5z
from numpy.typing import NDArray

# What each filter can expand its input by, at most; deflate's is the largest.
_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_LZF)
_EXPANSION = 1032


class UnsafePart(ValueError):
    """A part that is missing, or not stored as it must be. The text names it and says what was expected."""


def find_group(parent: h5py.Group, name: str) -> h5py.Group:
    """A group that lies in this file.

    Raises:
        UnsafePart: if there is none.
    """
    if _kind(parent, name) != h5o.TYPE_GROUP:
        raise UnsafePart(f"{name!r} is no group, expected one in this file")
    return parent[name]


def find_stored(parent: h5py.Group, name: str, *, limit: int, compressed: bool = False) -> h5py.Dataset:
    """A dataset whose elements all lie in this file; nothing of them is read.

    Args:
        parent: the group that holds it.
        name: its name there.
        limit: the file's length in bytes, which bounds what can be stored in it.
        compressed: whether it may be, by what every HDF5 library can undo.

    Raises:
        UnsafePart: if there is none, or it is stored otherwise.
    """
    if _kind(parent, name) != h5o.TYPE_DATASET:
        raise UnsafePart(f"{name!r} is no dataset, expected one in this file")
    dataset = parent[name]
    how = dataset.id.get_create_plist()
    layout = how.get_layout()
    if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED) or how.get_external_count():
        raise UnsafePart(f"{name!r} is virtual or external, expected all of it in this file")
    filters = {how.get_filter(number)[0] for number in range(how.get_nfilters())}
    if not filters <= set(_FILTERS if compressed else ()):
        raise UnsafePart(f"{name!r} is compressed or filtered, expected it as it is")
    stored = dataset.id.get_storage_size()
    elements = dataset.id.get_space().get_simple_extent_npoints()
    if layout == h5d.CHUNKED and elements:
        elements = max(elements, math.prod(how.get_chunk()))
    claimed = elements * dataset.id.get_type().get_size()
    if claimed > min(stored, limit) * (_EXPANSION if filters else 1):
        raise UnsafePart(f"{name!r} claims {claimed} bytes, of which {stored} are stored in a file of {limit}")
    return dataset


def find_dataset(parent: h5py.Group, name: str, *, rank: int, kind: int, limit: int) -> h5py.Dataset:
    """The same of one whose dimensions and elements are known beforehand, and which is not compressed.

    Args:
        parent: the group that holds it.
        name: its name there.
        rank: how many dimensions it must have.
        kind: of its elements: ``h5t.STRING`` (of fixed length) or ``h5t.INTEGER`` (of at most 8 bytes).
        limit: the file's length in bytes.

    Raises:
        UnsafePart: if there is none, or it is stored or made otherwise.
    """
    dataset = find_stored(parent, name, limit=limit)
    space = dataset.id.get_space()
    if space.get_simple_extent_type() != h5s.SIMPLE or space.get_simple_extent_ndims() != rank:
        raise UnsafePart(f"{name!r} has another number of dimensions than {rank}")
    _element_size(dataset.id.get_type(), kind, name)
    return dataset


def read_text(parent: h5py.Group, name: str, *, limit: int) -> str:
    """A text attribute; empty where there is none.

    Raises:
        UnsafePart: if it is something else.
    """
    return "" if (value := _attribute(parent, name, h5t.STRING, limit)) is None else bytes(value.item()).decode()


def read_number(parent: h5py.Group, name: str, *, limit: int) -> int:
    """A whole number among the attributes.

    Raises:
        UnsafePart: if there is none.
    """
    value = _attribute(parent, name, h5t.INTEGER, limit)
    if value is None:
        raise UnsafePart(f"there is no attribute {name!r}, expected a whole number")
    return int(value.item())


def _attribute(parent: h5py.Group, name: str, kind: int, limit: int) -> NDArray[np.generic] | None:
    if not h5a.exists(parent.id, name.encode()):
        return None
    attribute = h5a.open(parent.id, name.encode())
    size = _element_size(attribute.get_type(), kind, name)
    if attribute.get_space().get_simple_extent_npoints() != 1 or not size <= attribute.get_storage_size() <= limit:
        raise UnsafePart(f"{name!r} is no single value")
    value = np.empty(attribute.shape, attribute.dtype)
    attribute.read(value)
    return value


def _kind(parent: h5py.Group, name: str) -> int | None:
    """The type of object that lies in this file under a name; none for links to elsewhere, or without one."""
    place = name.encode(errors="surrogateescape")
    if b"/" in place or not parent.id.links.exists(place) or parent.id.links.get_info(place).type != h5l.TYPE_HARD:
        return None
    return int(h5o.get_info(parent.id, place).type)


def _element_size(of: h5t.TypeID, kind: int, name: str) -> int:
    size: int = of.get_size()
    if kind == h5t.STRING and (of.get_class() != kind or of.is_variable_str()):
        raise UnsafePart(f"{name!r} holds no texts of a fixed length")
    if kind == h5t.INTEGER and (of.get_class() != kind or size > 8):
        raise UnsafePart(f"{name!r} holds no whole numbers")
    return size
