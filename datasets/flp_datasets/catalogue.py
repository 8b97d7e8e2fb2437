"""Every packed dataset, flat: what it is called, how it is read, where its packs lie."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flp_base.errors import check_at_least, check_choice
from flp_datasets.image_checks import Whole
from flp_datasets.mini_imagenet import find_mini_imagenet, read_mini_imagenet
from flp_datasets.omniglot import download_omniglot, find_omniglot, read_omniglot
from flp_datasets.pack import MissingPack
from flp_datasets.packed_classes import PackedClasses
from flp_datasets.roots import roots
from flp_datasets.sources import SPLITS, SourceClass, with_unions


@dataclass(frozen=True)
class Dataset:
    """One that is packed.

    Attributes:
        name: as it is typed.
        title: as it is written in texts.
        channels: 1 for grey, 3 for colour.
        image_size: that it is packed at by default, in pixels.
        splits: that it is packed in.
        read: its classes in a folder.
        found: whether a folder seems to hold it.
        whole: what it is like when it is whole.
        download: gets it into a folder; none where that cannot be done for the user.
    """

    name: str
    title: str
    channels: int
    image_size: int
    splits: tuple[str, ...]
    read: Callable[[Path], list[SourceClass]]
    found: Callable[[Path], bool]
    whole: Whole
    download: Callable[[Path], None] | None = None

    def pack_name(self, image_size: int) -> str:
        """A pack's place within a data root."""
        return f"{self.name}/{self.name}-{image_size}.h5"


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "omniglot",
            "Omniglot",
            1,
            28,
            SPLITS,
            read_omniglot,
            find_omniglot,
            Whole(
                {"meta-train": (744, 20), "meta-val": (220, 20), "meta-test": (659, 20)},
                # A single dot, which two people drew alike (0192_03.png and 0192_19.png): all that the 32,460 repeat.
                repeats={"Braille/character01": 1},
                dark_on_white=True,
            ),
            download_omniglot,
        ),
        Dataset(
            "mini_imagenet",
            "Mini-ImageNet",
            3,
            84,
            SPLITS,
            read_mini_imagenet,
            find_mini_imagenet,
            # ImageNet itself holds some images twice.
            Whole({"meta-train": (64, 600), "meta-val": (16, 600), "meta-test": (20, 600)}, repeated_share=0.001),
        ),
    )
}


def get_dataset(name: str) -> Dataset:
    """A packed dataset by name.

    Raises:
        InvalidChoice: for an unknown name.
    """
    return DATASETS[check_choice("dataset", name, DATASETS)]


def find_packs(data_root: str | os.PathLike[str] | None = None) -> list[Path]:
    """All packs in the folders that are looked in.

    Raises:
        SourceError: if ``data_root`` cannot be read.
    """
    return [pack for root in roots(data_root) for name in DATASETS for pack in sorted(root.glob(f"{name}/{name}-*.h5"))]


def open_classes(
    name: str, split: str, *, image_size: int, data_root: str | os.PathLike[str] | None = None
) -> PackedClasses:
    """One split of a packed dataset, opened read-only and verified.

    Args:
        name: of the dataset.
        split: which classes: one of the dataset's splits, or "meta-trainval" for meta-train and meta-val together.
        image_size: in pixels.
        data_root: where to look first; by default ``FLP_DATA_ROOT``. The user's cache is always looked in.

    Raises:
        MissingPack: if there is no such pack, saying where it was looked for and how to make it.
        PackError: if it is damaged.
        InvalidChoice: for an unknown dataset or split.
    """
    dataset = get_dataset(name)
    check_choice(f"split of {dataset.title}", split, with_unions(dataset.splits))
    check_at_least("image_size", image_size, 8)
    places = [root / dataset.pack_name(image_size) for root in roots(data_root)]
    for place in places:
        # A pack that cannot be read is an error of its own: no other one takes its place in silence.
        if os.path.lexists(place):
            return PackedClasses(place, split, image_size=image_size)
    option = "" if data_root is None else f" --data-root {shlex.quote(str(data_root))}"
    raise MissingPack(
        f"there is no {dataset.title} of {image_size} pixels: looked for {' and '.join(map(str, places))}; make it "
        f"with flp data prepare {name} --image-size {image_size}{option}"
    )
