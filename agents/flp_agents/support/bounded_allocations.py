"""A bound on the memory that building a learner takes, before it is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class TooLarge(Exception):
    """What is being built needs more numbers than there are; caught where the bound was set."""


class BoundedAllocations(TorchFunctionMode):
    """Refuses to build what needs far more numbers than there are: a width of a billion is written in a moment.

    Args:
        numbers: that what is built should hold, about.

    Raises:
        TooLarge: where more than four times as many, and a million, are asked for.
    """

    _MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
    # For what is no meta-parameter, and for each tensor, however small.
    _FREE, _EACH = 2**20, 64

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self._limit = self._left = 4 * numbers + self._FREE

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in self._MAKERS:
            sizes = args[0] if args and isinstance(args[0], list | tuple) else args
            self._left -= max(self._EACH, math.prod(size for size in sizes if isinstance(size, int)))
            if self._left < 0:
                raise TooLarge(f"more than {self._limit} numbers")
        return func(*args, **(kwargs or {}))
