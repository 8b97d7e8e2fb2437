"""The classes of one split of a pack: numbered from zero, the same in every process that takes images from them."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import drawn_class, make_pack

from flp_base.errors import InvalidChoice, InvalidSize
from flp_datasets.pack import PackError, open_pack
from flp_datasets.pack_writing import write_pack
from flp_datasets.packed_classes import PackedClasses
from flp_datasets.rotated import Rotated
from flp_envs import make
from flp_envs.task import data_of

SIZE = 10
# Splits mixed, and of different numbers of images.
LAYOUT = [
    ("a", "meta-test", 2),
    ("b", "meta-train", 3),
    ("c", "meta-test", 1),
    ("d", "meta-train", 4),
    ("e", "meta-train", 2),
]
CLASSES = {name: drawn_class(name, split, count, SIZE, 3, seed) for seed, (name, split, count) in enumerate(LAYOUT)}
OF_SPLIT = {"meta-train": ["b", "d", "e"], "meta-test": ["a", "c"]}


def drawing(name: str, number: int) -> np.ndarray:
    """What should be packed, ``(3, SIZE, SIZE)``."""
    return np.asarray(CLASSES[name].images[number][1]()).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "mini_imagenet-10.h5"
    write_pack(path, "mini_imagenet", "made for a test", list(CLASSES.values()), image_size=SIZE, channels=3)
    return path


@pytest.mark.parametrize("split", list(OF_SPLIT))
def test_classes_of_a_split_are_numbered_from_zero_in_the_packs_order(path, split):
    classes = PackedClasses(path, split, image_size=SIZE)
    names = OF_SPLIT[split]
    assert classes.num_classes == len(names)
    assert [classes.name(number) for number in range(len(names))] == names
    assert classes.image_shape == (3, SIZE, SIZE)
    np.testing.assert_array_equal(classes.drawings, [len(CLASSES[name].images) for name in names])
    assert classes.drawings.dtype == np.int64


@pytest.mark.parametrize("split", list(OF_SPLIT))
def test_take_gives_every_drawing_of_every_class_of_its_split(path, split):
    classes = PackedClasses(path, split)
    numbers = [(c, d) for c in range(classes.num_classes) for d in range(classes.drawings[c])]
    which, drawings = np.array(numbers)[::-1].T
    taken = classes.take(which, drawings)
    assert taken.dtype == np.uint8
    expected = [drawing(OF_SPLIT[split][c], d) for c, d in zip(which, drawings, strict=True)]
    np.testing.assert_array_equal(taken, expected)


def test_take_may_repeat_and_may_take_nothing(path):
    classes = PackedClasses(path, "meta-train")
    taken = classes.take(np.array([1, 1, 0]), np.array([3, 3, 0]))
    np.testing.assert_array_equal(taken, [drawing("d", 3), drawing("d", 3), drawing("b", 0)])
    none = np.array([], np.int64)
    assert classes.take(none, none).shape == (0, 3, SIZE, SIZE)


def test_what_is_taken_is_an_array_of_its_own(path):
    classes = PackedClasses(path, "meta-train")
    zero = np.zeros(1, np.int64)
    taken = classes.take(zero, zero)
    assert taken.flags.owndata
    taken[...] = 0
    np.testing.assert_array_equal(classes.take(zero, zero)[0], drawing("b", 0))


def test_an_unknown_split_is_refused_and_the_packs_own_are_named(path):
    with pytest.raises(InvalidChoice) as caught:
        PackedClasses(path, "meta-val")
    message = str(caught.value)
    assert message.startswith("unknown split of mini_imagenet 'meta-val': ")
    assert message.endswith("valid: meta-test, meta-train")


def test_another_image_size_is_refused(path):
    with pytest.raises(PackError, match="holds images of 10 pixels, expected 84"):
        PackedClasses(path, "meta-train", image_size=84)


def test_a_pickle_holds_the_path_not_the_images(path):
    classes = PackedClasses(path, "meta-test", image_size=SIZE)
    data = pickle.dumps(classes)
    assert len(data) < 500 + len(str(path))
    again = pickle.loads(data)
    assert (again.path, again.split, again.num_classes) == (path, "meta-test", 2)
    one, zero = np.array([1]), np.array([0])
    np.testing.assert_array_equal(again.take(one, zero), classes.take(one, zero))


def test_a_pickle_notices_that_the_pack_has_changed(tmp_path):
    path = tmp_path / "omniglot-10.h5"

    def write(size: int) -> None:
        write_pack(path, "omniglot", "made for a test", list(CLASSES.values()), image_size=size, channels=1)

    write(SIZE)
    data = pickle.dumps(PackedClasses(path, "meta-test", image_size=SIZE))
    write(SIZE + 1)
    with pytest.raises(PackError, match="holds images of 11 pixels, expected 10"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(PackError, match="there is no pack at"):
        pickle.loads(data)


WORKERS = """
import json, multiprocessing, sys
from pathlib import Path
import numpy as np
from flp_datasets.packed_classes import PackedClasses
from flp_datasets.rotated import Rotated
from flp_envs import make
from flp_envs.task import data_of

classes = PackedClasses(Path(sys.argv[1]), "meta-train")
numbers = [(np.array([c, 0]), np.array([d, 0])) for c in range(3) for d in range(2)]
results = {"here": [classes.take(*pair).tolist() for pair in numbers]}
for way in sys.argv[2:]:
    with multiprocessing.get_context(way).Pool(2) as pool:
        taken = pool.starmap(classes.take, numbers, chunksize=1)
        results[way] = [images.tolist() for images in taken]
print(json.dumps(results))
"""


def test_worker_processes_take_the_same_images_however_they_are_started(path):
    """In a process without torch, as Python warns of forking one with many threads."""
    ways = [way for way in ("spawn", "fork") if way == "spawn" or sys.platform == "linux"]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", WORKERS, str(path), *ways]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=250)
    assert (ended.returncode, ended.stderr) == (0, "")
    results = json.loads(ended.stdout)
    expected = [
        [drawing(name, d).tolist(), drawing("b", 0).tolist()] for name in OF_SPLIT["meta-train"] for d in (0, 1)
    ]
    assert results == dict.fromkeys(["here", *ways], expected)


def test_numbers_that_there_are_not_are_refused(tmp_path):
    classes = PackedClasses(make_pack(tmp_path, "omniglot", 28, 1, ("meta-train", "meta-test"), 3), "meta-train")
    for numbers in ([8], [-1]):
        with pytest.raises(InvalidSize, match="classes must be at least 0 and below 8"):
            classes.take(np.array(numbers), np.array([0]))
        with pytest.raises(InvalidSize, match="drawings must be at least 0"):
            classes.take(np.array([0]), np.array([3 if numbers == [8] else -1]))


def test_it_says_which_data_it_is(path, tmp_path):
    classes = PackedClasses(path, "meta-train")
    assert classes.checksum == open_pack(path)[0].checksum
    assert classes.data == Rotated(classes).data == {"name": "mini_imagenet", "sha256": classes.checksum}
    assert len(classes.checksum) == 64
    other = tmp_path / "other.h5"
    images = [drawn_class(c[0], c[1], c[2], SIZE, 3, 77 + i) for i, c in enumerate(LAYOUT)]
    assert write_pack(other, "mini_imagenet", "made for a test", images, image_size=SIZE, channels=3).checksum == (
        PackedClasses(other, "meta-train").checksum
    )
    assert PackedClasses(other, "meta-train").checksum != classes.checksum


def test_an_environment_says_which_data_it_draws_from():
    env = make("FLPMiniImageNet-IID-v0", split="meta-test")
    assert data_of(env) == data_of(env.unwrapped.task) == env.unwrapped.task.classes.data
    assert data_of(make("FLPGlyph-IID-v0")) == data_of(make("FLPSine-IID-v0")) == {}
