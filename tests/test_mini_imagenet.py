"""Mini-ImageNet is read alike from every form that people have of it, and what is wrong with one is said in a line."""

import concurrent.futures
import csv
import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import refusal
from PIL import Image
from test_plain_pickle import as_python_2

from flp_datasets.mini_imagenet import read_mini_imagenet

SPLITS = {"train": "meta-train", "val": "meta-val", "test": "meta-test"}
COUNT, SIZE = 4, 10


def make_classes() -> dict[str, dict[str, np.ndarray]]:
    """Three classes a split, not in the order of their names, ``(COUNT, SIZE, SIZE, 3)`` each."""
    rng = np.random.default_rng(0)
    names = {split: [f"n0{number}" for number in (30 + i, 10 + i, 20 + i)] for i, split in enumerate(SPLITS)}
    return {
        split: {name: rng.integers(256, size=(COUNT, SIZE, SIZE, 3), dtype=np.uint8) for name in names[split]}
        for split in SPLITS
    }


CLASSES = make_classes()


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def image_files(place: str) -> dict[str, bytes]:
    """PNGs, lest they lose anything, under the usual names; ``place`` says where with {split} and {label}."""
    return {
        place.format(split=split, label=label) + f"{label}0000{i}.jpg": png(image)
        for split, classes in CLASSES.items()
        for label, images in classes.items()
        for i, image in enumerate(images)
    }


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def csv_files(place: str = "") -> dict[str, bytes]:
    written = {}
    for split, classes in CLASSES.items():
        text = io.StringIO()
        rows = [(place.format(label=label) + f"{label}0000{i}.jpg", label) for label in classes for i in range(COUNT)]
        csv.writer(text).writerows([("filename", "label"), *rows])
        written[f"{split}.csv"] = text.getvalue().encode()
    return written


def write_csvs(folder: Path, place: str = "images/") -> None:
    write_files(folder, csv_files() | image_files(place))


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_hdf5(folder: Path, labels: bool = True) -> None:
    folder.mkdir(exist_ok=True)
    for split, classes in CLASSES.items():
        with h5py.File(folder / f"{split}_data.hdf5", "w") as file:
            for label, images in classes.items():
                file[f"datasets/{label}"] = images
        if labels:
            (folder / f"{split}_labels.json").write_text(json.dumps(list(classes)), encoding="utf-8")


def cache(split: str) -> dict[str, object]:
    """Of Ren et al."""
    numbers = {label: list(range(COUNT * i, COUNT * (i + 1))) for i, label in enumerate(CLASSES[split])}
    return {"image_data": np.concatenate(list(CLASSES[split].values())), "class_dict": numbers}


def phases(split: str) -> dict[str, object]:
    """Of Gidaris & Komodakis: images of all classes mixed, labels that go on from split to split."""
    start = 3 * list(SPLITS).index(split)
    return {
        "data": np.stack(list(CLASSES[split].values()), 1).reshape(-1, SIZE, SIZE, 3),
        "labels": [start, start + 1, start + 2] * COUNT,
        "catname2label": {label: start + i for i, label in enumerate(CLASSES[split])},
        "label2catname": {},
    }


CACHE_NAME = "mini-imagenet-cache-{}.pkl"
PHASES_NAME = "miniImageNet_category_split_{}.pickle"


def write_pickles(folder: Path, content=cache, dump=None) -> None:
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        name = CACHE_NAME.format(split)
        if content is phases:
            name = PHASES_NAME.format("train_phase_train" if split == "train" else split)
        if dump is None:
            (folder / name).write_bytes(pickle.dumps(content(split)))
        else:
            dump(folder / name, content(split))


def encoded(split: str) -> dict[str, object]:
    held = cache(split)
    return {**held, "image_data": [png(image) for image in held["image_data"]]}


def encoded_by_opencv(split: str) -> dict[str, object]:
    return {**cache(split), "image_data": [np.frombuffer(png(image), np.uint8) for image in cache(split)["image_data"]]}


def assert_read(source: Path) -> None:
    """Every class, image and order as it was written."""
    classes = read_mini_imagenet(source)
    expected = [(label, long) for split, long in SPLITS.items() for label in sorted(CLASSES[split])]
    assert [(c.name, c.split) for c in classes] == expected
    short = {long: split for split, long in SPLITS.items()}
    for c in classes:
        images = [decode() for _, decode in c.images]
        assert {image.mode for image in images} == {"RGB"}
        np.testing.assert_array_equal([np.asarray(image) for image in images], CLASSES[short[c.split]][c.name])
    names = [name for c in classes for name, _ in c.images]
    assert len(set(names)) == 9 * COUNT
    assert all(str(source if source.is_dir() else source.parent) in name for name in names)


def refused(source: Path) -> str:
    return refusal(read_mini_imagenet, source)


@pytest.mark.parametrize(
    "place", ["images/", "", "images/{label}/", "{label}/", "{split}/", "{split}/{label}/", "images/{split}/{label}/"]
)
def test_csvs_with_images_wherever_people_put_them(tmp_path, place):
    write_csvs(tmp_path, place)
    assert_read(tmp_path)


def test_csvs_that_name_folders_or_have_a_mark_spaces_and_more_columns(tmp_path):
    write_files(tmp_path, csv_files("{label}/") | image_files("images/{label}/"))
    for split in SPLITS:
        lines = (tmp_path / f"{split}.csv").read_text(encoding="utf-8").replace(",", ", ").splitlines()
        text = "\r\n".join(f"{line}, {i or 'index'}" for i, line in enumerate(lines))
        (tmp_path / f"{split}.csv").write_text(text, "utf-8-sig")
    assert_read(tmp_path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("place", ["", "images/", "mini-imagenet/images/", "{split}/{label}/"])
def test_images_in_a_zip_beside_the_csvs(tmp_path, place, compression):
    write_files(tmp_path, csv_files())
    write_zip(tmp_path / "images.zip", {"__MACOSX/._x.jpg": b"", **image_files(place)}, compression)
    assert_read(tmp_path)


def test_a_zip_with_everything(tmp_path):
    files = {f"mini/{name}": content for name, content in csv_files().items()} | image_files("mini/images/")
    write_zip(tmp_path / "anything.zip", files)
    assert_read(tmp_path / "anything.zip")
    (tmp_path / "anything.zip").rename(tmp_path / "mini-imagenet.zip")
    assert_read(tmp_path)


def test_names_that_repeat_in_a_zip_are_told_apart_by_their_folders(tmp_path):
    zipped = {}
    for split, classes in CLASSES.items():
        rows = [f"{i}.jpg,{label}" for label in classes for i in range(COUNT)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["filename,label", *rows]), encoding="utf-8")
        for label, images in classes.items():
            zipped |= {f"deep/images/{label}/{i}.jpg": png(image) for i, image in enumerate(images)}
    write_zip(tmp_path / "images.zip", zipped)
    assert_read(tmp_path)
    write_zip(tmp_path / "images.zip", {name.replace("/n0", "/x"): content for name, content in zipped.items()})
    assert refused(tmp_path).startswith("12 of the images that train.csv names are missing, first 0.jpg")


@pytest.mark.parametrize("labels", [True, False])
def test_hdf5(tmp_path, labels):
    write_hdf5(tmp_path, labels)
    assert_read(tmp_path)


def test_hdf5_holds_what_its_labels_name(tmp_path):
    write_hdf5(tmp_path)
    with h5py.File(tmp_path / "val_data.hdf5", "a") as file:
        file["datasets/other"] = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    assert_read(tmp_path)


@pytest.mark.parametrize("content", [cache, phases, encoded, encoded_by_opencv])
@pytest.mark.parametrize("dump", [None, as_python_2])
def test_pickles(tmp_path, content, dump):
    write_pickles(tmp_path, content, dump)
    assert_read(tmp_path)


def test_labels_without_names(tmp_path):
    write_pickles(tmp_path, phases, lambda path, held: path.write_bytes(pickle.dumps({**held, "catname2label": None})))
    classes = read_mini_imagenet(tmp_path)
    assert [c.name for c in classes][2:5] == ["train-002", "val-003", "val-004"]
    np.testing.assert_array_equal(np.asarray(classes[0].images[1][1]()), CLASSES["train"]["n030"][1])


@pytest.mark.parametrize("write", [write_csvs, write_hdf5, write_pickles, lambda f: write_pickles(f, phases)])
@pytest.mark.parametrize("name", ["mini-imagenet", "miniimagenet"])
def test_a_folder_within_or_a_file_of_a_form_will_do(tmp_path, write, name):
    write(tmp_path / name)
    (tmp_path / "other.txt").touch()
    assert_read(tmp_path)
    for path in (tmp_path / name).iterdir():
        if path.suffix in (".csv", ".hdf5", ".pkl", ".pickle"):
            assert_read(path)


def test_forms_are_preferred_in_order(tmp_path):
    write_pickles(tmp_path)
    write_hdf5(tmp_path)
    write_csvs(tmp_path)
    for ending in (".jpg", ".hdf5", ".pkl"):
        assert all(ending in name for c in read_mini_imagenet(tmp_path) for name, _ in c.images)
        assert_read(tmp_path)
        # CSVs stay when their images go: they name nothing that is there.
        shutil.rmtree(tmp_path / "images", ignore_errors=True)
        if ending == ".hdf5":
            (tmp_path / "val_data.hdf5").unlink()


def test_images_are_read_when_asked_for_and_no_handle_is_kept(tmp_path):
    write_hdf5(tmp_path / "a")
    classes = read_mini_imagenet(tmp_path / "a")
    classes[0].images[0][1]()
    with h5py.File(tmp_path / "a" / "train_data.hdf5", "a") as file:  # which an open handle would forbid
        file["datasets/n020"][0] = 7
    assert np.asarray(classes[1].images[0][1]()).max() == 7
    write_csvs(tmp_path / "b")
    classes = read_mini_imagenet(tmp_path / "b")
    Path(classes[0].images[0][0]).write_bytes(b"damaged")
    with pytest.raises(OSError, match="identify"):
        classes[0].images[0][1]()


@pytest.mark.parametrize("form", ["zip", "hdf5"])
def test_threads_and_other_processes_read_the_same(tmp_path, form):
    if form == "zip":
        write_zip(tmp_path / "mini-imagenet.zip", csv_files() | image_files("images/"))
    else:
        write_hdf5(tmp_path)
    classes = read_mini_imagenet(tmp_path)
    images = [decode for c in classes for _, decode in c.images]
    expected = [np.asarray(decode()) for decode in images]
    order = np.random.default_rng(0).permutation(len(images)).tolist() * 4
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, image in zip(order, pool.map(lambda i: np.asarray(images[i]()), order), strict=True):
            np.testing.assert_array_equal(image, expected[number])
    # What a process started anew gets: no handle, no lock.
    for number, decode in enumerate(pickle.loads(pickle.dumps(images))):
        np.testing.assert_array_equal(np.asarray(decode()), expected[number])


def test_grey_images_become_colour(tmp_path):
    write_csvs(tmp_path)
    Image.new("L", (SIZE, SIZE), 9).save(tmp_path / "images" / "n01000000.jpg", "JPEG")
    image = read_mini_imagenet(tmp_path)[0].images[0][1]()
    assert (image.mode, image.getpixel((0, 0))) == ("RGB", (9, 9, 9))


def test_nothing_there(tmp_path):
    message = refused(tmp_path)
    assert message.startswith(f"no Mini-ImageNet in {tmp_path}: expected ")
    for part in (
        "train.csv",
        "images/",
        "train_data.hdf5",
        "cache-train.pkl",
        "phase_train.pickle",
        "meta-learning-lstm",
    ):
        assert part in message
    assert "licence" in message
    assert refused(tmp_path / "absent").startswith(f"there is no file or folder {tmp_path / 'absent'}")
    (tmp_path / "weights.npz").touch()
    assert refused(tmp_path / "weights.npz").startswith("no Mini-ImageNet in")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_csvs, "val.csv"),
        (write_hdf5, "test_data.hdf5"),
        (write_pickles, CACHE_NAME.format("train")),
        (lambda folder: write_pickles(folder, phases), PHASES_NAME.format("train_phase_train")),
    ],
)
def test_a_split_without_its_file(tmp_path, write, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    assert refused(tmp_path).startswith(f"{name} is not in {tmp_path}: expected ")


def test_missing_images_are_counted_and_the_first_is_named(tmp_path):
    write_csvs(tmp_path)
    for name in ("n01100002", "n02100000"):
        (tmp_path / "images" / f"{name}.jpg").unlink()
    write_hdf5(tmp_path)  # takes the place of images that are all missing, not of some
    message = refused(tmp_path)
    assert message.startswith("2 of the images that val.csv names are missing, first n01100002.jpg: looked for them in")
    shutil.rmtree(tmp_path / "images")
    assert_read(tmp_path)
    (tmp_path / "val_data.hdf5").unlink()
    (tmp_path / "images").touch()
    assert refused(tmp_path).startswith("12 of the images that train.csv names are missing, first n03000000.jpg")


def test_a_class_in_two_splits(tmp_path):
    write_csvs(tmp_path)
    lines = (tmp_path / "test.csv").read_text(encoding="utf-8").replace(",n012", ",n030")
    (tmp_path / "test.csv").write_text(lines, encoding="utf-8")
    assert f"class n030 of {tmp_path} is in meta-train and in meta-test: expected disjoint splits" in refused(tmp_path)
    write_pickles(tmp_path / "b", lambda split: cache("train"))
    assert "is in meta-train and in meta-val" in refused(tmp_path / "b")


def test_an_image_listed_twice(tmp_path):
    write_csvs(tmp_path)
    with (tmp_path / "val.csv").open("a", encoding="utf-8") as file:
        file.write("n01100001.jpg,n021\n")
    assert "n01100001.jpg is listed for n011 and again for n021" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"filename,label\n", "expected classes for meta-val"),
        (b"", "has columns []: expected filename and label"),
        (b"name,class\na.jpg,b\n", "has columns ['name', 'class']: expected filename and label"),
        (b"filename,label\nn01100001.jpg\n", "line 2 of {} lacks its file name or its label"),
        (b"filename,label\n,n011\n", "line 2 of {} lacks its file name or its label"),
        (b"filename,label\n\xff\xfe,n011\n", "{} cannot be read as a CSV"),
        (b"filename,label\n" + b"a" * 200_000 + b",n011\n", "{} cannot be read as a CSV"),
    ],
)
def test_damaged_csvs(tmp_path, content, part):
    write_csvs(tmp_path)
    (tmp_path / "val.csv").write_bytes(content)
    assert part.format(tmp_path / "val.csv") in refused(tmp_path)


def test_damaged_zips(tmp_path):
    write_files(tmp_path, csv_files())
    path = tmp_path / "images.zip"
    write_zip(path, image_files(""), zipfile.ZIP_STORED)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"IDAT", b"IDAX", 1))  # of the first image, n030's
    classes = read_mini_imagenet(tmp_path)
    with pytest.raises(zipfile.BadZipFile, match="damaged"):
        classes[2].images[0][1]()
    classes[2].images[1][1]()
    path.write_bytes(content[:-100])
    assert f"{path} cannot be opened as a zip file" in refused(tmp_path)
    write_zip(path, image_files(""), zipfile.ZIP_LZMA)
    with pytest.raises(zipfile.BadZipFile, match="compressed otherwise"):
        read_mini_imagenet(tmp_path)[0].images[0][1]()


@pytest.mark.parametrize(
    ("images", "part"),
    [
        (np.zeros((2, 3, 4, 4), np.uint8), "is uint8 (2, 3, 4, 4): expected uint8 (images, H, W, 3)"),
        (np.zeros((2, 4, 4), np.uint8), "is uint8 (2, 4, 4): expected"),
        (np.zeros((2, 4, 4, 3), np.float32), "is float32 (2, 4, 4, 3): expected"),
        (np.zeros((2, 0, 4, 3), np.uint8), "is uint8 (2, 0, 4, 3): expected"),
    ],
)
def test_images_of_another_shape_or_type(tmp_path, images, part):
    write_hdf5(tmp_path / "a")
    with h5py.File(tmp_path / "a" / "val_data.hdf5", "a") as file:
        del file["datasets/n011"]
        file["datasets/n011"] = images
    assert f"val_data.hdf5: datasets/n011 {part}" in refused(tmp_path / "a")
    write_pickles(tmp_path / "b", lambda split: {**cache(split), "image_data": images})
    assert f"image_data of {tmp_path / 'b' / CACHE_NAME.format('train')} {part}" in refused(tmp_path / "b")


@pytest.mark.parametrize(
    ("made", "part"),
    [
        ({"shape": (5 * 10**9, 2, 2, 3)}, "claims 60000000000 bytes, of which 0 are stored in a file of"),
        ({"shape": (2, 4, 4, 3), "external": [("/etc/passwd", 0, 96)]}, "is virtual or external, expected all of it"),
        ({"shape": (2, 4, 4, 3), "chunks": True, "scaleoffset": 2}, "is compressed or filtered, expected it as it is"),
        (h5py.SoftLink("/datasets/n021"), "is no dataset, expected one in this file"),
        (h5py.ExternalLink("train_data.hdf5", "datasets/n020"), "is no dataset, expected one in this file"),
    ],
    ids=["claims more than it stores", "external", "filtered", "a soft link", "a link to another file"],
)
def test_classes_that_are_not_in_the_hdf5_file_itself(tmp_path, made, part):
    write_hdf5(tmp_path)
    with h5py.File(tmp_path / "val_data.hdf5", "a") as file:
        del file["datasets/n011"]
        if isinstance(made, dict):
            file["datasets"].create_dataset("n011", dtype=np.uint8, **made)
        else:
            file["datasets/n011"] = made
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path / 'val_data.hdf5'}: datasets/n011 cannot be trusted ('n011' {part}")


def test_compressed_hdf5(tmp_path):
    write_hdf5(tmp_path)
    with h5py.File(tmp_path / "val_data.hdf5", "a") as file:
        for label in list(file["datasets"]):
            images = file["datasets"][label][...]
            del file["datasets"][label]
            file["datasets"].create_dataset(label, data=images, compression="gzip", shuffle=True, fletcher32=True)
    assert_read(tmp_path)


def test_an_empty_class(tmp_path):
    write_hdf5(tmp_path / "a")
    with h5py.File(tmp_path / "a" / "test_data.hdf5", "a") as file:
        file["datasets/n000"] = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    os.remove(tmp_path / "a" / "test_labels.json")
    assert f"class n000 of meta-test in {tmp_path / 'a'} has no image" in refused(tmp_path / "a")
    write_pickles(tmp_path / "b", lambda split: {**cache(split), "class_dict": {"n\n0": []}})
    assert "class n\\n0 of meta-train" in refused(tmp_path / "b")


def test_damaged_hdf5(tmp_path):
    write_hdf5(tmp_path)
    labels, data = tmp_path / "train_labels.json", tmp_path / "train_data.hdf5"
    for text, part in (
        ('["n030", "n099"]', f"{data}: datasets/n099 is missing, though train_labels.json names it"),
        ("{", f"{labels} cannot be read as JSON"),
        ("[1]", f"{labels} holds no list of class names"),
        ('{"n030": 1}', f"{labels} holds no list of class names"),
        ("[]", "expected classes for meta-train"),
    ):
        labels.write_text(text, encoding="utf-8")
        assert part in refused(tmp_path)
    labels.unlink()
    content = data.read_bytes()
    data.write_bytes(content[:1000])
    assert f"{data} cannot be read as HDF5" in refused(tmp_path)
    with h5py.File(data, "w") as file:
        file["images"] = 1
    assert f"{data} has no group 'datasets'" in refused(tmp_path)


@pytest.mark.parametrize(
    ("held", "part"),
    [
        ([1, 2], "holds type list: expected a dict of image_data and class_dict"),
        ({}, "holds type dict: expected"),
        ({"images": 1, "labels": 2}, "holds keys ['images', 'labels']: expected"),
        ({**cache("train"), "image_data": 3}, "is of type int: expected uint8 (images, H, W, 3) or a list"),
        ({**cache("train"), "image_data": [b"", 3]}, "[1] is no encoded image"),
        ({**cache("train"), "image_data": [np.zeros((2, 2), np.uint8)]}, "[0] is no encoded image"),
        ({**cache("train"), "class_dict": [1]}, "is no dict of class names to lists of indices"),
        ({**cache("train"), "class_dict": {1: [1]}}, "is no dict of class names to lists of indices"),
        ({**cache("train"), "class_dict": {"a": [12]}}, "names image 12, of 12"),
        ({**cache("train"), "class_dict": {"a": [-1]}}, "names image -1, of 12"),
        ({**cache("train"), "class_dict": {"a": {"lbl": [1]}}}, "are no list of whole numbers"),
        ({**cache("train"), "class_dict": {"a": [0, 0]}}, "is listed for a and again for a"),
        ({**phases("train"), "labels": [0, 1]}, "holds 12 images and 2 labels"),
        ({**phases("train"), "labels": [0.5] * 12}, "are no list of whole numbers"),
        ({**phases("train"), "labels": [[1], [1, 2]]}, "are no list of whole numbers"),
        ({**phases("train"), "labels": None}, "are no list of whole numbers"),
        ({**phases("train"), "catname2label": {"a": 0, "b": 1}}, "does not name label 2"),
        ({**phases("train"), "catname2label": {"a": 0, "b": 1, "c": 2, "d": 2}}, "has two names for one label"),
        ({**phases("train"), "catname2label": {"a": [0]}}, "are no list of whole numbers"),
        ({**cache("train"), "more": Path("a")}, "it may run code: it names pathlib."),
    ],
)
def test_pickles_of_something_else(tmp_path, held, part):
    write_pickles(tmp_path)
    path = tmp_path / CACHE_NAME.format("train")
    path.write_bytes(pickle.dumps(held))
    message = refused(tmp_path)
    assert part in message
    assert str(path) in message


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", forbid)  # root may list anything
    assert refused(tmp_path).startswith(f"{tmp_path} cannot be listed (")


def test_a_pickle_cut_short(tmp_path):
    write_pickles(tmp_path)
    path = tmp_path / CACHE_NAME.format("test")
    path.write_bytes(path.read_bytes()[:-500])
    assert f"{path} is no whole pickle of plain data" in refused(tmp_path)
    assert "['datasets/CLASS'] = images_of_class" in refused(tmp_path)
