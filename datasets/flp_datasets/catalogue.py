"""Packs of registered datasets: found, and opened."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from flp_base.errors import check_at_least, check_choice
from flp_datasets.pack import MissingPack
from flp_datasets.packed.dataset import DATASETS
from flp_datasets.packed_classes import PackedClasses
from flp_datasets.roots import roots
from flp_datasets.sources import with_unions


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
    dataset = DATASETS[name]
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
