"""Omniglot is read alike from zip files and folders, what is wrong with it is said in a line, a download is whole."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import refusal
from PIL import Image

from flp_base.errors import SourceError
from flp_datasets import vision
from flp_datasets.omniglot import META_VAL_ALPHABETS, SETS, download_omniglot, find_omniglot, read_omniglot
from flp_datasets.pack import open_pack
from flp_datasets.pack_writing import write_pack
from flp_datasets.packed.dataset import DATASETS
from flp_datasets.packed_classes import PackedClasses
from flp_datasets.sources import SPLITS, SourceClass

CHARACTERS = {
    "images_background": ["Greek/character02", "Greek/character01", "Japanese_(hiragana)/character01"],
    "images_evaluation": ["Angelic/character10", "Angelic/character09"],
}
SPLIT_OF = {"Greek": "meta-train", "Japanese_(hiragana)": "meta-val", "Angelic": "meta-test"}
DRAWINGS = 3
ADVICE = "https://github.com/brendenlake/omniglot (python/)"


def strokes(place: str) -> np.ndarray:
    """Black on white, as the original: bool ``(15, 15)``, of its own for every place."""
    return np.random.default_rng(list(place.encode())).random((15, 15)) < 0.8


def png(drawing: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(drawing).save(file, "PNG")
    return file.getvalue()


def drawings_of(name: str) -> dict[str, bytes]:
    """One set's files, by their place within it."""
    places = [f"{c}/{i:04}_{d:02}.png" for i, c in enumerate(CHARACTERS[name]) for d in range(1, DRAWINGS + 1)]
    return {place: png(strokes(place)) for place in places}


# What else lies about, and is not a drawing.
STRAY = {
    "Greek/character01/._0001_01.png": b"of a Mac",
    "Greek/.DS_Store": b"of a Mac",
    "Greek/preview.png": b"not a drawing",
    "Greek/character01/notes/old.png": b"not a drawing",
    "Greek/character01/Thumbs.db": b"not a drawing",
    "readme.txt": b"not a drawing",
}


def write_folder(at: Path, name: str, files: dict[str, bytes]) -> None:
    for place, content in files.items():
        path = at / name / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(at: Path, name: str, files: dict[str, bytes]) -> None:
    at.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(at / f"{name}.zip", "w") as archive:
        for place in reversed(files):
            archive.writestr(f"{name}/{place}", files[place])


FORMS = {"zip": write_zip, "folder": write_folder}
Write = Callable[[Path, str, dict[str, bytes]], None]


@pytest.fixture(params=list(FORMS))
def write(request: pytest.FixtureRequest) -> Write:
    return FORMS[request.param]


def write_both(at: Path, write: Write) -> None:
    for name in SETS:
        write(at, name, drawings_of(name))


def assert_read(folder: Path) -> None:
    """Both sets as they were written, in the order of their names."""
    assert find_omniglot(folder)
    classes = read_omniglot(folder)
    expected = [(c, SPLIT_OF[c.partition("/")[0]]) for name in SETS for c in sorted(CHARACTERS[name])]
    assert [(c.name, c.split) for c in classes] == expected
    for c in classes:
        files = [place for name in SETS for place in drawings_of(name) if place.startswith(c.name + "/")]
        assert len(c.images) == DRAWINGS
        for place, (called, decode) in zip(files, c.images, strict=True):
            assert place in called
            image = decode()
            assert image.mode == "1"
            np.testing.assert_array_equal(np.asarray(image), strokes(place))


def refused(folder: Path) -> str:
    return refusal(read_omniglot, folder)


@pytest.mark.parametrize("place", [".", "omniglot-py"])
def test_both_sets_are_read_alike_from_zips_and_folders_there_or_in_omniglot_py(tmp_path, write, place):
    write_both(tmp_path / place, write)
    assert_read(tmp_path)


def test_one_set_may_be_a_zip_and_the_other_a_folder(tmp_path):
    write_zip(tmp_path, SETS[0], drawings_of(SETS[0]))
    write_folder(tmp_path / "omniglot-py", SETS[1], drawings_of(SETS[1]))
    assert_read(tmp_path)


def test_what_is_not_a_drawing_is_ignored(tmp_path, write):
    mac = {f"__MACOSX/{SETS[0]}/Greek/character01/0001_01.png": b"not a drawing"}
    write(tmp_path, SETS[0], drawings_of(SETS[0]) | STRAY | mac)
    write(tmp_path, SETS[1], drawings_of(SETS[1]) | STRAY)
    assert_read(tmp_path)


def test_a_zip_without_the_sets_own_folder_or_within_another_is_read(tmp_path):
    for name, place in zip(SETS, ("", "omniglot/python/images_evaluation/"), strict=True):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for path, content in (drawings_of(name) | {"__MACOSX/Greek/character01/1.png": b""}).items():
                archive.writestr(path if path.startswith("__") else place + path, content)
    assert_read(tmp_path)


def test_a_folder_within_a_folder_of_the_same_name_is_read(tmp_path):
    """As some programs extract."""
    for name in SETS:
        write_folder(tmp_path / name, name, drawings_of(name))
    assert_read(tmp_path)


def test_black_strokes_of_one_bit_are_packed_as_0_on_255(tmp_path, write):
    write_both(tmp_path, write)
    path = tmp_path / "omniglot-15.h5"
    write_pack(path, "omniglot", "made for a test", read_omniglot(tmp_path), image_size=15, channels=1)
    classes = PackedClasses(path, "meta-train")
    taken = classes.take(np.array([1]), np.array([2]))[0, 0]
    assert classes.name(1) == "Greek/character02"
    np.testing.assert_array_equal(taken, np.where(strokes("Greek/character02/0000_03.png"), 255, 0))


@pytest.mark.parametrize("missing", SETS)
def test_a_missing_set_is_named_with_where_to_get_it(tmp_path, write, missing):
    other = SETS[1 - SETS.index(missing)]
    write(tmp_path, other, drawings_of(other))
    assert not find_omniglot(tmp_path)
    assert refused(tmp_path) == (
        f"expected {missing}.zip or a folder {missing} in {tmp_path}: get both sets of Omniglot from {ADVICE}, and "
        "name their folder with --source"
    )


def test_a_folder_that_is_not_there_or_is_a_file_holds_nothing(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "none"):
        assert not find_omniglot(place)
        assert refused(place).startswith(f"expected images_background.zip or a folder images_background in {place}: ")


@pytest.mark.parametrize("files", [{}, STRAY], ids=["empty", "other files"])
def test_a_set_without_drawings_is_refused(tmp_path, write, files):
    write_both(tmp_path, write)
    (tmp_path / SETS[1]).mkdir(exist_ok=True)
    for path in sorted((tmp_path / SETS[1]).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    write(tmp_path, SETS[1], files)
    message = refused(tmp_path)
    assert message.startswith(f"expected ALPHABET/characterNN/NNNN_NN.png in {tmp_path / SETS[1]}")
    assert message.endswith("found none: get Omniglot anew")


@pytest.mark.parametrize("kept", [0, 40, 0.5, 0.98])
def test_a_zip_that_is_cut_short_is_refused(tmp_path, kept):
    write_both(tmp_path, write_zip)
    path = tmp_path / f"{SETS[0]}.zip"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content) if kept < 1 else kept)])
    message = refused(tmp_path)
    assert message.startswith(f"{path} cannot be opened as a zip file (")
    assert message.endswith("): get it anew")


def test_a_file_that_is_not_a_zip_is_refused(tmp_path):
    for name in SETS:
        (tmp_path / f"{name}.zip").write_bytes(b"<html>not found</html>" * 10)
    assert (
        refused(tmp_path)
        == f"{tmp_path / SETS[0]}.zip cannot be opened as a zip file (File is not a zip file): get it anew"
    )


def test_a_zip_that_lacks_its_beginning_is_refused_when_it_is_packed(tmp_path):
    write_both(tmp_path, write_zip)
    path = tmp_path / f"{SETS[0]}.zip"
    path.write_bytes(path.read_bytes()[300:])
    with pytest.raises(SourceError, match=r"cannot decode images_background/.*nothing was packed"):
        write_pack(tmp_path / "a.h5", "omniglot", "here", read_omniglot(tmp_path), image_size=8, channels=1)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", png(strokes("x"))[:60]], ids=["empty", "start", "cut"])
def test_a_drawing_that_does_not_decode_is_named_and_nothing_is_packed(tmp_path, write, content):
    write_both(tmp_path, write)
    write(tmp_path, SETS[1], drawings_of(SETS[1]) | {"Angelic/character09/0001_02.png": content})
    classes = read_omniglot(tmp_path)
    (tmp_path / "packs").mkdir()
    with pytest.raises(SourceError) as caught:
        write_pack(tmp_path / "packs" / "a.h5", "omniglot", "here", classes, image_size=8, channels=1)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"cannot decode images_evaluation/Angelic/character09/0001_02.png in {tmp_path}")
    assert message.endswith("get this file anew, nothing was packed")
    assert not os.listdir(tmp_path / "packs")


def test_a_damaged_drawing_in_a_zip_is_named(tmp_path):
    write_both(tmp_path, write_zip)
    path = tmp_path / f"{SETS[0]}.zip"
    drawing = drawings_of(SETS[0])["Greek/character02/0000_01.png"]
    path.write_bytes(path.read_bytes().replace(drawing, drawing[:-20] + bytes(20)))
    with pytest.raises(SourceError, match=r"cannot decode images_background/Greek/character02/0000_01\.png in .*CRC"):
        write_pack(tmp_path / "a.h5", "omniglot", "here", read_omniglot(tmp_path), image_size=8, channels=1)


# Downloading, with torchvision's part made up.


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for torchvision's Omniglot: counts what is asked for, and fails where it is told to."""
    state = SimpleNamespace(asked=[], failing=set())

    def omniglot(root: str, *, background: bool, download: bool) -> None:
        assert download
        name = SETS[0] if background else SETS[1]
        state.asked.append(name)
        at = Path(root, "omniglot-py")
        at.mkdir(parents=True, exist_ok=True)
        files = drawings_of(name)
        if name in state.failing:
            (at / f"{name}.zip").write_bytes(b"begun")
            raise OSError("the network is\nunreachable")
        write_zip(at, name, files)
        write_folder(at, name, files)

    datasets = SimpleNamespace(Omniglot=omniglot)
    monkeypatch.setattr(vision, "import_torchvision", lambda: SimpleNamespace(datasets=datasets))
    return state


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_was_downloaded_can_be_read_and_is_not_downloaded_again(tmp_path, torchvision):
    download_omniglot(tmp_path)
    assert_read(tmp_path)
    assert os.listdir(tmp_path) == ["omniglot-py"]
    assert sorted(os.listdir(tmp_path / "omniglot-py")) == sorted([*SETS, *(f"{name}.zip" for name in SETS)])
    before = everything(tmp_path)
    download_omniglot(tmp_path)
    assert torchvision.asked == list(SETS)
    assert everything(tmp_path) == before


def test_only_the_set_that_is_not_there_is_downloaded(tmp_path, torchvision):
    write_zip(tmp_path, SETS[0], drawings_of(SETS[0]))
    download_omniglot(tmp_path)
    assert torchvision.asked == [SETS[1]]
    assert_read(tmp_path)


@pytest.mark.parametrize("failing", SETS)
def test_a_download_that_fails_says_one_line_and_leaves_nothing(tmp_path, torchvision, failing):
    torchvision.failing.add(failing)
    with pytest.raises(SourceError) as caught:
        download_omniglot(tmp_path)
    assert str(caught.value) == (
        "torchvision could not download Omniglot (OSError: the network is unreachable): get images_background.zip and "
        f"images_evaluation.zip from {ADVICE} another way, and name their folder with --source"
    )
    assert not everything(tmp_path)


def test_a_download_that_fails_leaves_what_was_there(tmp_path, torchvision):
    write_folder(tmp_path / "omniglot-py", SETS[0], drawings_of(SETS[0]))
    before = everything(tmp_path)
    torchvision.failing.add(SETS[1])
    with pytest.raises(SourceError, match="could not download"):
        download_omniglot(tmp_path)
    assert everything(tmp_path) == before


def test_a_download_of_another_process_that_was_faster_stays(tmp_path, torchvision, monkeypatch):
    real = vision.import_torchvision()

    def import_while_another_downloads() -> SimpleNamespace:
        def omniglot(root: str, *, background: bool, download: bool) -> None:
            real.datasets.Omniglot(root, background=background, download=download)
            write_folder(tmp_path / "omniglot-py", SETS[0], drawings_of(SETS[0]))

        return SimpleNamespace(datasets=SimpleNamespace(Omniglot=omniglot))

    monkeypatch.setattr(vision, "import_torchvision", import_while_another_downloads)
    download_omniglot(tmp_path)
    assert_read(tmp_path)
    assert os.listdir(tmp_path) == ["omniglot-py"]


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path, torchvision):
    with pytest.raises(FileNotFoundError):
        download_omniglot(tmp_path / "none")
    assert not torchvision.asked


@pytest.mark.slow  # imports torch and torchvision in a process of its own
def test_the_real_torchvision_leaves_nothing_when_there_is_no_network(tmp_path):
    code = """
import sys, urllib.error, urllib.request
from pathlib import Path
from flp_base.errors import SourceError
from flp_datasets.omniglot import download_omniglot

def refuse(*arguments, **options):
    raise urllib.error.URLError("no network")

urllib.request.urlopen = refuse
try:
    download_omniglot(Path(sys.argv[1]))
except SourceError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=250)
    assert ended.returncode == 0, ended.stderr
    message = ended.stdout.splitlines()[-1]
    assert message.startswith(
        "torchvision could not download Omniglot (URLError: <urlopen error no network>): get images"
    )
    assert not everything(tmp_path)


# The real one, where it is there.


@pytest.fixture(scope="module")
def real_classes(real_omniglot: Path) -> list[SourceClass]:
    return read_omniglot(real_omniglot)


def test_the_real_omniglot_has_964_and_659_characters_of_20_drawings(real_omniglot, real_classes):
    assert find_omniglot(real_omniglot)
    splits = [c.split for c in real_classes]
    assert Counter(splits[:964]) == {"meta-train": 744, "meta-val": 220}
    assert splits[964:] == ["meta-test"] * 659
    assert {len(c.images) for c in real_classes} == {20}
    assert len({c.name for c in real_classes}) == 1623


def test_the_real_omniglots_splits_share_no_alphabet(real_classes):
    alphabets = [{c.name.split("/")[0] for c in real_classes if c.split == split} for split in SPLITS]
    assert [len(of_split) for of_split in alphabets] == [24, 6, 20]
    assert len(set().union(*alphabets)) == 50


def test_the_real_omniglots_meta_val_split_is_fixed_for_ever(real_classes):
    """By the rule that it was drawn up with: of the background set's alphabets, every fifth from the fourth on."""
    background = sorted({c.name.split("/")[0] for c in real_classes[:964]})
    assert set(background[3::5]) == META_VAL_ALPHABETS
    names = "\n".join(c.name for c in real_classes if c.split == "meta-val")
    digest = "81ad8e817550b6adbebdd96b5dd540cf60393367926aebcda4a1ab76a99d5885"
    assert hashlib.sha256(names.encode()).hexdigest() == digest


def decoded(folder: Path, name: str, place: str) -> Image.Image:
    with zipfile.ZipFile(folder / f"{name}.zip") as archive:
        image = Image.open(io.BytesIO(archive.read(f"{name}/{place}")))
        image.load()
    return image


def test_a_real_drawing_is_decoded_at_105_pixels(real_omniglot, real_classes):
    greek = next(c for c in real_classes if c.name == "Greek/character01")
    called, decode = greek.images[4]
    image = decode()
    assert (image.size, image.mode) == ((105, 105), "1")
    place = called.split(" in ")[0].removeprefix("images_background/")
    assert place.startswith("Greek/character01/")
    assert place.endswith("_05.png")
    np.testing.assert_array_equal(np.asarray(image), np.asarray(decoded(real_omniglot, "images_background", place)))
    assert 0.85 < np.asarray(image).mean() < 1  # thin black strokes on white


@pytest.mark.slow  # decodes all 32,460 drawings: about 4 s
def test_the_real_omniglot_is_packed_at_28_pixels(real_omniglot, real_classes, tmp_path):
    path = tmp_path / "omniglot-28.h5"
    done = []
    options = {"image_size": 28, "channels": 1, "on_class": lambda: done.append(1)}
    write_pack(path, "omniglot", "real", real_classes, whole=DATASETS["omniglot"].whole, **options)
    about, images = open_pack(path, image_size=28)
    assert len(done) == 1623
    assert images.shape == (32460, 1, 28, 28)
    assert about.counts == (20,) * 1623
    # Meta-train and meta-val together are the background set as it was published, in its order.
    both, test = PackedClasses(path, "meta-trainval"), PackedClasses(path, "meta-test")
    assert (both.num_classes, test.num_classes) == (964, 659)
    for classes, of_split in ((both, real_classes[:964]), (test, real_classes[964:])):
        for number in (0, 123, classes.num_classes - 1):
            assert classes.name(number) == of_split[number].name
            original = of_split[number].images[7][1]()
            expected = np.asarray(original.convert("L").resize((28, 28), Image.Resampling.BILINEAR))
            np.testing.assert_array_equal(classes.take(np.array([number]), np.array([7]))[0, 0], expected)
