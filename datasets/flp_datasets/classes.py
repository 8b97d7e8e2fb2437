"""What a few-shot task needs of a collection of images, whether it lies on a disk or is drawn on the fly."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ImageClasses(Protocol):
    """Classes of images of equal size: one split of a dataset.

    Attributes:
        image_shape: ``(C, H, W)``.
        num_classes: how many classes there are to choose from.
        drawings: how many images each class has, ``(num_classes,)`` int64, or one number for all of them.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    drawings: NDArray[np.int64] | int

    def take(self, classes: NDArray[np.int64], drawings: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images by number.

        Args:
            classes: ``(K,)`` numbers below ``num_classes``.
            drawings: ``(K,)`` for each a number below how many its class has.

        Returns:
            ``(K, C, H, W)`` uint8: an array of its own. The same numbers give the same images, always.
        """
        ...

    def name(self, number: int) -> str:
        """What a class is called."""
        ...
