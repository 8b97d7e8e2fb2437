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
environment where it can be trusted, by ``h5py.File("train_data.hdf5", "a")["datasets/CLASS"] = images_of_class``.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py

from flp_base.errors import SourceError
from flp_base.files import parse_json, read_bytes
from flp_datasets.decoding import Images, check_images, decode_file, from_array
from flp_datasets.hdf5_parts import UnsafePart, find_group, find_stored
from flp_datasets.mini_imagenet_pickles import read_pickle
from flp_datasets.plain_pickle import one_line
from flp_datasets.source_files import SourceFiles
from flp_datasets.sources import SPLITS, SourceClass

if TYPE_CHECKING:
    from PIL.Image import Image

_FOLDERS = ("mini-imagenet", "miniimagenet", "mini_imagenet", "miniImagenet", "miniImageNet")
_ZIPS = ("images.zip", *(f"{name}.zip" for name in _FOLDERS))
_CSVS = "https://github.com/twitter/meta-learning-lstm (data/miniImagenet)"
# How to get it; the end of a sentence.
ADVICE = (
    f"get the CSVs from {_CSVS}, and the images they name from ImageNet (https://image-net.org), whose licence asks "
    "each user to do so themself, and name their folder with --source"
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


def find_mini_imagenet(folder: Path) -> bool:
    """Whether a folder seems to hold one of the forms above, whole."""
    if not folder.is_dir():
        return False
    files, forms = _look(folder)
    return any(all(files.find([name]) for name in form.files) for form in forms)


def _look(source: Path) -> tuple[SourceFiles, Sequence[_Form]]:
    """The files to read from, and the forms that may be among them."""
    if source.is_file() and source.suffix == ".zip":
        return SourceFiles(source.parent, source), _FORMS[:1]
    if source.is_file():
        return _files_in(source.parent), [form for form in _FORMS if source.name in form.files]
    if not source.is_dir():
        raise SourceError(f"there is no file or folder {source}: name the folder of Mini-ImageNet with --source")
    places = [_files_in(place) for place in (source, *(source / name for name in _FOLDERS)) if place.is_dir()]
    held = (files for files in places if any(files.find([name]) for form in _FORMS for name in form.files))
    return next(held, places[0]), _FORMS


def _files_in(folder: Path) -> SourceFiles:
    return SourceFiles(folder, next((folder / name for name in _ZIPS if (folder / name).is_file()), None))


def _nothing_whole(source: Path, files: SourceFiles, forms: Sequence[_Form]) -> SourceError:
    for form in forms:
        absent = [name for name in form.files if not files.find([name])]
        if len(absent) < len(form.files):
            return SourceError(
                f"{absent[0]} is not in {files.folder}: expected {', '.join(form.files)} beside each other; {ADVICE}"
            )
    expected = ", or ".join(", ".join(form.files) for form in _FORMS)
    return SourceError(f"no Mini-ImageNet in {source}: expected images/ and {expected}; {ADVICE}")


def _checked(splits: dict[str, dict[str, Images]], folder: Path) -> list[SourceClass]:
    """Every class and image in one place only, and none empty: a class in two splits would be tested on as trained."""
    split_of: dict[str, str] = {}
    class_of: dict[str, str] = {}
    for split, classes in splits.items():
        if not classes:
            raise SourceError(f"expected classes for {split} in {folder}, found none: {ADVICE}")
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
    return [
        SourceClass(name, split, images, str(folder))
        for split in SPLITS
        for name, images in sorted(splits[split].items())
    ]


def _read_csv(files: SourceFiles, name: str, split: str) -> dict[str, Images]:
    classes: dict[str, Images] = defaultdict(list)
    absent = []
    for filename, label in _rows(files, name):
        folders = ("", f"{label}/", f"{split}/", f"{split}/{label}/")
        found = files.find(base + folder + filename for base in ("images/", "") for folder in folders)
        if found is None:
            absent.append(filename)
        else:
            classes[label].append((found[0], partial(decode_file, found[1])))
    if absent:
        message = (
            f"{len(absent)} of the images that {name} names are missing, first {one_line(absent[0])}: looked for them "
            f"in {files.folder}, in images/ there, in folders named for class or split, and in images.zip; {ADVICE}"
        )
        raise SourceError(message) if classes else _NoImages(message)
    return classes


def _rows(files: SourceFiles, name: str) -> Iterator[tuple[str, str]]:
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


def _read_hdf5(files: SourceFiles, name: str, split: str) -> dict[str, Images]:
    path = files.folder / name
    blocks = _Hdf5(path)
    classes: dict[str, Images] = {}
    try:
        with h5py.File(path, "r") as file:
            try:
                group = find_group(file, "datasets")
            except UnsafePart:
                raise SourceError(
                    f"{path} has no group 'datasets': expected datasets/CLASS, uint8 (images, H, W, 3)"
                ) from None
            held = sorted(group)
            for label in _labels(files.folder / f"{split}_labels.json", held):
                where = f"{path}: datasets/{one_line(label)}"
                if label not in held:
                    raise SourceError(f"{where} is missing, though {split}_labels.json names it: get both files anew")
                try:
                    dataset = find_stored(group, label, limit=path.stat().st_size, compressed=True)
                except UnsafePart as error:
                    raise SourceError(f"{where} cannot be trusted ({one_line(error)}): get this file anew") from None
                check_images(dataset, where)
                images = range(len(dataset))
                classes[label] = [(f"{where}[{i}]", partial(blocks.image, label, i)) for i in images]
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{path} cannot be read as HDF5 ({one_line(error)}): get it anew") from None
    return classes


def _labels(path: Path, held: list[str]) -> list[str]:
    """The classes that a JSON file lists; without one, all that are held."""
    if not path.exists():
        return held
    try:
        labels = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
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
        return from_array(held[1][number])


class _Form(NamedTuple):
    """A way to hold the dataset: its files for training, validation and testing, and what reads the classes of one."""

    files: tuple[str, str, str]
    read: Callable[[SourceFiles, str, str], dict[str, Images]]


_PHASES = "miniImageNet_category_split_{}.pickle"
_FORMS = (
    _Form(("train.csv", "val.csv", "test.csv"), _read_csv),
    _Form(("train_data.hdf5", "val_data.hdf5", "test_data.hdf5"), _read_hdf5),
    _Form(
        ("mini-imagenet-cache-train.pkl", "mini-imagenet-cache-val.pkl", "mini-imagenet-cache-test.pkl"), read_pickle
    ),
    _Form((_PHASES.format("train_phase_train"), _PHASES.format("val"), _PHASES.format("test")), read_pickle),
)
