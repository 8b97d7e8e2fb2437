"""``FLPMiniImageNet-*``: photographs."""

from __future__ import annotations

import os
from typing import Any

from flp_envs.families.family import register_family
from flp_envs.few_shot import FewShotTask


@register_family("FLPMiniImageNet", task=FewShotTask)
def make_task(
    split: str = "meta-train",
    *,
    image_size: int = 84,
    data_root: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FewShotTask:
    """Mini-ImageNet, from a pack that ``flp data prepare mini_imagenet`` made."""
    from flp_datasets.catalogue import open_classes

    return FewShotTask(
        open_classes("mini_imagenet", split, image_size=image_size, data_root=data_root), split, **options
    )
