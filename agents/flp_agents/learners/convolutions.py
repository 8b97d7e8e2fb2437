"""The convolutions below the plastic layers of image networks: a fixed feature extractor within a lifetime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flp_agents.support.precision import usable_precision
from flp_agents.support.savable import register_class
from flp_base.errors import InvalidSize, check_at_least

# Images in a block where nothing is kept for a gradient: a block's widest activity fits the memory of small machines.
_BLOCK = 256


@register_class
@dataclass(frozen=True)
class Convolutions:
    """The shape of a stack of 3 x 3 convolutions with ReLU. Source: section 6 of the paper, and the released code.

    Attributes:
        image_shape: ``(C, H, W)`` of the inputs, uint8.
        channels: of every layer.
        strides: one for each layer.
        padding: zeros around every layer's input.
        mean: of each input channel, subtracted from its values in [0, 1]; one number serves all channels.
        deviation: what the difference is divided by. Black ink on white paper becomes ink of 1 on 0 by mean 1 and
            deviation -1.
    """

    image_shape: tuple[int, int, int]
    channels: int = 256
    strides: tuple[int, ...] = (2, 1, 2, 1, 2, 2)
    padding: int = 0
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        check_at_least("channels", self.channels, 1)
        check_at_least("padding", self.padding, 0)
        check_at_least("the number of strides", len(self.strides), 1)
        for stride in self.strides:
            check_at_least("a stride", stride, 1)
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) not in (1, self.image_shape[0]):
                raise InvalidSize(f"{name} must hold 1 or {self.image_shape[0]} numbers, got {getattr(self, name)}")
        if 0 in self.deviation:
            raise InvalidSize(f"deviation must not hold 0, got {self.deviation}")
        if min(self.side(len(self.strides)), self.side(0)) < 1:
            raise InvalidSize(
                f"images of {self.image_shape[1]} x {self.image_shape[2]} pixels are too small for {len(self.strides)} "
                f"convolutions with strides {self.strides} and padding {self.padding}: use larger images, more padding "
                "or fewer strides"
            )

    def side(self, layers: int) -> int:
        """The smaller side of the activity after some layers, in pixels; below 1 if nothing would be left."""
        side = min(self.image_shape[1:])
        for stride in self.strides[:layers]:
            if side + 2 * self.padding < 3:
                return 0
            side = (side + 2 * self.padding - 3) // stride + 1
        return side

    @property
    def features(self) -> int:
        """How many numbers an image becomes."""
        sides = list(self.image_shape[1:])
        for stride in self.strides:
            sides = [(side + 2 * self.padding - 3) // stride + 1 for side in sides]
        return self.channels * sides[0] * sides[1]

    @property
    def kernel_shapes(self) -> list[tuple[int, int, int, int]]:
        """``(out, in, 3, 3)`` of every layer."""
        inputs = [self.image_shape[0], *[self.channels] * (len(self.strides) - 1)]
        return [(self.channels, into, 3, 3) for into in inputs]


def convolve(
    shape: Convolutions, images: Tensor, kernels: Sequence[Tensor], biases: Sequence[Tensor], precision: str = "float32"
) -> Tensor:
    """Features of images, ``(..., C, H, W)`` to ``(..., features)``.

    Args:
        shape: of the stack.
        images: uint8, or numbers from 0 to 255.
        kernels: ``(out, in, 3, 3)`` of every layer.
        biases: ``(out,)``.
        precision: of the convolutions: "float32" is that of the kernels; "bfloat16" has a third of its digits and
            about twice its speed; see :func:`~flp_agents.support.precision.usable_precision` for where.

    Raises:
        InvalidChoice: for an unknown precision.
    """
    precision = usable_precision(precision, images.device)
    flat = images.reshape(-1, *shape.image_shape)
    blocks = [flat] if torch.is_grad_enabled() else torch.split(flat, _BLOCK)
    features = torch.cat([_convolve(shape, block, kernels, biases, precision) for block in blocks])
    return features.reshape(*images.shape[:-3], -1)


def _convolve(
    shape: Convolutions, images: Tensor, kernels: Sequence[Tensor], biases: Sequence[Tensor], precision: str
) -> Tensor:
    full = kernels[0].dtype
    kind = torch.bfloat16 if precision == "bfloat16" else full
    mean, deviation = (_for_channels(v, kernels[0]) for v in (shape.mean, shape.deviation))
    # Channels last: on processors, about twice as fast.
    activity = ((images.to(full) / 255.0 - mean) / deviation).to(kind).contiguous(memory_format=torch.channels_last)
    for kernel, bias, stride in zip(kernels, biases, shape.strides, strict=True):
        laid_out = kernel.to(kind).contiguous(memory_format=torch.channels_last)
        activity = torch.relu(
            torch.nn.functional.conv2d(activity, laid_out, bias.to(kind), stride=stride, padding=shape.padding)
        )
    return activity.to(full).flatten(1)


def _for_channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    """``(C, 1, 1)``, filled on the device: a copy from the host could not be recorded in a CUDA graph."""
    return torch.stack([like.new_full((1, 1), value) for value in values])
