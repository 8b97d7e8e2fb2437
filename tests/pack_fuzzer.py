"""Makes packs as an enemy would and opens each; a process of its own, lest HDF5 take pytest along.

``python pack_fuzzer.py FOLDER WAY FIRST COUNT``: for every case a line of JSON before and one after. ``WAY`` is
"structures" (whatever HDF5 can express, with a checksum that fits), "bytes" (a pack with some bytes altered) or "named"
(:data:`HOSTILE`, one by one).
"""

import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from flp_base.errors import FLPError
from flp_datasets.pack import FORMAT, FORMAT_VERSION, Description, open_pack
from flp_datasets.packed_classes import PackedClasses

PIXELS = np.random.default_rng(0).integers(256, size=(5, 1, 8, 8), dtype=np.uint8)
ABOUT = Description(
    "omniglot", "made for a test", (1, 8, 8), ("alpha/one", "beta/two"), ("meta-train", "meta-test"), (2, 3)
)
TABLES = ("class_names", "class_splits", "class_counts")
PARTS = ("images", *TABLES)
ATTRIBUTES = ("format", "format_version", "dataset", "source", "checksum")
GIANT = 5 * 10**9
SECONDS = 20  # after which a case has hung

Edit = Callable[[h5py.File, str], None]  # of the part of this name


def fixed(texts: list[bytes]) -> np.ndarray:
    array = np.array(texts)
    return array.astype(h5py.string_dtype("utf-8", array.itemsize))


def write(path: Path, about: Description = ABOUT, pixels: np.ndarray = PIXELS, libver: str = "v110") -> None:
    """A pack as it should be, or at least with a checksum that fits what it says."""
    checksum = about.begin_checksum()
    checksum.update(np.ascontiguousarray(pixels).data)
    with h5py.File(path, "w", libver=(libver, "latest" if libver == "earliest" else libver)) as file:
        file["images"] = pixels
        file["class_names"] = fixed([name.encode() for name in about.names])
        file["class_splits"] = fixed([split.encode() for split in about.splits])
        counts = list(about.counts)
        file["class_counts"] = np.array(counts, np.uint64 if max(counts, default=0) >= 2**63 else np.int64)
        file.attrs["format_version"] = FORMAT_VERSION
        said = {"format": FORMAT, "dataset": about.dataset, "source": about.source, "checksum": checksum.hexdigest()}
        for name, text in said.items():
            file.attrs[name] = fixed([text.encode()]).reshape(())


# What each part of a whole pack holds; where it was edited before, it is not read: that may end the process.
HELD = {
    "images": PIXELS,
    "class_names": fixed([name.encode() for name in ABOUT.names]),
    "class_splits": fixed([split.encode() for split in ABOUT.splits]),
    "class_counts": np.array(ABOUT.counts),
}


def instead(make: Callable[[h5py.File, str, np.ndarray], object]) -> Edit:
    """An edit that removes a part and makes something else under its name."""

    def edit(file: h5py.File, name: str) -> None:
        del file[name]
        make(file, name, HELD[name])

    return edit


def elsewhere(file: h5py.File) -> str:
    """Another HDF5 file beside this one, that holds the parts of a pack."""
    path = Path(file.filename).with_name("elsewhere.h5")
    if not path.exists():
        write(path)
    return str(path)


def virtual(source: Callable[[h5py.File], str]) -> Edit:
    def make(file: h5py.File, name: str, before: np.ndarray) -> None:
        layout = h5py.VirtualLayout(before.shape, before.dtype)
        layout[...] = h5py.VirtualSource(source(file), name, before.shape, before.dtype)
        file.create_virtual_dataset(name, layout)

    return instead(make)


def external(place: str) -> Edit:
    def make(file: h5py.File, name: str, before: np.ndarray) -> None:
        file.create_dataset(name, before.shape, before.dtype, external=[(place, 0, before.nbytes)])

    return instead(make)


def created(**options: Any) -> Edit:
    def make(file: h5py.File, name: str, before: np.ndarray) -> None:
        file.create_dataset(name, **{"shape": before.shape, "dtype": before.dtype, **options})

    return instead(make)


def rewritten(change: Callable[[np.ndarray], Any], **options: Any) -> Edit:
    return instead(lambda file, name, before: file.create_dataset(name, data=change(before), **options))


def bomb(file: h5py.File, name: str, before: np.ndarray) -> None:
    """20 MB of zeros in some kB."""
    shape = (20_000_000 // before[:1].nbytes, *before.shape[1:])
    file.create_dataset(name, data=np.zeros(shape, before.dtype), chunks=shape, compression="gzip", compression_opts=1)


def variable(texts: np.ndarray) -> np.ndarray:
    return np.array([str(text) for text in texts.reshape(-1)], dtype=h5py.string_dtype())


# Whatever else can stand where a part of a pack should.
HOSTILE: dict[str, Edit] = {
    "missing": instead(lambda file, name, before: None),
    "virtual, of this file": virtual(lambda file: "."),
    "virtual, of another file": virtual(elsewhere),
    "virtual, of no file": virtual(lambda file: "none.h5"),
    "external, of another file": external("/etc/passwd"),
    "external, of no file": external("none.bin"),
    "a soft link": instead(lambda file, name, before: file.__setitem__(name, h5py.SoftLink("/images"))),
    "a soft link to itself": instead(lambda file, name, before: file.__setitem__(name, h5py.SoftLink(f"/{name}"))),
    "a link to another file": instead(
        lambda file, name, before: file.__setitem__(name, h5py.ExternalLink(elsewhere(file), name))
    ),
    "a group": instead(lambda file, name, before: file.create_group(name)),
    "the root": instead(lambda file, name, before: file.__setitem__(name, file["/"])),
    "a type": instead(lambda file, name, before: file.__setitem__(name, np.dtype("i8"))),
    "the images": instead(lambda file, name, before: file.__setitem__(name, file.get("images", 0))),
    "5 GB, never written": created(shape=(GIANT,)),
    "5 GB in chunks, never written": created(shape=(GIANT,), chunks=(10,)),
    "5 GB in one chunk": created(shape=(10,), maxshape=(None,), chunks=(2**29 - 1,)),
    "5 GB in chunks, one written": instead(
        lambda file, name, before: (
            file.create_dataset(name, (GIANT, *before.shape[1:]), before.dtype, chunks=(2, *before.shape[1:]))
        ).__setitem__(slice(0, 2), before[:2])
    ),
    "a bomb": instead(bomb),
    "compressed": rewritten(lambda before: before, compression="gzip"),
    "filtered": rewritten(lambda before: before, shuffle=True),
    "texts of 2 GB": created(shape=(2,), dtype="S2000000000"),
    "texts of a variable length": rewritten(variable, dtype=h5py.string_dtype()),
    "lists": created(dtype=h5py.vlen_dtype(np.int32)),
    "with one more axis": rewritten(lambda before: before[:, None]),
    "with one axis less": rewritten(lambda before: before[0]),
    "with an axis of nothing": rewritten(lambda before: before[..., :0]),
    "a single value": rewritten(lambda before: before.reshape(-1)[0]),
    "a null": rewritten(lambda before: h5py.Empty(before.dtype)),
    "empty": rewritten(lambda before: before[:0]),
    "too short": rewritten(lambda before: before[:1]),
    "too long": rewritten(lambda before: np.concatenate([before, before])),
    "numbers with a point": rewritten(lambda before: np.zeros(before.shape)),
    "numbers of two bytes": rewritten(lambda before: np.ones(before.shape, np.int16)),
    "yes or no": rewritten(lambda before: np.ones(before.shape, bool)),
    "a record": created(dtype=np.dtype([("a", "i4"), ("b", "f8", (3,))])),
    "an array of arrays": created(dtype=np.dtype((np.int64, (1000,)))),
    "opaque": rewritten(lambda before: np.zeros(before.shape, "V7")),
    "references": created(dtype=h5py.ref_dtype),
    "in chunks": rewritten(lambda before: before, chunks=True),
    "within the file's header": instead(
        lambda file, name, before: h5py.h5d.create(
            file.id,
            name.encode(),
            h5py.h5t.py_create(before.dtype, logical=True),
            h5py.h5s.create_simple(before.shape),
            _compact(),
        ).write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(before))
    ),
}


def _compact() -> h5py.h5p.PropDCID:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    return plist


# The same of attributes.
HOSTILE_ATTRIBUTES: dict[str, Any] = {
    "absent": None,
    "of a variable length": "made for a test",
    "empty": np.bytes_(b""),
    "no text": np.bytes_(b"\xff\xfe"),
    "a number": 2**63 - 1,
    "negative": -1,
    "with a point": 1.5,
    "infinite": float("inf"),
    "numbers": np.arange(5),
    "many numbers": np.zeros(8000),
    "one number in a list": np.array([FORMAT_VERSION]),
    "texts": np.array([b"one", b"two"]),
    "null": h5py.Empty("S3"),
    "yes": True,
    "a record": np.zeros((), np.dtype([("a", "i4")])),
}


def set_attribute(file: h5py.File, name: str, value: Any) -> None:
    if name in file.attrs:
        del file.attrs[name]
    if value is not None:
        file.attrs[name] = value


# Descriptions that no dataset has, under a checksum that fits.
SENSELESS: dict[str, Description] = {
    "two classes of one name": replace(ABOUT, names=("same", "same")),
    "an unknown split": replace(ABOUT, splits=("meta-train", "test")),
    "fewer than no images": replace(ABOUT, counts=(-1, 6)),
    "a class without images": replace(ABOUT, counts=(0, 5)),
    "more images than there are": replace(ABOUT, counts=(2, 4)),
    "far more images than there are": replace(ABOUT, counts=(2**63 - 1, 2**62)),
    "numbers of 64 bits": replace(ABOUT, counts=(2**64 - 1, 6)),
    "fewer splits than classes": replace(ABOUT, splits=("meta-train",)),
    "more names than classes": replace(ABOUT, names=("one", "two", "three")),
}


def structure(path: Path, chance: random.Random) -> str:
    """Writes a random hostile structure; returns what it is."""
    said = [name for name in SENSELESS if chance.random() < 0.03][:1]
    about = SENSELESS[said[0]] if said else ABOUT
    write(path, about, libver=chance.choice(["v110", "v110", "earliest"]))
    with h5py.File(path, "r+", libver=chance.choice(["earliest", "v110", "latest"])) as file:
        places = chance.sample([*PARTS * 2, *ATTRIBUTES], chance.choice([0 if said else 1, 1, 1, 2, 3]))
        for place in dict.fromkeys(places):
            if place in PARTS:
                edit = chance.choice(list(HOSTILE))
                said.append(f"{place} is {edit}")
                with contextlib.suppress(ValueError, TypeError, OSError, KeyError, RuntimeError):  # not all can be
                    HOSTILE[edit](file, place)
            else:
                value = chance.choice(list(HOSTILE_ATTRIBUTES))
                said.append(f"{place} is {value}")
                set_attribute(file, place, HOSTILE_ATTRIBUTES[value])
    if path.stat().st_size > 50_000_000:  # a large file is no small one that claims to be large
        write(path)
        return "left out: " + "; ".join(said)
    if chance.random() < 0.15:
        said.append(alter(path, path.read_bytes(), chance))
    return "; ".join(said)


def alter(path: Path, content: bytes, chance: random.Random) -> str:
    """Writes a file with some bytes altered, now and then cut short."""
    altered = bytearray(content)
    places = [chance.randrange(len(altered)) for _ in range(chance.choice([1, 1, 2, 4, 8, 64]))]
    for place in places:
        altered[place] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    if chance.random() < 0.1:
        del altered[chance.randrange(len(altered)) :]
    path.write_bytes(altered)
    return f"bytes {places} altered"


def outcome(path: Path) -> str:
    """Opens a pack and uses it: "read", or the error's one line."""
    try:
        about, images = open_pack(path)
        assert about.makes_sense
        assert images.shape == about.images_shape
        for split in dict.fromkeys(about.splits):
            classes = PackedClasses(path, split)
            numbers = np.arange(classes.num_classes)
            assert classes.take(numbers, classes.drawings - 1).shape == (len(numbers), *about.image_shape)
            assert all(classes.name(number) in about.names for number in numbers)
    except FLPError as error:
        text = str(error)
        assert len(text.splitlines()) == 1
        assert str(path) in text
        assert text.isprintable()
        return text.replace(str(path), "PATH")
    return "read"


def cases(way: str, first: int, count: int, path: Path) -> Any:
    """Name by name, after the file of that case was written."""
    if way == "named":
        for part in PARTS:
            for name, edit in HOSTILE.items():
                write(path)
                with h5py.File(path, "r+") as file:
                    try:
                        edit(file, part)
                    except (ValueError, TypeError, OSError, KeyError, RuntimeError, IndexError):
                        continue  # HDF5 cannot express it for this part
                yield f"{part} is {name}"
        for attribute in ATTRIBUTES:
            for name, value in HOSTILE_ATTRIBUTES.items():
                write(path)
                with h5py.File(path, "r+") as file:
                    set_attribute(file, attribute, value)
                yield f"{attribute} is {name}"
        for name, about in SENSELESS.items():
            write(path, about)
            yield name
    for number in range(first, first + count):
        chance = random.Random(number)
        if way == "structures":
            yield f"{number}: {structure(path, chance)}"
        elif way == "bytes":
            write(path, libver=chance.choice(["v110", "earliest"]))
            yield f"{number}: {alter(path, path.read_bytes(), chance)}"


def main(folder: str, way: str, first: str, count: str) -> None:
    warnings.simplefilter("error")
    path = Path(folder, "omniglot-8.h5")
    write(path)
    open_pack(path)  # what every process needs of memory
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, even within HDF5
    for name in cases(way, int(first), int(count), path):
        print(json.dumps({"case": name}), flush=True)
        before, files = path.read_bytes(), sorted(os.listdir(folder))
        # As much memory is asked of the kernel at most, so that a giant array is an error, not a machine at its end.
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
        start, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(SECONDS)
        try:
            result = outcome(path)
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        assert path.read_bytes() == before
        assert sorted(os.listdir(folder)) == files
        print(json.dumps({"outcome": result, "seconds": time.monotonic() - start, "kilobytes": grown}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
