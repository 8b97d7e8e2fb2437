"""Which tensors are rounded to half precision on disk, and what they become."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# Tensors of fewer numbers stay as they are: they take no room, and scales of whole layers are among them.
LEAST_NUMBERS = 1000
# A rounded number differs by 2**-11 of itself at most. Tensors that lose more lie out of the range of 16 bits.
_LOSS = 2.0**-11


def in_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that are large and that 16 bits can hold, in float16; the others are left out."""
    halves = {name: _rounded(tensor) for name, tensor in tensors.items()}
    return {name: half for name, half in halves.items() if half is not None}


def rounded_through_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors as they are once they were stored in half precision and expanded again."""
    return {**tensors, **{name: half.to(tensors[name].dtype) for name, half in in_half(tensors).items()}}


def _rounded(tensor: Tensor) -> Tensor | None:
    if not tensor.is_floating_point() or tensor.numel() < LEAST_NUMBERS:
        return None
    tensor = tensor.detach().cpu()
    half = tensor.half()
    lost = (half.double() - tensor.double()).norm()
    # What is not finite compares as false.
    return half if bool(lost <= _LOSS * tensor.double().norm()) else None
