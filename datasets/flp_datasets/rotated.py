"""Every class four times: as it is, and turned by 90, 180 and 270 degrees.

Source: Santoro et al. (2016), "Meta-Learning with Memory-Augmented Neural Networks", and most work on Omniglot since.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flp_base.shown_options import ShowsOptions
from flp_datasets.classes import ImageClasses

TURNS = 4


class Rotated(ShowsOptions):
    """Four times as many classes; see :class:`flp_datasets.classes.ImageClasses`.

    Args:
        upright: the classes as they are, of square images. Class ``4 k + t`` is its class ``k`` after ``t`` quarter
            turns.
    """

    def __init__(self, upright: ImageClasses) -> None:
        self.upright = upright
        self.image_shape = upright.image_shape
        self.num_classes = TURNS * upright.num_classes
        drawings = upright.drawings
        self.drawings: NDArray[np.int64] | int = drawings if isinstance(drawings, int) else drawings.repeat(TURNS)

    def take(self, classes: NDArray[np.int64], drawings: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images by number, ``(K,)`` and ``(K,)`` to ``(K, C, H, W)``: an array of its own."""
        upright, turns = np.divmod(classes, TURNS)
        images = self.upright.take(upright, drawings)
        for turn in range(1, TURNS):
            turned = turns == turn
            images[turned] = np.rot90(images[turned], turn, axes=(2, 3))
        return images

    @property
    def data(self) -> dict[str, str]:
        """Which data the upright classes are; empty of what is drawn on the fly."""
        return dict(getattr(self.upright, "data", {}))

    def name(self, number: int) -> str:
        """What the upright class is called, and by how many degrees it is turned."""
        upright, turns = divmod(number, TURNS)
        return self.upright.name(upright) + (f", turned by {90 * turns} degrees" if turns else "")
