"""A meta-trained network for more classes than it was meta-trained on.

Labels are assigned afresh in every episode, so all output units mean the same to meta-training: what it made of them
are draws from one distribution, and so are further units. What leads to one starts as the mean over the trained units;
what leads back from it, its feedback, has to be a code of its own for every class, and is drawn with the trained
units' mean and deviation.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def take_over(grown: nn.Module, trained: nn.Module, feedback: Iterable[Tensor], seed: int) -> None:
    """Fills the parameters of a network with more output units, or fewer.

    Args:
        grown: to be filled.
        trained: with parameters of the same names, some of another size.
        feedback: those of the trained parameters that lead back from the output.
        seed: of what is drawn.
    """
    leads_back = {id(parameter) for parameter in feedback}
    generator = torch.Generator().manual_seed(seed)
    sources = dict(trained.named_parameters())
    with torch.no_grad():
        for name, parameter in grown.named_parameters():
            source = sources[name]
            parameter.copy_(_extend(source, parameter.shape, generator if id(source) in leads_back else None))


def _extend(values: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """``values`` first along every axis, then their mean over that axis, or draws with their mean and deviation."""
    values = values[tuple(slice(size) for size in shape)]
    for axis, size in enumerate(shape):
        missing = size - values.shape[axis]
        if missing:
            more = values.mean(axis, keepdim=True)
            more = more.expand(*(missing if i == axis else -1 for i in range(values.ndim)))
            if generator is not None:
                noise = torch.randn(more.shape, generator=generator).to(values)
                more = more + values.std(axis, keepdim=True) * noise
            values = torch.cat([values, more], axis)
    return values
