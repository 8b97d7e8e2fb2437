"""Characters that nobody has written: an unbounded stand-in for Omniglot, drawn when asked for.

A character is up to four strokes, a stroke up to three pieces, each a straight line or an arc. A drawing walks the pen
along them with a hand that errs a little. Every random number is a hash of (class, drawing, counter), and all that
follows is either whole numbers or single operations that IEEE 754 rounds exactly, so the bits are the same everywhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from flp_base.errors import InvalidSize, check_at_least, check_choice
from flp_base.shown_options import ShowsOptions
from flp_datasets.chance import Chance, Floats, Ints, Words, mix

CLASSES = 2**40
DRAWINGS = 2**32
SPLIT_OFFSETS = {"meta-train": 0, "meta-val": CLASSES, "meta-test": 2 * CLASSES}
IMAGE_SIZES = (8, 512)

STROKES, PIECES = 4, 3
# With 256 points or fewer, every partial sum of products of two profiles (at most 255 each) stays below 2**24, where
# float32 holds all whole numbers: the matrix product is exact in whatever order it is summed.
POINTS = 192
SUBPIXELS = 8
PEN_RADII = tuple(0.028 + 0.0015 * level for level in range(8))
PEN_DARKNESS = 2.0
# Numbers held at once while drawing: 16 MiB.
WORKING_SIZE = 2**22

_STEP, _TURN = 2**14, 4096
# No entry lies within 1e-4 of a half, so that rounding hides the last bits in which machines' sines differ.
_DIRECTIONS = np.array(
    [[round(_STEP * f(2 * math.pi * i / _TURN)) for f in (math.cos, math.sin)] for i in range(_TURN)], np.int64
)


class Glyphs(ShowsOptions):
    """Classes of drawn characters: black strokes (towards 0) on white paper (255).

    Args:
        split: "meta-train", "meta-val" or "meta-test". No class is in two of them.
        image_size: height and width in pixels, 8 to 512. The pen's width goes with it.

    Attributes:
        image_shape: ``(1, image_size, image_size)``.
        num_classes: 2**40.
        drawings: 2**32 of each class.

    Raises:
        InvalidChoice: for an unknown split.
        InvalidSize: for an impossible image size.
    """

    def __init__(self, split: str = "meta-train", image_size: int = 28) -> None:
        self.split = check_choice("split", split, SPLIT_OFFSETS)
        size = check_at_least("image_size", image_size, IMAGE_SIZES[0])
        if size > IMAGE_SIZES[1]:
            raise InvalidSize(f"image_size must be at most {IMAGE_SIZES[1]}, got {image_size!r}")
        self.image_size, self.image_shape = size, (1, size, size)
        self.num_classes = CLASSES
        self.drawings: Ints | int = DRAWINGS
        self._pens = _pen_profiles(size)

    def take(self, classes: Ints, drawings: Ints) -> NDArray[np.uint8]:
        """Draws images by number.

        Args:
            classes: ``(K,)`` whole numbers below ``num_classes``.
            drawings: ``(K,)`` whole numbers below ``drawings``.

        Returns:
            ``(K, 1, H, W)`` uint8. The same numbers give the same bits, in whatever company.

        Raises:
            InvalidSize: for numbers out of range, or not ``(K,)`` whole ones.
        """
        classes, drawings = _check_numbers("classes", classes, CLASSES), _check_numbers("drawings", drawings, DRAWINGS)
        if classes.shape != drawings.shape:
            raise InvalidSize(f"classes and drawings must be equally many, got {len(classes)} and {len(drawings)}")
        _, height, width = self.image_shape
        images = np.empty((len(classes), *self.image_shape), np.uint8)
        block = max(1, min(128, WORKING_SIZE // (height * (width + 2 * POINTS))))
        for start in range(0, len(classes), block):
            part = slice(start, start + block)
            seeds = (classes[part] + SPLIT_OFFSETS[self.split]).astype(np.uint64)
            images[part, 0] = self._draw(seeds, drawings[part].astype(np.uint64))
        return images

    def name(self, number: int) -> str:
        """What a class is called: a name that no other split uses.

        Raises:
            InvalidSize: for a number out of range.
        """
        return f"glyph {SPLIT_OFFSETS[self.split] + int(_check_numbers('classes', np.array([number]), CLASSES)[0])}"

    def _draw(self, seeds: Words, drawings: Words) -> NDArray[np.float32]:
        """``(K, H, W)`` whole numbers up to 255, for ``(K,)`` seeds of classes and numbers of drawings."""
        character, hand = Chance(seeds), Chance(mix(seeds) + drawings)
        length, heading, bend = _pieces(character, hand)
        path, stroke = _walk(length, heading, bend)
        joined = _join(path, stroke, length, character, hand)
        place, spacing = _fit(joined, character, hand)
        pen = (hand.uniform() * len(PEN_RADII)).astype(np.int64)

        size = self.image_shape[-1]
        cells = np.clip(np.rint(place * (size * SUBPIXELS)), 0, size * SUBPIXELS).astype(np.int64)
        # A pen's row of pixels is a stretch of its profile, which begins the earlier the further right the pen is.
        rows = sliding_window_view(self._pens, size, axis=-1)
        x, y = (rows[pen[:, None], at % SUBPIXELS, size - at // SUBPIXELS] for at in (cells[..., 0], cells[..., 1]))
        ink: NDArray[np.float32] = y.swapaxes(1, 2) @ x
        # Across a line, points at one spacing add up to 16/15 of the pen's radius: the integral of its profile.
        ink *= (PEN_DARKNESS / 255 * 15 / 16 * spacing / np.array(PEN_RADII)[pen]).astype(np.float32)[:, None, None]
        return 255 - np.rint(np.minimum(ink, np.float32(255)))


def _pieces(character: Chance, hand: Chance) -> Floats:
    """Chooses a character's pieces, and lets the hand err in them. Angles are parts of a full turn, clockwise.

    Returns:
        ``(3, K, STROKES * PIECES)``: how long each piece is, 0 where there is none; the heading at its beginning; and
        how much the heading turns along it.
    """
    strokes = 1 + character.choice((0.2, 0.35, 0.3, 0.15))
    # The fewer strokes, the longer: else a character is a tick or a tangle.
    one, two = np.array([(0.15, 0.55, 0.75, 0.85), (0.6, 0.85, 0.97, 1.0)])[:, strokes - 1, None]
    chance = character.uniform(STROKES)
    pieces = 1 + (chance >= one).astype(np.int64) + (chance >= two)
    used = (np.arange(PIECES) < pieces[..., None]) & (np.arange(STROKES) < strokes[:, None])[..., None]

    # Straight lines, bows, hooks and loops.
    kind = character.choice((0.45, 0.25, 0.2, 0.1), STROKES, PIECES)
    least, most = np.array([(0.0, 0.1, 0.35, 0.8), (0.0, 0.3, 0.6, 1.05)])[:, kind]
    bend = character.sign(STROKES, PIECES) * (least + (most - least) * character.uniform(STROKES, PIECES))
    length = (0.4 + 0.6 * character.uniform(STROKES, PIECES)) * (1.0 + np.abs(bend))
    corner = character.sign(STROKES, PIECES) * (0.15 + 0.25 * character.uniform(STROKES, PIECES))
    corner *= character.choice((0.25, 0.75), STROKES, PIECES)
    # Rightwards and downwards more often than between them.
    heading = 0.125 * character.choice((0.35, 0.15, 0.35, 0.15), STROKES) + 0.06 * (character.uniform(STROKES) - 0.5)

    length = length * (1.0 + 0.3 * hand.noise(STROKES, PIECES)) * used
    bend = bend * (1.0 + 0.2 * hand.noise(STROKES, PIECES)) + 0.05 * hand.noise(STROKES, PIECES)
    corner = corner + 0.03 * hand.noise(STROKES, PIECES)
    heading = heading + 0.03 * hand.noise(STROKES) + 0.03 * hand.noise(1)
    turned = bend + corner
    start = heading[..., None] + np.cumsum(turned, axis=2) - turned
    return np.stack((length, start, bend)).reshape(3, -1, STROKES * PIECES)


def _walk(length: Floats, heading: Floats, bend: Floats) -> tuple[Ints, Ints]:
    """Walks the pen along all pieces in steps of equal length, without lifting it.

    Returns:
        ``(K, POINTS, 2)``, x and y (downwards) of each point, a step being ``_STEP`` long; and ``(K, POINTS)``, the
        stroke that it belongs to.
    """
    ends = np.cumsum(length, axis=1)
    way = ends[:, -1:] * ((np.arange(POINTS) + 0.5) / POINTS)
    piece = (way[..., None] >= ends[:, None]).sum(axis=-1, dtype=np.int64)
    here = np.arange(len(piece))[:, None]
    done = (way - (ends - length)[here, piece]) / length[here, piece]
    angle = heading[here, piece] + done * bend[here, piece]
    path = np.cumsum(_DIRECTIONS[np.rint(angle * _TURN).astype(np.int64) % _TURN], axis=1)
    return path, piece // PIECES


def _join(path: Ints, stroke: Ints, length: Floats, character: Chance, hand: Chance) -> Ints:
    """Moves each stroke so that a point of it meets one of an earlier stroke, or stays near it.

    Args:
        path: ``(K, POINTS, 2)``, all strokes, each beginning where the one before it ends.
        stroke: ``(K, POINTS)``, the stroke that each point belongs to.
        length: ``(K, STROKES * PIECES)``, which says how long a step is.
        character: decides which points meet.
        hand: misses them a little.

    Returns:
        ``(K, POINTS, 2)``.
    """
    earlier = (character.uniform(STROKES) * np.arange(STROKES)).astype(np.int64)
    # Most strokes meet at an end or in the middle.
    marks = np.array([0.0, 0.5, 1.0])
    there = marks[character.choice((0.4, 0.25, 0.35), STROKES)]
    there = np.where(character.uniform(STROKES) < 0.3, character.uniform(STROKES), there) + 0.06 * hand.noise(STROKES)
    own = marks[character.choice((0.5, 0.35, 0.15), STROKES)] + 0.06 * hand.noise(STROKES)
    distance = character.choice((0.75, 0.25), STROKES) * (0.25 + 0.3 * character.uniform(STROKES)) / _STEP
    gap = distance[..., None] * _DIRECTIONS[(character.uniform(STROKES) * _TURN).astype(np.int64)]
    gap += 0.03 * hand.noise(STROKES, 2)

    here = np.arange(len(path))[:, None]
    count = (stroke[:, :, None] == np.arange(STROKES)).sum(axis=1, dtype=np.int64)
    first = np.cumsum(count, axis=1) - count

    def point(which: Ints, part: Floats) -> Ints:
        index = first[here, which] + np.rint(np.clip(part, 0.0, 1.0) * (count[here, which] - 1))
        # A stroke that the character lacks has no points: what it is given for one does not matter.
        place: Ints = path[here, np.clip(index, 0, POINTS - 1).astype(np.int64)]
        return place

    unit = POINTS * _STEP / np.cumsum(length, axis=1)[:, -1]
    apart = np.rint(gap * unit[:, None, None]).astype(np.int64)
    shift = point(earlier, there) - point(np.arange(STROKES), own) + apart
    shift[:, 0] = 0
    for j in range(1, STROKES):
        shift[:, j] += shift[here[:, 0], earlier[:, j]]
    return path + shift[here, stroke]


def _fit(points: Ints, character: Chance, hand: Chance) -> tuple[Floats, Floats]:
    """Places a character in the frame, a little slanted, stretched and off its middle.

    Returns:
        ``(K, POINTS, 2)``, x and y in parts of the frame, between 0.04 and 0.96 so that hardly a pen leaves it; and
        ``(K,)``, the spacing of points.
    """
    placed = points.astype(np.float64)
    placed[..., 0] += placed[..., 1] * (0.15 * hand.noise(1))
    low, high = placed.min(axis=1), placed.max(axis=1)
    longest = (high - low).max(axis=1, keepdims=True)
    # Square characters get the size they are given; narrow ones are widened by a quarter at most.
    box = np.maximum(high - low, 0.8 * longest)
    size = 0.42 + 0.28 * character.uniform(1) + 0.13 * hand.noise(1)
    scale = size * (1.0 + 0.1 * hand.noise(2)) / box
    # The smaller a drawing, the further it strays.
    middle = 0.5 + 0.25 * (0.92 - (high - low) * scale) * hand.noise(2)
    placed = (placed - ((low + high) / 2)[:, None]) * scale[:, None] + middle[:, None]
    return placed, _STEP * (scale[:, 0] + scale[:, 1]) / 2


def _pen_profiles(size: int) -> NDArray[np.float32]:
    """How much of each pixel a pen fills along one axis, in whole numbers up to 255.

    Returns:
        ``(pens, SUBPIXELS, 2 * size)``: of each pen at each place in pixel number ``size``.
    """
    radius = (np.array(PEN_RADII) * size)[:, None, None]
    offset = np.arange(-size, size) - np.arange(SUBPIXELS)[:, None] / SUBPIXELS
    before, behind = (np.clip(edge / radius, -1.0, 1.0) for edge in (offset, offset + 1.0))
    filled = radius * (_bell_integral(behind) - _bell_integral(before))
    return np.minimum(np.rint(255 * filled), 255).astype(np.float32)


def _bell_integral(x: Floats) -> Floats:
    """The integral of ``(1 - x**2)**2``, the pen's profile, from 0 to x."""
    square = x * x
    return x * (1.0 - square * (2.0 / 3.0 - square * 0.2))


def _check_numbers(name: str, numbers: Ints, limit: int) -> Ints:
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
        raise InvalidSize(f"{name} must be whole numbers, (K,), got {numbers.dtype} {numbers.shape}")
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < limit):
        raise InvalidSize(f"{name} must be at least 0 and below {limit}, got {numbers.min()} to {numbers.max()}")
    return numbers.astype(np.int64)
