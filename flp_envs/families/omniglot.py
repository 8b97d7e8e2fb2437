"""``FLPOmniglot-*``: handwritten characters of fifty alphabets."""

from __future__ import annotations

import os
from typing import Any

from flp_base.errors import InvalidChoice
from flp_envs.families.family import register_family
from flp_envs.few_shot import FewShotTask


@register_family("FLPOmniglot", task=FewShotTask)
def make_task(
    split: str = "meta-train",
    *,
    image_size: int = 28,
    data_root: str | os.PathLike[str] | None = None,
    rotations: bool = False,
    **options: Any,
) -> FewShotTask:
    """Omniglot, from a pack that ``flp data prepare omniglot`` made.

    With ``rotations``, a character that is meta-trained on (``split`` "meta-train" or "meta-trainval") is four
    classes, one for each quarter turn.
    """
    from flp_datasets.catalogue import open_classes
    from flp_datasets.rotated import Rotated

    if not isinstance(rotations, bool):
        raise InvalidChoice("value of rotations", str(rotations), ("True", "False"))
    classes = open_classes("omniglot", split, image_size=image_size, data_root=data_root)
    turned = rotations and split in ("meta-train", "meta-trainval")
    return FewShotTask(Rotated(classes) if turned else classes, split, **options)
