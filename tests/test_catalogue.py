"""Packed datasets are found by name, in the roots' order; a missing one is said with the command that makes it."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import make_pack

from flp_base.errors import InvalidChoice, InvalidSize, SourceError
from flp_datasets.catalogue import find_packs, open_classes
from flp_datasets.pack import PackError
from flp_datasets.packed.dataset import DATASETS
from flp_datasets.sources import SPLITS

OMNIGLOT = ("meta-train", "meta-test")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, in a folder of the test's own; no data root is named."""
    monkeypatch.setenv("FLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FLP_DATA_ROOT")
    return tmp_path / "cache" / "data"


def omniglot(root: Path, size: int = 8, splits: tuple[str, ...] = OMNIGLOT) -> Path:
    return make_pack(root, "omniglot", size, 1, splits, 1)


def refused(name: str = "omniglot", split: str = "meta-train", image_size: int = 8, **options: object) -> str:
    with pytest.raises(PackError) as caught:
        open_classes(name, split, image_size=image_size, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_datasets_are_what_their_readers_yield():
    assert set(DATASETS.built_in()) == {"omniglot", "mini_imagenet"}
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert set(dataset.splits) <= set(SPLITS)
        assert dataset.pack_name(28) == f"{name}/{name}-28.h5"


def test_the_argument_comes_before_the_variable_and_the_cache_is_last(cache, tmp_path, monkeypatch):
    argument, variable = tmp_path / "argument", tmp_path / "variable"
    in_cache = omniglot(cache)
    assert open_classes("omniglot", "meta-train", image_size=8).path == in_cache
    in_variable = omniglot(variable)
    assert open_classes("omniglot", "meta-train", image_size=8).path == in_cache
    monkeypatch.setenv("FLP_DATA_ROOT", str(variable))
    assert open_classes("omniglot", "meta-train", image_size=8).path == in_variable
    in_argument = omniglot(argument)
    assert open_classes("omniglot", "meta-train", image_size=8, data_root=argument).path == in_argument
    in_argument.unlink()
    assert open_classes("omniglot", "meta-train", image_size=8, data_root=argument).path == in_cache
    in_variable.unlink()
    assert open_classes("omniglot", "meta-train", image_size=8).path == in_cache


def test_the_cache_follows_xdg_cache_home(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("FLP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    path = omniglot(tmp_path / "xdg" / "flp-envs" / "data")
    assert open_classes("omniglot", "meta-train", image_size=8).path == path


def test_the_size_that_was_asked_for_is_opened(cache):
    omniglot(cache, 8)
    omniglot(cache, 12)
    for size in (8, 12):
        classes = open_classes("omniglot", "meta-test", image_size=size)
        assert classes.image_shape == (1, size, size)
        assert classes.name(0) == "meta-test/0"
        assert classes.take(np.array([0]), np.array([0])).shape == (1, 1, size, size)


def test_a_missing_pack_says_where_it_was_looked_for_and_how_to_make_it(cache, tmp_path, monkeypatch):
    omniglot(cache, 12)
    assert refused() == (
        f"there is no Omniglot of 8 pixels: looked for {cache / 'omniglot' / 'omniglot-8.h5'}; make it with "
        "flp data prepare omniglot --image-size 8"
    )
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path))
    place = "mini_imagenet/mini_imagenet-84.h5"
    assert refused("mini_imagenet", image_size=84) == (
        f"there is no Mini-ImageNet of 84 pixels: looked for {tmp_path / place} and {cache / place}; make it with "
        "flp data prepare mini_imagenet --image-size 84"
    )


def test_the_command_for_a_missing_pack_can_be_pasted(cache, tmp_path):
    root = tmp_path / "my data"
    root.mkdir()
    command = refused(data_root=root).split("make it with ")[1]
    assert shlex.split(command) == [
        *("flp", "data", "prepare", "omniglot", "--image-size", "8", "--data-root", str(root))
    ]


@pytest.mark.parametrize("damage", ["empty", "folder", "dangling link"])
def test_a_damaged_pack_is_an_error_even_if_there_is_a_whole_one_in_the_cache(cache, tmp_path, damage):
    omniglot(cache)
    path = tmp_path / "omniglot" / "omniglot-8.h5"
    path.parent.mkdir()
    if damage == "empty":
        path.touch()
    elif damage == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "none")
    assert str(path) in refused(data_root=tmp_path)


def test_a_pack_under_another_sizes_name_is_refused(cache):
    path = omniglot(cache, 12)
    os.rename(path, path.with_name("omniglot-8.h5"))
    assert "holds images of 12 pixels, expected 8: its name was changed" in refused()


def test_a_data_root_that_is_no_folder_is_refused(cache, tmp_path, monkeypatch):
    omniglot(cache)
    with pytest.raises(SourceError, match=r"^data_root is .*none, which is not a folder"):
        open_classes("omniglot", "meta-train", image_size=8, data_root=tmp_path / "none")
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path / "none"))
    for look in (find_packs, lambda: open_classes("omniglot", "meta-train", image_size=8)):
        with pytest.raises(SourceError, match=r"^FLP_DATA_ROOT is .*none, which is not a folder"):
            look()


def test_an_unknown_dataset_gets_the_nearest_name():
    with pytest.raises(InvalidChoice) as caught:
        open_classes("omniglott", "meta-train", image_size=28)
    expected = "unknown dataset 'omniglott': did you mean 'omniglot'? valid: mini_imagenet, omniglot"
    assert str(caught.value) == expected
    with pytest.raises(InvalidChoice, match="did you mean 'mini_imagenet'"):
        DATASETS["miniImageNet"]


def test_an_unknown_split_gets_the_nearest_name_without_looking_for_a_pack():
    with pytest.raises(InvalidChoice) as caught:
        open_classes("omniglot", "meta_train", image_size=8)
    message = str(caught.value)
    assert message.startswith("unknown split of Omniglot 'meta_train': did you mean 'meta-train'")
    assert message.endswith("valid: meta-test, meta-train, meta-trainval, meta-val")
    with pytest.raises(InvalidChoice, match=r"valid: meta-test, meta-train, meta-trainval, meta-val$"):
        open_classes("mini_imagenet", "validation", image_size=84)


def test_a_pack_without_the_split_says_which_it_has(cache):
    omniglot(cache, splits=("meta-train",))
    with pytest.raises(InvalidChoice, match=r"unknown split of omniglot 'meta-test': .*valid: meta-train$"):
        open_classes("omniglot", "meta-test", image_size=8)


@pytest.mark.parametrize("size", [7, 0, -28, 28.0, "28", True, None])
def test_an_image_size_that_is_none_is_refused(size):
    with pytest.raises(InvalidSize, match="image_size must be a whole number of at least 8, got"):
        open_classes("omniglot", "meta-train", image_size=size)


def test_packs_are_listed_in_the_order_in_which_they_are_looked_for(cache, tmp_path, monkeypatch):
    assert find_packs() == []
    root = tmp_path / "root"
    in_cache = omniglot(cache, 9)
    packs = [make_pack(root, "mini_imagenet", 8, 3, OMNIGLOT, 1), omniglot(root, 12), omniglot(root, 8)]
    for other in ("omniglot/.omniglot-8.h5.x.tmp", "omniglot/.omniglot-8.h5.lock", "mini_imagenet/train.h5", "sine.h5"):
        (root / other).touch()
    assert find_packs() == [in_cache]
    assert find_packs(root) == [*packs, in_cache]
    monkeypatch.setenv("FLP_DATA_ROOT", str(root))
    assert find_packs() == [*packs, in_cache]
    assert find_packs(cache) == [in_cache]
