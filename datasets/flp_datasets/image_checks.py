"""What is looked for in a source while it is packed: classes that are not whole, images that are there twice."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flp_base.errors import FLPWarning, SourceError
from flp_base.shown_options import ShowsOptions
from flp_datasets.sources import SourceClass


class DoubtfulImages(FLPWarning):
    """Images that were packed, and that may not be what they should be."""


@dataclass(frozen=True)
class Whole:
    """What a dataset is like when it is whole and genuine.

    Attributes:
        sizes: by split, how many classes there are and how many images each of them has; nothing: any number.
        repeats: by class, how many of its images are there twice in the genuine data.
        repeated_share: of all images, where the genuine data hold some twice and it is not known which. So few can be
            no second copy of a folder, as the sizes are checked too.
        dark_on_white: whether the images are dark strokes on a white ground.
    """

    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    repeats: Mapping[str, int] = field(default_factory=dict)
    repeated_share: float = 0.0
    dark_on_white: bool = False

    def check_sizes(self, classes: Sequence[SourceClass]) -> None:
        """Whether all classes are there with all their images, and no more.

        Raises:
            SourceError: if not, naming where they were found.
        """
        for split, (count, each) in self.sizes.items():
            of_split = [c for c in classes if c.split == split]
            places = " and ".join(dict.fromkeys(c.place for c in of_split or classes))
            if len(of_split) != count:
                raise SourceError(
                    f"expected {count} classes for {split} in {places}, found {len(of_split)}: it is not whole, or "
                    "holds more than the dataset; get it anew"
                )
            for c in of_split:
                if len(c.images) != each:
                    raise SourceError(
                        f"expected {each} images of each class for {split} in {places}, found {len(c.images)} of "
                        f"{c.name}, from {c.images[0][0]} to {c.images[-1][0]}: it is not whole, or holds something "
                        "twice; get it anew"
                    )


UNKNOWN = Whole()  # of a dataset of which nothing is known


class Seen(ShowsOptions):
    """The images of a dataset that were decoded so far.

    An image that is in a class twice could be in the support and in the query of one episode, and one that is in two
    splits is tested on as it was trained on: both are refused.

    Args:
        whole: what the dataset should be like.
        classes: all of it.
    """

    def __init__(self, whole: Whole, classes: Sequence[SourceClass]) -> None:
        self._whole, self._total = whole, sum(len(c.images) for c in classes)
        self._in_class: dict[tuple[bytes, str], str] = {}
        self._in_splits: dict[bytes, dict[str, str]] = defaultdict(dict)
        self._repeated: Counter[str] = Counter()
        self._twice: list[str] = []
        self._constant: list[str] = []
        self._dark: list[str] = []

    def add(self, of_class: SourceClass, name: str, pixels: NDArray[np.uint8]) -> None:
        """Looks at an image, before it is resized.

        Args:
            of_class: that it belongs to.
            name: what it is called in messages.
            pixels: ``(H, W)`` or ``(H, W, 3)``.

        Raises:
            SourceError: if it was there before, in this class or in another split, naming both.
        """
        digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()
        in_splits = self._in_splits[digest]
        twin = self._in_class.setdefault((digest, of_class.name), name)
        if twin != name:
            self._repeated[of_class.name] += 1
            if self._repeated[of_class.name] > self._whole.repeats.get(of_class.name, 0):
                self._repeat(twin, name, f"twice in {of_class.name}")
        elif other := next((split for split in in_splits if split != of_class.split), None):
            self._repeat(in_splits[other], name, f"in {other} and in {of_class.split}")
        in_splits.setdefault(of_class.split, name)
        if pixels.min() == pixels.max():
            self._constant.append(name)
        if self._whole.dark_on_white and np.count_nonzero(pixels < 128) > pixels.size / 2:
            self._dark.append(name)

    def _repeat(self, first: str, second: str, how: str) -> None:
        self._twice.append(f"{first} and {second} ({how})")
        if len(self._twice) > self._whole.repeated_share * self._total:
            raise SourceError(
                f"{first} and {second} are the same image, which is {how}: a second copy of some files, or of a folder "
                "in itself? remove it, nothing was packed"
            )

    def warnings(self) -> Iterator[str]:
        """What there is to say of the images that were packed all the same."""
        if self._twice:
            yield f"{len(self._twice)} of {self._total} images are there twice, first {self._twice[0]}"
        if self._constant:
            yield (
                f"{len(self._constant)} of {self._total} images are of one colour throughout, first "
                f"{self._constant[0]}: see whether they lost something on their way here"
            )
        if self._dark:
            yield (
                f"{len(self._dark)} of {self._total} images are mostly dark, first {self._dark[0]}: expected black "
                "strokes on white, without which a network that was meta-trained on them fails; invert these images"
            )
