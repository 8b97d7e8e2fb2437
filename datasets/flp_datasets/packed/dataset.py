"""What a packed dataset is, and the registry of datasets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flp_base.registry import Registry
from flp_datasets.image_checks import Whole
from flp_datasets.sources import SourceClass


@dataclass(frozen=True)
class Dataset:
    """One that is packed.

    Attributes:
        name: as it is typed.
        title: as it is written in texts.
        channels: 1 for grey, 3 for colour.
        image_size: that it is packed at by default, in pixels.
        splits: that it is packed in.
        read: its classes in a folder.
        found: whether a folder seems to hold it.
        whole: what it is like when it is whole.
        download: gets it into a folder; none where that cannot be done for the user.
    """

    name: str
    title: str
    channels: int
    image_size: int
    splits: tuple[str, ...]
    read: Callable[[Path], list[SourceClass]]
    found: Callable[[Path], bool]
    whole: Whole
    download: Callable[[Path], None] | None = None

    def pack_name(self, image_size: int) -> str:
        """A pack's place within a data root."""
        return f"{self.name}/{self.name}-{image_size}.h5"


#: By the name that is typed.
DATASETS: Registry[Dataset] = Registry(
    "dataset", package="flp_datasets.packed", entry_points="flp_envs.datasets", made_by=lambda dataset: dataset.read
)


def register_dataset(dataset: Dataset) -> Dataset:
    """Makes a dataset known by its name: ``flp data prepare NAME --plugin FILE`` packs it.

    Raises:
        RegistryError: if another one has its name.
    """
    DATASETS.add(dataset.name, dataset)
    return dataset
