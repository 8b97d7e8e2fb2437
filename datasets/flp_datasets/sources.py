"""What a reader of somebody's files yields, to be packed: classes, whose images are decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS = ("meta-train", "meta-val", "meta-test")
# Splits that are several of those together. What was chosen on meta-val is meta-trained for the final table on both.
UNIONS = {"meta-trainval": ("meta-train", "meta-val")}


def parts_of(split: str) -> tuple[str, ...]:
    """The splits of :data:`SPLITS` that a split consists of."""
    return UNIONS.get(split, (split,))


def with_unions(splits: Collection[str]) -> tuple[str, ...]:
    """The splits that can be asked for where ``splits`` are there: these, and the unions of them."""
    return (*splits, *(name for name, parts in UNIONS.items() if set(parts) <= set(splits)))


@dataclass(frozen=True)
class SourceClass:
    """One class as its source holds it.

    Attributes:
        name: unique within the dataset.
        split: one of :data:`SPLITS`.
        images: for each image, what it is called in messages (a path within the source, say) and what decodes it.
            Decoding raises whatever it raises; the packer says which image it was.
        place: where they lie, in words.
    """

    name: str
    split: str
    images: Sequence[tuple[str, Callable[[], Image]]]
    place: str = "the source"
