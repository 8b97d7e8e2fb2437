"""One split of a pack, as classes of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flp_base.errors import InvalidSize, check_choice
from flp_base.shown_options import ShowsOptions
from flp_datasets.pack import open_pack
from flp_datasets.sources import parts_of, with_unions


class PackedClasses(ShowsOptions):
    """The classes of one split of a pack; see :class:`flp_datasets.classes.ImageClasses`.

    It can be sent to other processes: each maps the file into its memory itself.

    Args:
        path: of the pack.
        split: which classes; "meta-trainval" are those of meta-train and of meta-val together.
        image_size: that the pack must have; none: any.

    Attributes:
        checksum: SHA-256 of the pack, which was verified when it was opened.

    Raises:
        PackError: if the pack cannot be used.
        InvalidChoice: if the pack has no such split.
    """

    def __init__(self, path: Path, split: str, *, image_size: int | None = None) -> None:
        self.path, self.split, self._image_size = path, split, image_size
        about, self._images = open_pack(path, image_size=image_size)
        check_choice(f"split of {about.dataset}", split, with_unions(set(about.splits)))
        counts = np.array(about.counts)
        of_split = np.isin(about.splits, parts_of(split))
        self.image_shape = about.image_shape
        self.dataset, self.checksum = about.dataset, about.checksum
        self.drawings: Any = counts[of_split]
        self.num_classes = int(of_split.sum())
        self._first = (np.cumsum(counts) - counts)[of_split]
        self._names = [name for name, belongs in zip(about.names, of_split, strict=True) if belongs]

    def take(self, classes: NDArray[np.int64], drawings: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images by number, ``(K,)`` and ``(K,)`` to ``(K, C, H, W)``: an array of its own.

        Raises:
            InvalidSize: for numbers that there are not.
        """
        if classes.size and not (classes.min() >= 0 and classes.max() < self.num_classes):
            raise InvalidSize(f"classes must be at least 0 and below {self.num_classes}, got {classes}")
        if drawings.size and not (drawings.min() >= 0 and (drawings < self.drawings[classes]).all()):
            raise InvalidSize("drawings must be at least 0 and below how many their class has")
        taken: NDArray[np.uint8] = self._images.take(self._first[classes] + drawings, axis=0)
        return taken

    @property
    def data(self) -> dict[str, str]:
        """Which data these are: the dataset's name, and its pack's SHA-256."""
        return {"name": self.dataset, "sha256": self.checksum}

    def name(self, number: int) -> str:
        """What the source calls a class."""
        return self._names[number]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "split": self.split, "image_size": self._image_size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["split"], image_size=state["image_size"])  # type: ignore[misc]
