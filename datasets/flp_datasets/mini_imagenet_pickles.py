"""Mini-ImageNet in the two widespread forms of pickles; :mod:`flp_datasets.mini_imagenet` says which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from flp_base.errors import SourceError
from flp_datasets.decoding import CONVERT, Images, check_images, decode_file, from_array
from flp_datasets.plain_pickle import load_plain_pickle, one_line
from flp_datasets.source_files import SourceFiles

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


def read_pickle(files: SourceFiles, name: str, split: str) -> dict[str, Images]:
    """The images of one split by class, held in memory.

    Raises:
        SourceError: if the pickle is damaged, refused, or holds something else.
    """
    path = files.folder / name
    content = load_plain_pickle(path, CONVERT)
    keys = set(content) if isinstance(content, dict) else set()
    if isinstance(content, dict) and keys >= {"image_data", "class_dict"}:
        images = _decoders(content["image_data"], f"image_data of {path}")
        numbers = _by_class(content["class_dict"], len(images), path)
    elif isinstance(content, dict) and keys >= {"data", "labels"}:
        images = _decoders(content["data"], f"data of {path}")
        numbers = _by_label(content["labels"], content.get("catname2label"), len(images), path, split)
    else:
        held = f"keys {sorted(map(str, keys))}" if keys else f"type {type(content).__name__}"
        raise SourceError(
            f"{path} holds {one_line(held)}: expected a dict of image_data and class_dict, or of data and labels; "
            f"{CONVERT}"
        )
    return {label: [(f"{path}[{i}]", images[i]) for i in numbers[label]] for label in numbers}


def _decoders(data: Any, where: str) -> list[Callable[[], Image]]:
    if isinstance(data, np.ndarray) and data.dtype != object:
        check_images(data, where)
        return [partial(from_array, array) for array in np.asarray(data)]
    if not isinstance(data, list | np.ndarray):
        raise SourceError(
            f"{where} is of type {type(data).__name__}: expected uint8 (images, H, W, 3) or a list; {CONVERT}"
        )
    encoded = [_as_bytes(item) for item in data]
    if None in encoded:
        raise SourceError(
            f"{where}[{encoded.index(None)}] is no encoded image: expected bytes of a JPEG or PNG file; {CONVERT}"
        )
    return [partial(decode_file, partial(bytes, item)) for item in encoded if item is not None]


def _as_bytes(item: object) -> bytes | None:
    """The bytes of an encoded image, also as Python 2 or OpenCV holds them; none if it is something else."""
    if isinstance(item, np.ndarray):
        return item.tobytes() if item.dtype == np.uint8 and item.size == max(item.shape, default=0) else None
    if isinstance(item, str):
        return item.encode("latin1", errors="replace")  # what was no bytes in Python 2 does not decode
    return item if isinstance(item, bytes) else None


def _by_class(class_dict: object, count: int, path: Path) -> dict[str, list[int]]:
    if not isinstance(class_dict, dict) or not all(isinstance(label, str) for label in class_dict):
        raise SourceError(f"class_dict of {path} is no dict of class names to lists of indices: {CONVERT}")
    numbers = {}
    for label, indices in class_dict.items():
        where = f"class_dict[{one_line(label)!r}] of {path}"
        numbers[str(label)] = _whole_numbers(indices, where)
        wrong = [i for i in numbers[label] if not 0 <= i < count]
        if wrong:
            raise SourceError(f"{where} names image {wrong[0]}, of {count}: get the file anew, or {CONVERT}")
    return numbers


def _by_label(labels: object, names: object, count: int, path: Path, split: str) -> dict[str, list[int]]:
    of_images = _whole_numbers(labels, f"labels of {path}")
    if len(of_images) != count:
        raise SourceError(f"{path} holds {count} images and {len(of_images)} labels: get it anew, or {CONVERT}")
    name_of = {label: f"{split}-{label:03d}" for label in of_images}
    if isinstance(names, dict) and names:
        known = _whole_numbers(list(names.values()), f"values of catname2label of {path}")
        name_of = dict(zip(known, map(str, names), strict=True))
        unnamed = sorted(set(of_images) - set(name_of))
        if unnamed or len(name_of) != len(known):
            problem = f"does not name label {unnamed[0]}" if unnamed else "has two names for one label"
            raise SourceError(f"catname2label of {path} {problem}: get the file anew, or {CONVERT}")
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(of_images):
        numbers[name_of[label]].append(number)
    return numbers


def _whole_numbers(values: object, where: str) -> list[int]:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.zeros(0, object)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and values != []):
        raise SourceError(f"{where} are no list of whole numbers: {CONVERT}")
    return [int(value) for value in array]
