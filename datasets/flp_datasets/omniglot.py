"""Omniglot: handwritten characters of 50 alphabets, 20 drawings each.

Source: Lake, Salakhutdinov & Tenenbaum (2015), "Human-level concept learning through probabilistic program induction".
Of the background set's 964 characters, six of thirty alphabets (220 characters) are for meta-validation and the others
(744) for meta-training. The 659 characters of the evaluation set are for meta-testing.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flp_base.errors import SourceError
from flp_datasets.sources import SourceClass

if TYPE_CHECKING:
    from PIL.Image import Image

# The official names of the two sets, as zip files or extracted folders.
BACKGROUND, EVALUATION = SETS = ("images_background", "images_evaluation")
# Whole alphabets of the background set, fixed for ever: the fourth, ninth, ... of the thirty in alphabetical order.
META_VAL_ALPHABETS = frozenset(
    ("Armenian", "Braille", "Grantha", "Japanese_(hiragana)", "Mkhedruli_(Georgian)", "Tagalog")
)
# A drawing within a set; whatever else lies there is not one, nor is what a Mac adds (._0709_01.png).
_DRAWING = re.compile(r"(^|/)[^/]+/character\d+/[^/.]+\.png$")


def find_omniglot(folder: Path) -> bool:
    """Whether a folder holds both sets, in whichever form."""
    return all(_find(folder, name) is not None for name in SETS)


def read_omniglot(folder: Path) -> list[SourceClass]:
    """The characters in a folder that holds both sets as the official zip files or as extracted folders.

    Args:
        folder: with ``images_background`` and ``images_evaluation``, as ``.zip`` or as folders of
            ``ALPHABET/characterNN/NNNN_NN.png``; also inside a folder ``omniglot-py``, where torchvision puts them.

    Raises:
        SourceError: if a set is missing, empty or not a zip file.
    """
    classes = []
    for name in SETS:
        places = list(_places(folder, name))
        if not places:
            raise SourceError(
                f"expected {name}.zip or a folder {name} in {folder}: get both sets of Omniglot from "
                "https://github.com/brendenlake/omniglot (python/), and name their folder with --source"
            )
        classes += _read_set(places, name)
    return classes


def download_omniglot(folder: Path) -> None:
    """Lets torchvision download the sets that ``folder`` lacks into it, each whole or not at all.

    Raises:
        MissingTorchvision: if torchvision cannot be used here.
        SourceError: if the network does not allow it; nothing is left behind.
        OSError: if the folder cannot be written.
    """
    from flp_datasets.vision import import_torchvision

    datasets = import_torchvision().datasets
    # Beside its place, so that a set that is there is whole.
    with tempfile.TemporaryDirectory(prefix=".omniglot-py.", dir=folder) as beside:
        for name in SETS:
            if _find(folder, name) is not None:
                continue
            try:
                datasets.Omniglot(beside, background=name == "images_background", download=True)
            except Exception as error:  # whatever a network and its proxies do
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                raise SourceError(
                    f"torchvision could not download Omniglot ({reason}): get images_background.zip and "
                    "images_evaluation.zip from https://github.com/brendenlake/omniglot (python/) another way, and "
                    "name their folder with --source"
                ) from None
        for got in sorted(Path(beside, "omniglot-py").glob("*")):
            place = folder / "omniglot-py" / got.name
            place.parent.mkdir(exist_ok=True)
            if not place.exists():  # else another process was faster
                got.replace(place)


def _find(folder: Path, name: str) -> Path | None:
    return next(_places(folder, name), None)


def _places(folder: Path, name: str) -> Iterator[Path]:
    """Where a set may be, the place that is read first."""
    for place in (folder, folder / "omniglot-py"):
        if (place / name).is_dir():
            yield place / name
        if (place / f"{name}.zip").is_file():
            yield place / f"{name}.zip"


def split_of(set_name: str, character: str) -> str:
    """The split of a character ``ALPHABET/characterNN`` of one of :data:`SETS`."""
    if set_name == EVALUATION:
        return "meta-test"
    return "meta-val" if character.partition("/")[0] in META_VAL_ALPHABETS else "meta-train"


def _read_set(places: list[Path], set_name: str) -> list[SourceClass]:
    """The first of several places; the others are named beside it, as one of them may be whole where it is not."""
    place = places[0]
    where = str(place) + (f" (read instead of {' and '.join(map(str, places[1:]))})" if places[1:] else "")
    decoders = _in_zip(place) if place.is_file() else _in_folder(place)
    characters: dict[str, list[tuple[str, Callable[[], Image]]]] = defaultdict(list)
    for path in sorted(decoders):
        if _DRAWING.search(str(path)) and "__MACOSX" not in path.parts:
            characters["/".join(path.parts[-3:-1])].append((f"{path} in {place}", decoders[path]))
    if not characters:
        raise SourceError(f"expected ALPHABET/characterNN/NNNN_NN.png in {place}, found none: get Omniglot anew")
    # In alphabetical order whatever the split, so that meta-trainval is the background set as it was published.
    return [SourceClass(name, split_of(set_name, name), images, where) for name, images in sorted(characters.items())]


def _in_zip(place: Path) -> dict[PurePosixPath, Callable[[], Image]]:
    try:
        archive = zipfile.ZipFile(place)
    except Exception as error:  # whatever zipfile raises on a damaged file
        raise SourceError(f"{place} cannot be opened as a zip file ({error}): get it anew") from None

    def decoder(name: str) -> Callable[[], Image]:
        return lambda: _decode(archive.read(name))

    return {PurePosixPath(n): decoder(n) for n in archive.namelist()}


def _in_folder(place: Path) -> dict[PurePosixPath, Callable[[], Image]]:
    def decoder(path: Path) -> Callable[[], Image]:
        return lambda: _decode(path.read_bytes())

    # With the set's own name in front, as in the zip files.
    return {PurePosixPath(p.relative_to(place.parent).as_posix()): decoder(p) for p in place.rglob("*.png")}


def _decode(data: bytes) -> Image:
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.load()
    return image
