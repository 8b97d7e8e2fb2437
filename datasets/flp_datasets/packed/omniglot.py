"""Omniglot: handwritten characters of fifty alphabets."""

from __future__ import annotations

from flp_datasets.image_checks import Whole
from flp_datasets.omniglot import download_omniglot, find_omniglot, read_omniglot
from flp_datasets.packed.dataset import Dataset, register_dataset
from flp_datasets.sources import SPLITS

register_dataset(
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
    )
)
