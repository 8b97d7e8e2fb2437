"""A pack gives back what was packed, or one line that says what is wrong with it; it is there whole or not at all."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import flp_datasets.pack as pack_module
from flp_base.errors import InvalidChoice, SourceError
from flp_datasets.pack import FORMAT_VERSION, Description, PackError, open_pack, packing_lock
from flp_datasets.pack_writing import write_pack
from flp_datasets.sources import SPLITS, SourceClass

# Of one colour are many images here; test_image_checks.py is about that.
pytestmark = pytest.mark.filterwarnings("ignore::flp_datasets.image_checks.DoubtfulImages")
SIZE = 8


def class_of(name: str, split: str, images: list[Image.Image]) -> SourceClass:
    return SourceClass(name, split, [(f"{name}/{i}.png", image.copy) for i, image in enumerate(images)])


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


PIXELS = noise(5, 1, SIZE, SIZE)
PICTURES = [Image.fromarray(image[0]) for image in PIXELS]
CLASSES = [class_of("alpha/one", "meta-train", PICTURES[:2]), class_of("beta/two", "meta-test", PICTURES[2:])]
ABOUT = Description(
    "omniglot", "made for a test", (1, SIZE, SIZE), ("alpha/one", "beta/two"), ("meta-train", "meta-test"), (2, 3)
)


def write(path: Path, classes: list[SourceClass] = CLASSES, **options: object) -> Description:
    return write_pack(path, "omniglot", "made for a test", classes, image_size=SIZE, channels=1, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A pack of ``CLASSES``."""
    path = tmp_path / "omniglot-8.h5"
    write(path)
    return path


def grey_pack(path: Path, grey: int) -> None:
    write(path, [class_of("only", "meta-train", [Image.new("L", (SIZE, SIZE), grey)])])


def refused(path: Path, **options: int) -> str:
    """The one line that opening a pack ends with, without the path that it names."""
    with pytest.raises(PackError) as caught:
        open_pack(path, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message.replace(str(path), "PATH")


# What goes in comes out.


@st.composite
def collections(draw):
    """Made-up classes with the pixels that they should be packed to, of any size and colour."""
    size, channels = draw(st.integers(1, 11)), draw(st.sampled_from((1, 3)))
    text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
    names = draw(st.lists(text, min_size=1, max_size=4, unique=True))
    splits = [draw(st.sampled_from(SPLITS)) for _ in names]
    counts = [draw(st.integers(1, 3)) for _ in names]
    pixels = noise(sum(counts), channels, size, size, seed=draw(st.integers(0, 1000)))
    pixels[:, 0, 0, 0] = np.arange(len(pixels))  # no image twice
    return size, channels, draw(text), names, splits, counts, pixels


@settings(deadline=None, max_examples=25)
@given(collections())
def test_pixels_names_splits_counts_and_source_come_back_exactly(collection):
    size, channels, source, names, splits, counts, pixels = collection
    pictures = [
        Image.fromarray(image.transpose(1, 2, 0).squeeze(2) if channels == 1 else image.transpose(1, 2, 0))
        for image in pixels
    ]
    first = np.cumsum(counts) - counts
    classes = [class_of(n, s, pictures[f : f + c]) for n, s, c, f in zip(names, splits, counts, first, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pack.h5")
        written = write_pack(path, "a set", source, classes, image_size=size, channels=channels)
        about, images = open_pack(path, image_size=size)
        held = images.copy()
        assert os.listdir(folder) == ["pack.h5"]
    assert about == written
    assert about == Description("a set", source, (channels, size, size), tuple(names), tuple(splits), tuple(counts))
    assert held.dtype == np.uint8
    np.testing.assert_array_equal(held, pixels)


def packed(image: Image.Image, path: Path, size: int, channels: int) -> np.ndarray:
    classes = [class_of("only", "meta-train", [image])]
    write_pack(path, "a set", "made for a test", classes, image_size=size, channels=channels)
    return open_pack(path)[1][0]


def test_images_of_another_size_are_resized_bilinearly(tmp_path):
    image = Image.fromarray(noise(21, 13))
    expected = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(packed(image, tmp_path / "a.h5", SIZE, 1)[0], expected)


def test_rows_stay_rows_and_channels_stay_channels(tmp_path):
    colours = np.zeros((40, 30, 3), np.uint8)
    colours[:20, :, 0] = 255  # red above, green at the right
    colours[:, 15:, 1] = 255
    red, green, blue = packed(Image.fromarray(colours), tmp_path / "a.h5", SIZE, 3)
    assert red[:3].min() == 255
    assert red[5:].max() == 0
    assert green[:, 5:].min() == 255
    assert green[:, :3].max() == 0
    assert blue.max() == 0


@pytest.mark.parametrize(
    ("mode", "colour", "channels", "expected"),
    [
        ("1", 1, 1, [255]),
        ("1", 0, 3, [0, 0, 0]),
        ("L", 77, 3, [77, 77, 77]),
        ("RGB", (200, 100, 50), 1, [124]),  # 0.299 R + 0.587 G + 0.114 B
        ("RGBA", (200, 100, 50, 255), 3, [200, 100, 50]),
        ("CMYK", (0, 255, 255, 0), 3, [255, 0, 0]),
    ],
)
def test_colours_become_what_the_pack_holds(tmp_path, mode, colour, channels, expected):
    image = packed(Image.new(mode, (20, 20), colour), tmp_path / "a.h5", SIZE, channels)
    assert image.reshape(channels, -1).T.tolist() == [expected] * SIZE * SIZE


def test_images_are_decoded_once_and_progress_is_told_after_every_class(tmp_path):
    decoded, events = [], []
    images = [(str(i), lambda i=i: decoded.append(i) or PICTURES[i]) for i in range(4)]
    classes = [SourceClass("one", "meta-train", images[:3]), SourceClass("two", "meta-train", images[3:])]
    write(tmp_path / "a.h5", classes, on_class=lambda: events.append(len(decoded)))
    assert decoded == [0, 1, 2, 3]
    assert events == [3, 4]


@pytest.mark.parametrize(
    "classes",
    [[], [class_of("empty", "meta-train", [])], [class_of("same", "meta-train", PICTURES[:1])] * 2],
    ids=["no class", "a class without images", "two of one name"],
)
def test_classes_that_make_no_dataset_are_refused(tmp_path, classes):
    with pytest.raises(SourceError, match="different names and at least one image each in made for a test"):
        write(tmp_path / "a.h5", classes)
    assert not os.listdir(tmp_path)


def test_an_unknown_split_is_refused_and_the_valid_ones_are_named(tmp_path):
    with pytest.raises(InvalidChoice, match=r"unknown split 'train': .*meta-test, meta-train, meta-val"):
        write(tmp_path / "a.h5", [class_of("one", "train", PICTURES)])
    assert not os.listdir(tmp_path)


# What is not a whole pack is refused.


def test_a_pack_cut_short_anywhere_is_refused(path, tmp_path):
    content = path.read_bytes()
    short = tmp_path / "short.h5"
    for length in sorted({*range(0, len(content), 101), 1, 8, 9, len(content) - 1}):
        short.write_bytes(content[:length])
        assert (
            refused(short)
            == "PATH is truncated or altered, or is not a pack: make it anew with flp data prepare --overwrite"
        )


def test_a_byte_altered_anywhere_is_noticed(path, tmp_path):
    content = path.read_bytes()
    altered = tmp_path / "altered.h5"
    for place in range(0, len(content), 17):
        altered.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        assert "altered" in refused(altered)


def edited(name: str, *value: object):
    def edit(file: h5py.File) -> None:
        file[name][:] = list(value)

    return edit


def said(name: str, value: str):
    def edit(file: h5py.File) -> None:
        file.attrs[name] = np.bytes_(value)  # a text of fixed length

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        edited("images", *PIXELS[::-1]),
        edited("class_names", "alpha/two", "beta/two"),
        edited("class_names", "beta/two", "alpha/one"),
        edited("class_splits", "meta-test", "meta-train"),
        edited("class_splits", "meta-test", "meta-test"),
        edited("class_counts", 3, 2),
        said("dataset", "mini_imagenet"),
        said("source", "somewhere else"),
        said("checksum", "0" * 64),
        said("checksum", ""),
    ],
)
def test_a_pack_edited_with_other_tools_is_refused(path, edit):
    """HDF5's own checksums fit then, but not the pack's, which is over everything that it says."""
    open_pack(path)
    with h5py.File(path, "r+") as file:
        edit(file)
    message = refused(path)
    assert message.startswith("PATH was altered after it was packed, its SHA-256 does not match: make it anew with flp")


@pytest.mark.parametrize("part", ["format", "source", "class_names", "class_splits"])
def test_texts_of_variable_length_are_refused(path, part):
    """HDF5 keeps them in a heap without a checksum, and may never return from a damaged one."""
    with h5py.File(path, "r+") as file:
        if part in file:
            texts = file[part].asstr()[:]
            del file[part]
            file.create_dataset(part, data=texts, dtype=h5py.string_dtype())
        else:
            file.attrs[part] = file.attrs[part].decode()
    assert refused(path).endswith(f"flp data prepare --overwrite ('{part}' holds no texts of a fixed length)")


def test_names_of_files_that_are_not_utf_8_can_be_packed(tmp_path):
    classes = [class_of(name, "meta-train", PICTURES[:1]) for name in ("caf\udce9", "café")]
    write(tmp_path / "a.h5", classes)
    assert open_pack(tmp_path / "a.h5")[0].names == ("caf\\udce9", "café")


@pytest.mark.parametrize("part", ["images", "class_names", "class_splits", "class_counts"])
def test_a_pack_that_lacks_a_part_is_refused(path, part):
    with h5py.File(path, "r+") as file:
        del file[part]
    assert refused(path).startswith("PATH lacks a part of a pack: it was altered; make it anew with flp data prepare")


@pytest.mark.parametrize("attribute", ["format_version", "dataset", "source", "checksum"])
def test_a_pack_that_lacks_an_attribute_is_refused(path, attribute):
    with h5py.File(path, "r+") as file:
        del file.attrs[attribute]
    assert "make it anew with flp data prepare --overwrite" in refused(path)


@pytest.mark.parametrize(
    "images",
    [
        {"data": PIXELS, "chunks": (1, 1, SIZE, SIZE)},
        {"data": PIXELS.astype(np.int16)},
        {"data": PIXELS[:4]},
        {"data": PIXELS[:, 0]},
        {"shape": PIXELS.shape, "dtype": np.uint8},
    ],
    ids=["in chunks", "of another type", "too few", "without channels", "never written"],
)
def test_images_that_cannot_be_mapped_as_described_are_refused(path, images):
    with h5py.File(path, "r+") as file:
        del file["images"]
        file.create_dataset("images", **images)
    assert refused(path).startswith("PATH lacks a part of a pack: it was altered; make it anew with flp data prepare")


def test_another_format_version_is_named(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = FORMAT_VERSION + 1
    message = refused(path)
    expected = f"PATH has format version {FORMAT_VERSION + 1}, this version of flp-envs reads {FORMAT_VERSION}: make "
    assert message.startswith(expected + "it anew with flp data")
    assert message.endswith("or install the version of flp-envs that made it")


def test_another_hdf5_file_is_told_from_a_pack(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = PIXELS
    message = refused(tmp_path / "other.h5")
    assert message == "PATH is an HDF5 file, but not a pack of this package: name another data_root"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(3000), b"version https://git-lfs.github.com\n"])
def test_a_file_of_another_kind_is_told_from_a_pack(tmp_path, content):
    (tmp_path / "other.h5").write_bytes(content)
    expected = "PATH is truncated or altered, or is not a pack: make it anew with flp data prepare --overwrite"
    assert refused(tmp_path / "other.h5") == expected


def test_a_folder_in_a_packs_place_is_named_as_such(tmp_path):
    assert refused(tmp_path) == "PATH is a folder, expected a file: remove it, then make it with flp data prepare"


def test_a_missing_pack_says_how_to_make_one(path, tmp_path):
    assert refused(tmp_path / "none.h5") == "there is no pack at PATH: make it with flp data prepare"
    (tmp_path / "link.h5").symlink_to(tmp_path / "gone.h5")
    assert refused(tmp_path / "link.h5") == "there is no pack at PATH: make it with flp data prepare"
    assert refused(path / "within.h5").startswith("PATH cannot be opened (Not a directory)")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (errno.EACCES, "PATH cannot be read: change its permissions, or name another data_root"),
        (errno.EMFILE, "PATH cannot be opened (Too many open files): mend this, or name another data_root"),
    ],
)
def test_a_pack_that_cannot_be_opened_is_not_called_damaged(path, monkeypatch, reason, message):
    """Simulated, as tests may run as root."""

    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(pack_module, "open", refuse, raising=False)
    assert refused(path) == message


def test_another_image_size_than_the_name_says_is_refused(path):
    open_pack(path, image_size=SIZE)
    message = refused(path, image_size=28)
    assert message.startswith("PATH holds images of 8 pixels, expected 28: its name was changed; make it anew with flp")


# Opening: verified once for each version of the file, mapped, and free to be replaced.


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one each time that a pack is verified."""
    checks = []
    begin = Description.begin_checksum

    def count(about: Description):
        checks.append(about.dataset)
        return begin(about)

    monkeypatch.setattr(Description, "begin_checksum", count)
    return checks


def test_a_pack_is_verified_once(path, tmp_path, checks):
    for _ in range(3):
        open_pack(path)
    assert len(checks) == 1
    shutil.copy(path, tmp_path / "copy.h5")
    open_pack(tmp_path / "copy.h5")
    assert len(checks) == 2


def test_a_pack_altered_in_place_since_is_noticed_even_if_its_time_is_set_back(path):
    open_pack(path)
    status = path.stat()
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.seek(content.index(PIXELS.tobytes()) + 7)
        file.write(b"????")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert "was altered after it was packed" in refused(path)


def test_a_damaged_pack_that_takes_a_verified_ones_place_is_noticed(path, tmp_path):
    open_pack(path)
    content = path.read_bytes()
    (tmp_path / "new").write_bytes(content.replace(PIXELS[2].tobytes(), PIXELS[1].tobytes()))
    shutil.copystat(path, tmp_path / "new")
    os.replace(tmp_path / "new", path)
    assert "was altered after it was packed" in refused(path)


def test_a_pack_can_be_replaced_while_it_is_in_use(tmp_path):
    path = tmp_path / "a.h5"
    grey_pack(path, 50)
    old = open_pack(path)[1]
    grey_pack(path, 60)
    assert set(open_pack(path)[1].flat) == {60}
    path.unlink()
    assert set(old.flat) == {50}


def test_a_pack_replaced_while_it_is_being_opened_is_read_as_one_of_the_two(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    grey_pack(path, 50)
    describe = pack_module._describe

    def describe_then_replace(*arguments):
        description = describe(*arguments)
        grey_pack(path, 60)
        return description

    monkeypatch.setattr(pack_module, "_describe", describe_then_replace)
    assert set(open_pack(path)[1].flat) == {50}


def test_images_are_mapped_and_cannot_be_written_to(path):
    before = path.read_bytes()
    images = open_pack(path)[1]
    assert isinstance(images.base, np.memmap)
    assert type(images) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        images.flags.writeable = True
    assert path.read_bytes() == before


# Writing: whole or not at all.


def damaged(decode) -> list[SourceClass]:
    images = [("good.png", PICTURES[0].copy), ("alphabet/bad.png in some.zip", decode)]
    return [CLASSES[0], SourceClass("bad", "meta-train", images)]


def raise_two_lines() -> Image.Image:
    raise RuntimeError("broken\n  in two lines")


def test_an_image_that_does_not_decode_is_named_and_the_old_pack_stays(path, tmp_path):
    before = path.read_bytes()
    with pytest.raises(SourceError) as caught:
        write(path, damaged(raise_two_lines))
    assert str(caught.value) == (
        "cannot decode alphabet/bad.png in some.zip: RuntimeError: broken in two lines: get this file anew, "
        "nothing was packed"
    )
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_an_image_that_does_not_decode_leaves_nothing_where_there_was_no_pack(tmp_path):
    with pytest.raises(SourceError, match=r"cannot decode alphabet/bad\.png"):
        write(tmp_path / "a.h5", damaged(raise_two_lines))
    assert not os.listdir(tmp_path)


def test_an_interrupt_leaves_the_old_pack_and_nothing_else(path, tmp_path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(path, on_class=interrupt)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_cannot_be_put_in_place_leaves_the_old_pack_and_nothing_else(path, tmp_path, monkeypatch, step):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "not here")

    before = path.read_bytes()
    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(PermissionError, match="not here"):
        write(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "none" / "a.h5")
    with pytest.raises(FileNotFoundError), packing_lock(tmp_path / "none" / "a.h5"):
        pass


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=250)


def test_a_full_disk_is_one_os_error_and_the_process_lives_on(path, tmp_path):
    """Of any size, so that the images, or what comes after them, do not fit; HDF5 by itself would crash at the end."""
    pytest.importorskip("resource")
    code = """
import errno, os, resource, sys
from pathlib import Path
from PIL import Image
from flp_datasets.pack_writing import write_pack
from flp_datasets.sources import SourceClass
path, size = Path(sys.argv[1]), int(sys.argv[2])
images = [(str(i), lambda i=i: Image.linear_gradient("L").rotate(i)) for i in range(5)]
classes = [SourceClass("alpha/one", "meta-train", images[:2]), SourceClass("beta/two", "meta-test", images[2:])]
for limit, pixels in ((0, 8), (100, 8), (size // 2, 8), (size - 100, 8), (size - 1, 8), (0, 300)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    # Images that HDF5 does not hold back end it with the first class.
    on_class = (lambda: print("went on")) if pixels == 300 else (lambda: None)
    try:
        write_pack(path, "omniglot", "made for a test", classes, image_size=pixels, channels=1, on_class=on_class)
    except OSError as error:
        print(errno.errorcode[error.errno], os.listdir(path.parent))
"""
    before = path.read_bytes()
    ended = run_python(code, path, len(before))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"EFBIG {[path.name]}"] * 6
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


# Several processes: one packs at a time, the others wait, and what a killed one left is removed.

PACKER = """
import sys, time
from pathlib import Path
from PIL import Image
from flp_datasets.pack import open_pack, packing_lock
from flp_datasets.pack_writing import write_pack
from flp_datasets.sources import SourceClass

path, grey, pause, overwrite = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), "overwrite" in sys.argv
say = lambda text: print(text, flush=True)

def image():
    say("decoding")
    time.sleep(pause)
    return Image.new("L", (8, 8), grey)

with packing_lock(path, lambda: say("waiting")):
    if path.exists() and not overwrite:
        say(f"found {open_pack(path)[1].max()}")
    else:
        classes = [SourceClass(str(i), "meta-train", [(str(i), image)]) for i in range(5)]
        write_pack(path, "omniglot", "made for a test", classes, image_size=8, channels=1)
        say("packed")
"""


def start_packer(path: Path, grey: int, pause: float, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PACKER, str(path), str(grey), str(pause), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")


def test_of_two_processes_that_pack_at_once_one_waits_and_finds_the_others_pack(tmp_path):
    path = tmp_path / "a.h5"
    with start_packer(path, 70, 0.4) as first:
        assert first.stdout.readline() == "decoding\n"
        with start_packer(path, 80, 0.0) as second:
            told = second.stdout.read().splitlines()
        assert first.stdout.read().splitlines() == ["decoding"] * 4 + ["packed"]
    assert first.returncode == second.returncode == 0
    assert told in (["waiting", "found 70"], ["found 70"])  # the latter if it took long to start
    assert set(open_pack(path)[1].flat) == {70}


def test_a_pack_is_whole_at_every_moment_while_two_processes_overwrite_it(tmp_path):
    path = tmp_path / "a.h5"
    grey_pack(path, 60)
    seen = set()
    with start_packer(path, 70, 0.05, "overwrite") as first, start_packer(path, 80, 0.05, "overwrite") as second:
        while first.poll() is None or second.poll() is None:
            seen.add(tuple(set(open_pack(path)[1].flat)))
            time.sleep(0.002)
        ends = [packer.stdout.read().splitlines()[-1] for packer in (first, second)]
    assert first.returncode == second.returncode == 0
    assert ends == ["packed", "packed"]
    seen.add(tuple(set(open_pack(path)[1].flat)))
    assert {(60,)} < seen <= {(60,), (70,), (80,)}
    assert sorted(os.listdir(tmp_path)) == [".a.h5.lock", "a.h5"]


@pytest.mark.parametrize("old", [True, False], ids=["over an old pack", "where there is none"])
def test_a_killed_process_leaves_the_old_pack_or_none_and_the_next_one_cleans_up(tmp_path, old):
    path = tmp_path / "a.h5"
    if old:
        grey_pack(path, 60)
    with start_packer(path, 70, 30.0, "overwrite") as packer:
        assert packer.stdout.readline() == "decoding\n"
        packer.kill()
    assert len(list(tmp_path.glob(".a.h5.*.tmp"))) == 1
    assert path.exists() == old
    if old:
        assert set(open_pack(path)[1].flat) == {60}
    waited = []
    (tmp_path / ".b.h5.1.tmp").touch()
    with packing_lock(path, lambda: waited.append(1)):
        assert not list(tmp_path.glob(".a.h5.*.tmp"))
        grey_pack(path, 80)
    assert not waited
    assert set(open_pack(path)[1].flat) == {80}
    assert sorted(os.listdir(tmp_path)) == [".a.h5.lock", ".b.h5.1.tmp", "a.h5"]


def test_the_lock_is_given_back_when_packing_fails(tmp_path):
    path = tmp_path / "a.h5"
    waited = []
    with pytest.raises(SourceError), packing_lock(path):
        write(path, damaged(raise_two_lines))
    with packing_lock(path, lambda: waited.append(1)):
        write(path)
    assert not waited
