"""Mini-ImageNet: photographs of a hundred classes."""

from __future__ import annotations

from flp_datasets.image_checks import Whole
from flp_datasets.mini_imagenet import find_mini_imagenet, read_mini_imagenet
from flp_datasets.packed.dataset import Dataset, register_dataset
from flp_datasets.sources import SPLITS

register_dataset(
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
    )
)
