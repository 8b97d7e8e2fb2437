"""What each ``flp data`` command does."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flp_agents.support.printed_tables import print_table
from flp_base.errors import InvalidSize, SourceError, check_at_least, check_choice
from flp_base.files import write_atomically
from flp_datasets.catalogue import find_packs, open_classes
from flp_datasets.classes import ImageClasses
from flp_datasets.glyphs import SPLIT_OFFSETS, Glyphs
from flp_datasets.pack import Description, PackError, open_pack
from flp_datasets.packed.dataset import DATASETS
from flp_datasets.prepare import prepare
from flp_datasets.roots import roots
from flp_envs.few_shot import FewShotTask

# Of a sheet of samples, in pixels: what a small image is enlarged to, and what lies between two.
_SHOWN, _GAP = 56, 4
_MOST_SHOWN = 100


def list_data(options: argparse.Namespace) -> int:
    """``flp data list``."""
    packs = [_about_pack(path) for path in find_packs(options.data_root)]
    sources = [
        {"dataset": dataset.name, "folder": str(root / dataset.name)}
        for root in roots(options.data_root)
        for dataset in DATASETS.values()
        if dataset.found(root / dataset.name)
    ]
    if options.json:
        looked = [str(root) for root in roots(options.data_root)]
        print(json.dumps({"data_roots": looked, "packs": packs, "sources": sources}, allow_nan=False))
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("dataset", "pixels", "classes", "images", "MB", "pack"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "dataset")
    table.add_row("glyph", "any", "unbounded", "unbounded", "", "drawn on the fly")
    for pack in packs:
        if pack["error"]:
            table.add_row(pack["dataset"], "", "", "", "", f"{pack['path']}: {pack['error']}")
            continue
        splits = ", ".join(f"{count} {split}" for split, count in pack["classes"].items())
        megabytes = f"{pack['bytes'] / 1e6:.0f}"
        table.add_row(pack["dataset"], str(pack["image_size"]), splits, str(pack["images"]), megabytes, pack["path"])
    print_table(table)
    for dataset in DATASETS.values():
        found = [source["folder"] for source in sources if source["dataset"] == dataset.name]
        if not any(pack["dataset"] == dataset.name for pack in packs):
            where = f"its source seems to be in {found[0]}; " if found else ""
            print(f"{dataset.title} is not packed: {where}make it with flp data prepare {dataset.name}")
    print(f"looked in {' and '.join(map(str, roots(options.data_root)))}")
    return 0


def prepare_data(options: argparse.Namespace) -> int:
    """``flp data prepare``."""
    with _show_packing() as (on_event, on_class):
        path, made = prepare(
            options.dataset,
            image_size=options.image_size,
            source=options.source,
            data_root=options.data_root,
            overwrite=options.overwrite,
            on_event=on_event,
            on_class=on_class,
        )
    about, images = open_pack(path)
    print(f"{path}: {_describe(about, images)}{'' if made else '; it was there already'}")
    return 0


def verify_data(options: argparse.Namespace) -> int:
    """``flp data verify``."""
    if options.dataset is not None:
        DATASETS[options.dataset]
    packs = [p for p in find_packs(options.data_root) if options.dataset in (None, p.parent.name)]
    if not packs:
        where = " and ".join(map(str, roots(options.data_root)))
        raise PackError(f"there is no pack in {where}: make one with flp data prepare {options.dataset or 'DATASET'}")
    bad = []
    for path in packs:
        try:
            about, images = open_pack(path)
            print(f"{path}: whole, {_describe(about, images)}")
        except PackError as error:
            bad.append(str(error))
    if bad:
        raise PackError("; ".join(bad))
    return 0


def show_data(options: argparse.Namespace) -> int:
    """``flp data show``."""
    rows = check_at_least("classes", options.classes, 1)
    columns = check_at_least("images", options.images, 1)
    if max(rows, columns) > _MOST_SHOWN:
        raise InvalidSize(f"classes and images must be at most {_MOST_SHOWN}, got {rows} and {columns}")
    classes = _open(options)
    path = Path(options.output)
    if path.suffix != ".png":
        raise SourceError(f"expected --output to end in .png, got {path}")
    # One more class than is shown where that is 1, as an episode has at least two.
    task = FewShotTask(classes, options.split, num_classes=max(2, rows), shots=columns, query_shots=1, query_from="all")
    episode = task.sample(np.random.default_rng(options.seed))
    images = episode.support_x[0, : rows * columns, 0].reshape(rows, columns, *classes.image_shape)
    _write_png(path, _sheet(images))
    print(f"{path}: {rows} classes of {options.dataset}, {options.split}, {columns} images of each")
    return 0


def _open(options: argparse.Namespace) -> ImageClasses:
    check_choice("dataset", options.dataset, [*DATASETS, "glyph"])
    if options.dataset == "glyph":
        size = 28 if options.image_size is None else options.image_size
        return Glyphs(check_choice("split", options.split, SPLIT_OFFSETS), size)
    size = DATASETS[options.dataset].image_size if options.image_size is None else options.image_size
    return open_classes(options.dataset, options.split, image_size=size, data_root=options.data_root)


def _about_pack(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"dataset": path.parent.name, "path": str(path), "error": None}
    try:
        about, images = open_pack(path)
    except PackError as error:
        return {**entry, "error": str(error).removeprefix(f"{path} ")}
    return {
        **entry,
        "source": about.source,
        "image_size": about.image_shape[1],
        "classes": {split: about.splits.count(split) for split in dict.fromkeys(about.splits)},
        "images": len(images),
        "bytes": path.stat().st_size,
    }


def _describe(about: Description, images: NDArray[np.uint8]) -> str:
    splits = ", ".join(f"{about.splits.count(split)} {split}" for split in dict.fromkeys(about.splits))
    return f"{len(images)} images of {about.image_shape[1]} pixels in {len(about.names)} classes ({splits})"


@contextmanager
def _show_packing() -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Yields what to tell of events, and of classes packed: a bar on a terminal, nothing of classes elsewhere."""
    console = Console()
    if not console.is_terminal:
        yield lambda text: print(text, flush=True), lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("classes"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("packing", total=None)
        yield console.print, lambda done, total: progress.update(task, completed=done, total=total)


def _sheet(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(rows, columns, C, H, W)`` as one picture ``(height, width, 3)``, small images enlarged."""
    rows, columns, _, height, width = images.shape
    factor = max(1, -(-_SHOWN // height))
    large = images.repeat(factor, axis=3).repeat(factor, axis=4).transpose(0, 1, 3, 4, 2)
    height, width = height * factor, width * factor
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 160, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
            sheet[top : top + height, left : left + width] = large[row, column]
    return sheet


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.getvalue())
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror or error}") from None
