"""The precision of a trunk's products, and where the lower one can be had."""

from __future__ import annotations

import torch

from flp_base.errors import check_choice

PRECISIONS = ("float32", "bfloat16")


def usable_precision(precision: str, device: torch.device) -> str:
    """Returns the precision asked for, or float32 where products in bfloat16 would fail or take many times as long.

    Without AVX-512, oneDNN has no products in bfloat16 for linear layers, and only emulates those of convolutions.

    Args:
        precision: one of :data:`PRECISIONS`.
        device: where the products are computed.

    Raises:
        InvalidChoice: for an unknown precision.
    """
    check_choice("precision", precision, PRECISIONS)
    return "float32" if precision == "bfloat16" and device.type == "cpu" and not cpu_has_bfloat16() else precision


def cpu_has_bfloat16() -> bool:
    """Whether this processor has the instructions that oneDNN needs for products in bfloat16."""
    available: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return available
