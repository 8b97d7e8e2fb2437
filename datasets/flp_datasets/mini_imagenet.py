"""Mini-ImageNet: 100 classes of ImageNet, 600 images of usually 84 x 84 pixels each, from the files people have of it.

Sources: Vinyals et al. (2016), "Matching networks for one shot learning"; the classes of each split, 64 for
meta-training, 16 for meta-validation and 20 for meta-testing, of Ravi & Larochelle (2017), "Optimization as a model for
few-shot learning". The images are ImageNet's, whose licence lets nobody pass them on: each user gets them themself.

Forms that are read, in this order where a folder holds several (``SPLIT``: train, val, test):

1. ``SPLIT.csv`` of Ravi & Larochelle (https://github.com/twitter/meta-learning-lstm, data/miniImagenet), with columns
   ``filename`` and ``label``, and the images they name: in ``images/``, beside the CSVs, in folders named for the label
   or the split, or in ``images.zip`` or ``mini-imagenet.zip``, which may hold the CSVs too.
2. ``SPLIT_data.hdf5`` of Torchmeta (https://github.com/tristandeleu/pytorch-meta): datasets ``datasets/CLASS``, uint8
   ``(images, H, W, 3)``; with ``SPLIT_labels.json``, a list of class names, only these.
3. ``mini-imagenet-cache-SPLIT.pkl`` of Ren et al. (https://github.com/renmengye/few-shot-ssl-public): a dict of
   ``image_data``, uint8 ``(images, H, W, 3)`` or a list of encoded images, and ``class_dict``, class name to indices.
4. ``miniImageNet_category_split_SPLIT.pickle`` of Gidaris & Komodakis (2018), whose training split is called
   ``train_phase_train``: a dict of ``data``, as above, ``labels``, one whole number an image, and perhaps
   ``catname2label``. Without it classes are called ``train-000``, and nothing shows whether splits share one.

Pickles are read by :mod:`flp_datasets.plain_pickle`, which runs no code. One that it refuses becomes form 2, in an
environment where it can be trusted, by ``h5py.File("train_data.hdf5", "w")["datasets/CLASS"] = images_of_class``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import h5py
import numpy as np

from flp_datasets.errors import SourceError
from flp_datasets.plain_pickle import load_plain_pickle, one_line
from flp_datasets.sources import SPLITS, SourceClass

if TYPE_CHECKING:
    from PIL.Image import Image

Images: TypeAlias = "list[tuple[str, Callable[[], Image]]]"

_FOLDERS = ("mini-imagenet", "miniimagenet", "mini_imagenet", "miniImagenet", "miniImageNet")
_ZIPS = ("images.zip", *(f"{name}.zip" for name in _FOLDERS))
_ZIPPED = (".csv", ".jpg", ".jpeg", ".png")
_CSVS = "https://github.com/twitter/meta-learning-lstm (data/miniImagenet)"
_ADVICE = (
    f"get the CSVs from {_CSVS}, and the images they name from ImageNet (https://image-net.org), whose licence asks "
    "each user to do so themself, and name their folder with --source"
)
_CONVERT = (
    "where it can be trusted, load it and write HDF5 that is read here: "
    "h5py.File('train_data.hdf5', 'a')['datasets/CLASS'] = images_of_class, uint8 (images, H, W, 3)"
)


class _NoImages(SourceError):
    """A split's CSV is there, and none of its images: another form may hold them."""


def read_mini_imagenet(source: Path) -> list[SourceClass]:
    """The classes in whichever form they are there; images are decoded, to RGB, when asked for.

    Args:
        source: a folder that holds one of the forms above, itself or in a folder ``mini-imagenet`` or ``miniimagenet``;
            or a file of such a form, that lies beside the others of its form; or a zip file of form 1.

    Returns:
        Classes sorted by split and name, their images in the order of the files. Those of pickles are held in memory.

    Raises:
        SourceError: if there is no form, if files of it are missing or damaged, or if a class is in two splits.
    """
    files, forms = _look(source)
    problem: SourceError | None = None
    for form in forms:
        if all(files.find([name]) for name in form.files):
            try:
                names = zip(SPLITS, ("train", "val", "test"), form.files, strict=True)
                return _checked({split: form.read(files, name, short) for split, short, name in names}, files.folder)
            except _NoImages as error:
                problem = error
    raise problem or _nothing_whole(source, files, forms)


def _look(source: Path) -> tuple[_Files, Sequence[_Form]]:
    """The files to read from, and the forms that may be among them."""
    if source.is_file() and source.suffix == ".zip":
        return _Files(source.parent, source), _FORMS[:1]
    if source.is_file():
        return _Files(source.parent), [form for form in _FORMS if source.name in form.files]
    if not source.is_dir():
        raise SourceError(f"there is no file or folder {source}: name the folder of Mini-ImageNet with --source")
    places = [_Files(place) for place in (source, *(source / name for name in _FOLDERS)) if place.is_dir()]
    held = (files for files in places if any(files.find([name]) for form in _FORMS for name in form.files))
    return next(held, places[0]), _FORMS


def _nothing_whole(source: Path, files: _Files, forms: Sequence[_Form]) -> SourceError:
    for form in forms:
        absent = [name for name in form.files if not files.find([name])]
        if len(absent) < len(form.files):
            return SourceError(
                f"{absent[0]} is not in {files.folder}: expected {', '.join(form.files)} beside each other; {_ADVICE}"
            )
    expected = ", or ".join(", ".join(form.files) for form in _FORMS)
    return SourceError(f"no Mini-ImageNet in {source}: expected images/ and {expected}; {_ADVICE}")


def _checked(splits: dict[str, dict[str, Images]], folder: Path) -> list[SourceClass]:
    """Every class and image in one place only, and none empty: a class in two splits would be tested on as trained."""
    split_of: dict[str, str] = {}
    class_of: dict[str, str] = {}
    for split, classes in splits.items():
        if not classes:
            raise SourceError(f"expected classes for {split} in {folder}, found none: {_ADVICE}")
        for name, images in classes.items():
            if name in split_of:
                raise SourceError(
                    f"class {one_line(name)} of {folder} is in {split_of[name]} and in {split}: expected disjoint "
                    "splits, get all files from one place"
                )
            split_of[name] = split
            if not images:
                raise SourceError(f"class {one_line(name)} of {split} in {folder} has no image: get its file anew")
            for image, _ in images:
                if image in class_of:
                    raise SourceError(
                        f"{image} is listed for {one_line(class_of[image])} and again for {one_line(name)}: expected "
                        "every image once, get its file anew"
                    )
                class_of[image] = name
    return [SourceClass(name, split, images) for split in SPLITS for name, images in sorted(splits[split].items())]


class _Files:
    """The files in a folder, and in a zip file there, which is read without being unpacked."""

    def __init__(self, folder: Path, archive: Path | None = None) -> None:
        self.folder = folder
        self._archive = archive or next((folder / name for name in _ZIPS if (folder / name).is_file()), None)
        self._listings: dict[str, set[str]] = {}  # of folders: 60,000 images are not asked for one by one
        self._members: dict[str, zipfile.ZipInfo | None] | None = None

    def find(self, places: Iterable[str]) -> tuple[str, Callable[[], bytes]] | None:
        """The first of some places, relative to the folder, that is there: what it is called and what reads it."""
        places = list(places)
        for place in places:
            parent, name = os.path.split(place)
            if parent not in self._listings:
                self._listings[parent] = _list(self.folder / parent)
            if name in self._listings[parent]:
                return str(self.folder / place), (self.folder / place).read_bytes
        if self._archive is not None:
            if self._members is None:
                self._members = _index_zip(self._archive)
            for place in places:
                member = self._members.get(place)
                if member is not None:
                    return f"{member.filename} in {self._archive}", partial(_unzip, self._archive, member)
        return None


def _list(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError) as error:
        raise SourceError(f"{one_line(folder)} cannot be listed ({one_line(error)}): change its permissions") from None


def _index_zip(archive: Path) -> dict[str, zipfile.ZipInfo | None]:
    """What an archive holds, by path and by every end of a path; none where two share an end."""
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if info.filename.lower().endswith(_ZIPPED)]
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{archive} cannot be opened as a zip file ({one_line(error)}): get it anew") from None
    members: dict[str, zipfile.ZipInfo | None] = {}
    for info in infos:
        parts = info.filename.split("/")
        if parts[0] != "__MACOSX":
            for end in ("/".join(parts[start:]) for start in range(1, len(parts))):
                members[end] = None if end in members else info
    return members | {info.filename: info for info in infos}


def _unzip(archive: Path, member: zipfile.ZipInfo) -> bytes:
    """A member's content, by a handle of its own: an open ZipFile shares its position with forked processes."""
    with archive.open("rb") as file:
        file.seek(member.header_offset + 26)  # in the local header: the lengths of the two fields after it
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        content = file.read(member.compress_size)
    if member.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompress(content, -zlib.MAX_WBITS)
    if zlib.crc32(content) != member.CRC:
        raise zipfile.BadZipFile("damaged, encrypted, or compressed otherwise than by deflate")
    return content


def _decode(read: Callable[[], bytes]) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(read())).convert("RGB")


def _from_array(array: Any) -> Image:
    from PIL import Image

    return Image.fromarray(array)


def _read_csv(files: _Files, name: str, split: str) -> dict[str, Images]:
    classes: dict[str, Images] = defaultdict(list)
    absent = []
    for filename, label in _rows(files, name):
        folders = ("", f"{label}/", f"{split}/", f"{split}/{label}/")
        found = files.find(base + folder + filename for base in ("images/", "") for folder in folders)
        if found is None:
            absent.append(filename)
        else:
            classes[label].append((found[0], partial(_decode, found[1])))
    if absent:
        message = (
            f"{len(absent)} of the images that {name} names are missing, first {one_line(absent[0])}: looked for them "
            f"in {files.folder}, in images/ there, in folders named for class or split, and in images.zip; {_ADVICE}"
        )
        raise SourceError(message) if classes else _NoImages(message)
    return classes


def _rows(files: _Files, name: str) -> Iterator[tuple[str, str]]:
    """File name and label of every line of a CSV."""
    found = files.find([name])
    assert found is not None
    where, read = found
    anew = f"get it anew from {_CSVS}"
    try:
        reader = csv.DictReader(io.StringIO(read().decode("utf-8-sig"), newline=""), skipinitialspace=True)
        columns = list(reader.fieldnames or ())
        if not {"filename", "label"} <= set(columns):
            raise SourceError(f"{where} has columns {one_line(columns)}: expected filename and label; {anew}")
        for row in reader:
            if not row["filename"] or not row["label"]:
                raise SourceError(f"line {reader.line_num} of {where} lacks its file name or its label: {anew}")
            yield row["filename"], row["label"]
    except (OSError, UnicodeError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        raise SourceError(f"{where} cannot be read as a CSV ({one_line(error)}): {anew}") from None


def _read_hdf5(files: _Files, name: str, split: str) -> dict[str, Images]:
    path = files.folder / name
    blocks = _Hdf5(path)
    classes: dict[str, Images] = {}
    try:
        with h5py.File(path, "r") as file:
            group = file.get("datasets")
            if not isinstance(group, h5py.Group):
                raise SourceError(f"{path} has no group 'datasets': expected datasets/CLASS, uint8 (images, H, W, 3)")
            for label in _labels(files.folder / f"{split}_labels.json", sorted(group)):
                where = f"{path}: datasets/{one_line(label)}"
                if not isinstance(group.get(label), h5py.Dataset):
                    raise SourceError(f"{where} is missing, though {split}_labels.json names it: get both files anew")
                _check_images(group[label], where)
                images = range(len(group[label]))
                classes[label] = [(f"{where}[{i}]", partial(blocks.image, label, i)) for i in images]
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{path} cannot be read as HDF5 ({one_line(error)}): get it anew") from None
    return classes


def _labels(path: Path, held: list[str]) -> list[str]:
    """The classes that a JSON file lists; without one, all that are held."""
    if not path.exists():
        return held
    try:
        labels = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read as JSON ({one_line(error)}): get it anew, or remove it") from None
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise SourceError(f"{path} holds no list of class names, as ['n01532829', ...]: get it anew, or remove it")
    return labels


class _Hdf5:
    """Images of an HDF5 file, read a class at a time; no handle outlives a call, to be shared by a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: tuple[str, Any] = ("", ())  # the last class: a packer takes images class by class

    def image(self, label: str, number: int) -> Image:
        held = self._held  # looked up once: another thread may replace it
        if held[0] != label:
            with h5py.File(self._path, "r") as file:
                held = self._held = (label, file["datasets"][label][...])
        return _from_array(held[1][number])


def _check_images(array: Any, where: str) -> None:
    """Of a numpy array or an HDF5 dataset."""
    if array.dtype != np.uint8 or len(array.shape) != 4 or array.shape[3] != 3 or 0 in array.shape[1:]:
        raise SourceError(f"{where} is {array.dtype} {array.shape}: expected uint8 (images, H, W, 3); {_CONVERT}")


def _read_pickle(files: _Files, name: str, split: str) -> dict[str, Images]:
    path = files.folder / name
    content = load_plain_pickle(path, _CONVERT)
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
            f"{_CONVERT}"
        )
    return {label: [(f"{path}[{i}]", images[i]) for i in numbers[label]] for label in numbers}


def _decoders(data: Any, where: str) -> list[Callable[[], Image]]:
    if isinstance(data, np.ndarray) and data.dtype != object:
        _check_images(data, where)
        return [partial(_from_array, array) for array in np.asarray(data)]
    if not isinstance(data, list | np.ndarray):
        raise SourceError(
            f"{where} is of type {type(data).__name__}: expected uint8 (images, H, W, 3) or a list; {_CONVERT}"
        )
    encoded = [_as_bytes(item) for item in data]
    if None in encoded:
        raise SourceError(
            f"{where}[{encoded.index(None)}] is no encoded image: expected bytes of a JPEG or PNG file; {_CONVERT}"
        )
    return [partial(_decode, partial(bytes, item)) for item in encoded if item is not None]


def _as_bytes(item: object) -> bytes | None:
    """The bytes of an encoded image, also as Python 2 or OpenCV holds them; none if it is something else."""
    if isinstance(item, np.ndarray):
        return item.tobytes() if item.dtype == np.uint8 and item.size == max(item.shape, default=0) else None
    if isinstance(item, str):
        return item.encode("latin1", errors="replace")  # what was no bytes in Python 2 does not decode
    return item if isinstance(item, bytes) else None


def _by_class(class_dict: object, count: int, path: Path) -> dict[str, list[int]]:
    if not isinstance(class_dict, dict) or not all(isinstance(label, str) for label in class_dict):
        raise SourceError(f"class_dict of {path} is no dict of class names to lists of indices: {_CONVERT}")
    numbers = {}
    for label, indices in class_dict.items():
        where = f"class_dict[{one_line(label)!r}] of {path}"
        numbers[str(label)] = _whole_numbers(indices, where)
        wrong = [i for i in numbers[label] if not 0 <= i < count]
        if wrong:
            raise SourceError(f"{where} names image {wrong[0]}, of {count}: get the file anew, or {_CONVERT}")
    return numbers


def _by_label(labels: object, names: object, count: int, path: Path, split: str) -> dict[str, list[int]]:
    of_images = _whole_numbers(labels, f"labels of {path}")
    if len(of_images) != count:
        raise SourceError(f"{path} holds {count} images and {len(of_images)} labels: get it anew, or {_CONVERT}")
    name_of = {label: f"{split}-{label:03d}" for label in of_images}
    if isinstance(names, dict) and names:
        known = _whole_numbers(list(names.values()), f"values of catname2label of {path}")
        name_of = dict(zip(known, map(str, names), strict=True))
        unnamed = sorted(set(of_images) - set(name_of))
        if unnamed or len(name_of) != len(known):
            problem = f"does not name label {unnamed[0]}" if unnamed else "has two names for one label"
            raise SourceError(f"catname2label of {path} {problem}: get the file anew, or {_CONVERT}")
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
        raise SourceError(f"{where} are no list of whole numbers: {_CONVERT}")
    return [int(value) for value in array]


class _Form(NamedTuple):
    """A way to hold the dataset: its files for training, validation and testing, and what reads the classes of one."""

    files: tuple[str, str, str]
    read: Callable[[_Files, str, str], dict[str, Images]]


_PHASES = "miniImageNet_category_split_{}.pickle"
_FORMS = (
    _Form(("train.csv", "val.csv", "test.csv"), _read_csv),
    _Form(("train_data.hdf5", "val_data.hdf5", "test_data.hdf5"), _read_hdf5),
    _Form(
        ("mini-imagenet-cache-train.pkl", "mini-imagenet-cache-val.pkl", "mini-imagenet-cache-test.pkl"), _read_pickle
    ),
    _Form((_PHASES.format("train_phase_train"), _PHASES.format("val"), _PHASES.format("test")), _read_pickle),
)
