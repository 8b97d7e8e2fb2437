"""Images as sources hold them: encoded, or as arrays; decoded when asked for."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from flp_datasets.errors import SourceError

if TYPE_CHECKING:
    from PIL.Image import Image

# Of a class: what each image is called in messages, and what decodes it.
Images: TypeAlias = "list[tuple[str, Callable[[], Image]]]"

CONVERT = (
    "where it can be trusted, load it and write HDF5 that is read here: "
    "h5py.File('train_data.hdf5', 'a')['datasets/CLASS'] = images_of_class, uint8 (images, H, W, 3)"
)


def decode_file(read: Callable[[], bytes]) -> Image:
    """An encoded image, as RGB."""
    from PIL import Image

    return Image.open(io.BytesIO(read())).convert("RGB")


def from_array(array: Any) -> Image:
    """``(H, W, 3)`` uint8."""
    from PIL import Image

    return Image.fromarray(array)


def check_images(array: Any, where: str) -> None:
    """Whether a numpy array or an HDF5 dataset holds RGB images.

    Raises:
        SourceError: if not.
    """
    if array.dtype != np.uint8 or len(array.shape) != 4 or array.shape[3] != 3 or 0 in array.shape[1:]:
        raise SourceError(f"{where} is {array.dtype} {array.shape}: expected uint8 (images, H, W, 3); {CONVERT}")
