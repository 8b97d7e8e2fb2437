"""``FLPGlyph-*``: characters that are drawn on the fly."""

from __future__ import annotations

from typing import Any

from flp_envs.families.family import register_family
from flp_envs.few_shot import FewShotTask


@register_family("FLPGlyph", task=FewShotTask, short={"num_classes": 3, "shots": 2, "query_shots": 2})
def make_task(split: str = "meta-train", *, image_size: int = 28, **options: Any) -> FewShotTask:
    """Characters drawn on the fly; further options are those of :class:`flp_envs.few_shot.FewShotTask`."""
    from flp_datasets.glyphs import Glyphs

    return FewShotTask(Glyphs(split, image_size), split, **options)
