"""Images as sources hold them: encoded, or as arrays; decoded when asked for, to bytes of grey or of colour."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from flp_base.errors import SourceError

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

    return as_seen(Image.open(io.BytesIO(read())), "RGB")


def as_seen(image: Image, mode: str) -> Image:
    """An image as a viewer shows it on white paper, in 8 bits.

    It is turned as its EXIF data says, numbers of 16 bits are scaled, and what is transparent is white.

    Args:
        image: of any mode that has a white: not of floating-point numbers, nor of 32 bits.
        mode: "L" for grey, "RGB" for colour.

    Raises:
        SourceError: if the image has no white.
    """
    from PIL import Image, ImageOps

    image_format, transparency = image.format, image.info.get("transparency")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image_format in _OF_16_BITS):
        numbers = np.asarray(image).astype(np.int64)
        grey = ((numbers.clip(0, 65535) * 255 + 32767) // 65535).astype(np.uint8)
        if isinstance(transparency, int):
            grey[numbers == transparency] = 255
        return Image.fromarray(grey).convert(mode)
    if image.mode in ("I", "F"):
        raise SourceError(
            f"its pixels are {'whole' if image.mode == 'I' else 'floating-point'} numbers of 32 bits, of which none is "
            "known to be white: save it with 8 or 16 bits"
        )
    if image.mode in ("La", "RGBa"):  # which hold colours multiplied by their opacity
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if mode == "L":
            image = image.convert("RGB")
    return image.convert(mode)


# Formats whose whole numbers Pillow may hold in 32 bits, as some of its versions do, though they have 16.
_OF_16_BITS = ("PNG", "PPM")


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
