"""Finds, downloads if need be, and packs a dataset."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from flp_base.errors import InvalidSize, SourceError, check_at_least
from flp_datasets.mini_imagenet import ADVICE as MINI_IMAGENET_ADVICE
from flp_datasets.pack import PackError, open_pack, packing_lock
from flp_datasets.pack_writing import write_pack
from flp_datasets.packed.dataset import DATASETS, Dataset
from flp_datasets.roots import cache_root, named_root, roots

LARGEST_IMAGE = 512


def prepare(
    name: str,
    *,
    image_size: int | None = None,
    source: str | os.PathLike[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_event: Callable[[str], None] = lambda _: None,
    on_class: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, bool]:
    """Packs a dataset, unless that is done already.

    Args:
        name: of the dataset.
        image_size: of the packed images, in pixels; by default the dataset's own.
        source: the folder that holds it; by default it is looked for in the data roots, and then downloaded.
        data_root: where to write the pack; by default ``FLP_DATA_ROOT``, else the user's cache.
        overwrite: pack even if there is a pack.
        on_event: receives in words what happens.
        on_class: receives how many of how many classes are packed.

    Returns:
        The pack's path, and whether it was made now.

    Raises:
        SourceError: if the dataset cannot be found, downloaded, read or written.
        InvalidChoice: for an unknown dataset.
        InvalidSize: for an image size out of range.
    """
    dataset = DATASETS[name]
    size = check_at_least("image_size", dataset.image_size if image_size is None else image_size, 8)
    if size > LARGEST_IMAGE:
        raise InvalidSize(f"image_size must be at most {LARGEST_IMAGE}, got {size}")
    path = (named_root(data_root) or cache_root()) / dataset.pack_name(size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with packing_lock(path, lambda: on_event(f"waiting for another process that packs {path}")):
            if path.exists() and not overwrite:
                try:
                    open_pack(path, image_size=size)
                except PackError as error:
                    raise PackError(f"{error} (--overwrite replaces it)") from None
                return path, False
            folder = _find_source(dataset, source, data_root, path.parent, on_event)
            on_event(f"reading {dataset.title} from {folder}")
            classes = dataset.read(folder)
            done = iter(range(1, len(classes) + 1))
            write_pack(
                path,
                dataset.name,
                f"{dataset.title} from {folder.resolve().name}",
                classes,
                image_size=size,
                channels=dataset.channels,
                whole=dataset.whole,
                on_class=lambda: on_class(next(done), len(classes)),
            )
            return path, True
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "name a --data-root that can be written, and the data's --source"
        raise SourceError(f"cannot write {path}: {error.strerror or error}: {advice}, or another --data-root") from None


def _find_source(
    dataset: Dataset,
    source: str | os.PathLike[str] | None,
    data_root: str | os.PathLike[str] | None,
    download_to: Path,
    on_event: Callable[[str], None],
) -> Path:
    if source is not None:
        folder = Path(os.path.expanduser(source))
        if not folder.exists():
            raise SourceError(f"there is nothing at --source {folder}: name the folder that holds {dataset.title}")
        return folder
    places = [root / dataset.name for root in roots(data_root)]
    for place in places:
        if dataset.found(place):
            return place
    where = " and ".join(map(str, places))
    if dataset.download is None:
        raise SourceError(f"{dataset.title} is not in {where}: {MINI_IMAGENET_ADVICE}")
    on_event(f"{dataset.title} is not in {where}: downloading it")
    dataset.download(download_to)
    return download_to
