"""A dataset of your own, packed once, and its family of environments.

    flp data prepare shapes --plugin examples/plugins/dataset.py --source FOLDER
    flp train --plugin examples/plugins/dataset.py --env FLPShapes-IID-v0 --learner feature-reuse --output runs/shapes

FOLDER holds a folder for each split ("meta-train", "meta-val", "meta-test"), in it one for each class, in it PNG files.
"""

from PIL import Image

from flp_datasets.catalogue import open_classes
from flp_datasets.image_checks import Whole
from flp_datasets.packed.dataset import Dataset, register_dataset
from flp_datasets.sources import SPLITS, SourceClass
from flp_envs import FewShotTask, register_family


def read(folder):
    """The classes of a folder; images are decoded when they are packed."""

    def decoded(path):
        return lambda: Image.open(path).convert("L")

    return [
        SourceClass(f"{split}/{place.name}", split, [(str(p), decoded(p)) for p in sorted(place.glob("*.png"))])
        for split in SPLITS
        for place in sorted((folder / split).iterdir())
    ]


register_dataset(
    Dataset(
        name="shapes",
        title="Shapes",
        channels=1,
        image_size=28,
        splits=SPLITS,
        read=read,
        found=lambda folder: (folder / "meta-train").is_dir(),
        whole=Whole(),
    )
)


@register_family("FLPShapes", task=FewShotTask)
def make_task(split="meta-train", *, image_size=28, data_root=None, **options):
    """Few-shot streams of them; further options are those of FewShotTask."""
    return FewShotTask(open_classes("shapes", split, image_size=image_size, data_root=data_root), split, **options)
