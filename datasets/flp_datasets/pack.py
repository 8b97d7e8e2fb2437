"""A dataset packed once into one HDF5 file: images of one size, by class.

The file holds ``images`` ``(N, C, H, W)`` uint8, all of a class beside each other, and for every class its name, split
and number of images, in ``class_names``, ``class_splits`` and ``class_counts``. Attributes say the dataset, its source,
the image size, the format's version, and the SHA-256 of all this. The images are stored as they are, without chunks, so
that they can be mapped into memory: nothing is read before it is asked for, and any number of processes share one copy.

Texts have a fixed length, and HDF5's own structures a checksum: of a damaged file without them, HDF5 may never return.
Packs travel, so that each part is checked before it is read; see :mod:`flp_datasets.hdf5_parts`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from h5py import h5t
from numpy.typing import NDArray

from flp_base.errors import SourceError
from flp_base.files import remove_leftovers
from flp_base.locking import file_lock
from flp_datasets.hdf5_parts import UnsafePart, find_dataset, read_number, read_text
from flp_datasets.sources import SPLITS

FORMAT = "flp-envs image pack"
# 2: Omniglot has a meta-val split. Of a pack of version 1, meta-train would hold its characters as well.
FORMAT_VERSION = 2
_HASHED_AT_ONCE = 1 << 24


class PackError(SourceError):
    """A pack that is missing, damaged, or not the one that was asked for."""


class MissingPack(PackError):
    """A dataset that is not on this machine, or not packed."""


@dataclass(frozen=True)
class Description:
    """What a pack says of itself.

    Attributes:
        dataset: such as "omniglot".
        source: where it was packed from, in words.
        image_shape: ``(C, H, W)``.
        names: of every class.
        splits: of every class.
        counts: images of every class.
        checksum: SHA-256 of all this and of the images; empty of what is not packed yet.
    """

    dataset: str
    source: str
    image_shape: tuple[int, int, int]
    names: tuple[str, ...]
    splits: tuple[str, ...]
    counts: tuple[int, ...]
    checksum: str = field(default="", compare=False)

    @property
    def images_shape(self) -> tuple[int, int, int, int]:
        """``(N, C, H, W)`` of all images together."""
        return (sum(self.counts), *self.image_shape)

    @property
    def makes_sense(self) -> bool:
        """Whether there are classes, with different names and at least one image each."""
        known = set(self.splits) <= set(SPLITS) and min(self.image_shape) > 0
        return known and len(set(self.names)) == len(self.names) > 0 and min(self.counts) > 0

    def begin_checksum(self) -> hashlib._Hash:
        """SHA-256 of everything but the images, to be fed these."""
        described = {name: value for name, value in asdict(self).items() if name != "checksum"}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode())


@contextlib.contextmanager
def packing_lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lets one process at a time pack into ``path``; the others wait. Removes what a killed one left.

    Args:
        path: of the pack; its folder exists.
        on_wait: called if another process must be waited for.

    Raises:
        OSError: if the folder cannot be written.
    """
    with file_lock(path.with_name(f".{path.name}.lock"), on_wait=on_wait) as held:
        if held:  # else another process may be writing one of these: the one that ends last wins, whole
            remove_leftovers(path)
        yield


def open_pack(path: Path, *, image_size: int | None = None) -> tuple[Description, NDArray[np.uint8]]:
    """Opens a pack read-only and verifies all of it, once in a process for each version of the file.

    Args:
        path: of the pack.
        image_size: that it must have; none: any.

    Returns:
        What it says of itself, and its images ``(N, C, H, W)``, mapped into memory.

    Raises:
        PackError: if it is missing, truncated, altered, of another format version or image size.
    """
    anew = "make it anew with flp data prepare --overwrite"
    with _open(path) as opened:  # once, so that all of it is of one pack even if another takes its place meanwhile
        status = os.fstat(opened.fileno())
        try:
            with h5py.File(opened, "r") as file:
                about, checksum, offset = _describe(file, path, status.st_size)
            if offset + math.prod(about.images_shape) > status.st_size:
                raise ValueError
        except PackError:
            raise
        except Exception:  # whatever h5py raises on a damaged file
            raise PackError(f"{path} is truncated or altered, or is not a pack: {anew}") from None
        try:
            images = np.memmap(opened, np.uint8, "r", offset, about.images_shape)
        except OSError as error:
            raise PackError(f"{path} cannot be mapped into memory ({error.strerror}): free some memory") from None
    if image_size is not None and about.image_shape[1:] != (image_size, image_size):
        raise PackError(
            f"{path} holds images of {about.image_shape[1]} pixels, expected {image_size}: its name was changed; {anew}"
        )
    version = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, checksum)
    if version not in _VERIFIED:
        hashed = about.begin_checksum()
        flat = images.reshape(-1)
        for start in range(0, len(flat), _HASHED_AT_ONCE):
            hashed.update(flat[start : start + _HASHED_AT_ONCE].data)
        if hashed.hexdigest() != checksum:
            raise PackError(f"{path} was altered after it was packed, its SHA-256 does not match: {anew}")
        _VERIFIED.add(version)
    return replace(about, checksum=checksum), images.view(np.ndarray)


_VERIFIED: set[tuple[str, int, int, int, int, str]] = set()


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise PackError(f"there is no pack at {path}: make it with flp data prepare") from None
    except PermissionError:
        raise PackError(f"{path} cannot be read: change its permissions, or name another data_root") from None
    except IsADirectoryError:
        raise PackError(f"{path} is a folder, expected a file: remove it, then make it with flp data prepare") from None
    except OSError as error:
        raise PackError(f"{path} cannot be opened ({error.strerror}): mend this, or name another data_root") from None


def _describe(file: h5py.File, path: Path, length: int) -> tuple[Description, str, int]:
    """A pack's description, its checksum, and where in the file, of ``length`` bytes, its images begin."""
    try:
        if read_text(file, "format", limit=length) != FORMAT:
            raise PackError(f"{path} is an HDF5 file, but not a pack of this package: name another data_root")
        version = read_number(file, "format_version", limit=length)
        if version != FORMAT_VERSION:
            raise PackError(
                f"{path} has format version {version}, this version of flp-envs reads {FORMAT_VERSION}: make it anew "
                "with flp data prepare --overwrite, or install the version of flp-envs that made it"
            )
        images = find_dataset(file, "images", rank=4, kind=h5t.INTEGER, limit=length)
        names, splits, counts = (
            find_dataset(file, name, rank=1, kind=kind, limit=length)
            for name, kind in (("class_names", h5t.STRING), ("class_splits", h5t.STRING), ("class_counts", h5t.INTEGER))
        )
        offset = images.id.get_offset()
        if offset is None or images.dtype != np.uint8 or not len(names) == len(splits) == len(counts) <= len(images):
            raise UnsafePart("expected images of bytes, not in chunks, and a name, a split and a number for each class")
        about = Description(
            read_text(file, "dataset", limit=length),
            read_text(file, "source", limit=length),
            (images.shape[1], images.shape[2], images.shape[3]),
            tuple(names.asstr()[:]),
            tuple(splits.asstr()[:]),
            tuple(map(int, counts[:])),
        )
        if images.shape != about.images_shape or not about.makes_sense:
            raise UnsafePart("expected classes with different names, of known splits, with as many images as are there")
        return about, read_text(file, "checksum", limit=length), int(offset)
    except PackError:
        raise
    except ValueError as error:  # also of a text that is not UTF-8
        raise PackError(
            f"{path} lacks a part of a pack: it was altered; make it anew with flp data prepare --overwrite ({error})"
        ) from None
