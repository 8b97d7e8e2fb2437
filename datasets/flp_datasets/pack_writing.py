"""Packing a dataset: every image decoded, resized, checked and written into one file."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from flp_base.errors import SourceError, check_choice
from flp_base.files import replacing
from flp_datasets.decoding import as_seen
from flp_datasets.image_checks import UNKNOWN, DoubtfulImages, Seen, Whole
from flp_datasets.pack import FORMAT, FORMAT_VERSION, Description
from flp_datasets.sources import SPLITS, SourceClass


def write_pack(
    path: Path,
    dataset: str,
    source: str,
    classes: Sequence[SourceClass],
    *,
    image_size: int,
    channels: int,
    whole: Whole = UNKNOWN,
    on_class: Callable[[], None] = lambda: None,
) -> Description:
    """Decodes and resizes all images, and writes them; a crash at any moment leaves the old pack or the new.

    Args:
        path: the file to write; its folder exists.
        dataset: its name.
        source: where the images come from, in words.
        classes: what to pack.
        image_size: height and width of every packed image, in pixels.
        channels: 1 for grey, 3 for colour.
        whole: what the dataset is like when it is whole; an image twice in a class or in two splits never is.
        on_class: called after every class, for a progress bar.

    Returns:
        What was packed.

    Raises:
        SourceError: naming the image that does not decode, both of two that are the same, or what is not whole.
        OSError: if the file cannot be written.
    """
    about = Description(
        dataset,
        _encode(source).decode(),
        (channels, image_size, image_size),
        tuple(_encode(c.name).decode() for c in classes),
        tuple(check_choice("split", c.split, SPLITS) for c in classes),
        tuple(len(c.images) for c in classes),
    )
    if not about.makes_sense:
        raise SourceError(f"expected classes of {dataset} with different names and at least one image each in {source}")
    whole.check_sizes(classes)
    seen = Seen(whole, classes)
    with (
        replacing(path) as (_, handle),
        _Output(handle) as output,
        h5py.File(output, "w", libver=("v110", "v110")) as file,
    ):
        checksum = about.begin_checksum()
        images = file.create_dataset("images", about.images_shape, np.uint8)
        start = 0
        for of_class in classes:
            block = _decode(of_class, channels, image_size, seen)
            images[start : start + len(block)] = block
            checksum.update(block.data)
            start += len(block)
            output.check()
            on_class()
        file.create_dataset("class_names", data=_fixed(about.names))
        file.create_dataset("class_splits", data=_fixed(about.splits))
        file.create_dataset("class_counts", data=np.array(about.counts, np.int64))
        file.attrs.update(format_version=FORMAT_VERSION, image_size=image_size)
        said = {"format": FORMAT, "dataset": dataset, "source": about.source, "checksum": checksum.hexdigest()}
        file.attrs.update({name: _fixed([text]).reshape(()) for name, text in said.items()})
        file.close()
        output.check()
        os.fsync(handle)
    for text in seen.warnings():
        warnings.warn(text, DoubtfulImages, stacklevel=2)
    return replace(about, checksum=checksum.hexdigest())


def _encode(text: str) -> bytes:
    """UTF-8, even of the name of a file that is none."""
    return text.encode(errors="backslashreplace")


def _fixed(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Texts as HDF5 holds them at a fixed length."""
    encoded = np.array([_encode(text) for text in texts])
    return encoded.astype(h5py.string_dtype("utf-8", encoded.itemsize))


class _Output(io.FileIO):
    """A file that HDF5 writes to, which keeps the first error for :meth:`check`.

    HDF5 must not see it: a file that it cannot flush it cannot close either, and the process crashes when it ends.
    """

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "r+")
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self._error is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def check(self) -> None:
        """Raises the first error, if there was one."""
        if self._error is not None:
            raise self._error


def _decode(of_class: SourceClass, channels: int, image_size: int, seen: Seen) -> NDArray[np.uint8]:
    """All images of a class, ``(K, C, H, W)``."""
    from PIL import Image

    block = np.empty((len(of_class.images), image_size, image_size, channels), np.uint8)
    for place, (name, decode) in zip(block, of_class.images, strict=True):
        try:
            image = as_seen(decode(), "L" if channels == 1 else "RGB")
            original = np.asarray(image)
            if image.size != (image_size, image_size):
                image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
        except SourceError as error:
            raise SourceError(f"cannot pack {name}: {error}; nothing was packed") from None
        except Exception as error:  # whatever a decoder raises on a damaged file
            raise SourceError(
                f"cannot decode {name}: {type(error).__name__}: {' '.join(str(error).split())}: get this file anew, "
                "nothing was packed"
            ) from None
        seen.add(of_class, name, original)
        place[...] = np.asarray(image).reshape(place.shape)
    return np.ascontiguousarray(block.transpose(0, 3, 1, 2))
