"""What becomes of weights and their gradients: one step of plain gradient descent, or of Adam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from flp_agents.baselines.baseline import check_above_zero
from flp_agents.baselines.whole_network import Parameters


class Moments(NamedTuple):
    """What Adam remembers of ``E`` lifetimes; plain descent remembers nothing.

    Attributes:
        first: running mean of each parameter's gradient.
        second: running mean of its square.
        steps: ``(E,)`` steps taken.
    """

    first: Parameters = ()
    second: Parameters = ()
    steps: tuple[Tensor, ...] = ()


class Descent(Protocol):
    """A way to follow a gradient downhill."""

    @property
    def rate(self) -> float:
        """The step size."""
        ...

    def initial_moments(self, parameters: Parameters) -> Moments:
        """What it remembers before the first step."""
        ...

    def step(self, parameters: Parameters, gradients: Parameters, moments: Moments) -> tuple[Parameters, Moments]:
        """Weights, and what it remembers, after one step; shapes ``(E, ...)`` each."""
        ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``w <- w - rate g``. Source: Robbins & Monro (1951).

    Attributes:
        rate: the step size.
        clip: largest norm of a lifetime's gradient over all parameters; a longer one is shortened to it, so that a few
            large errors do not drive the weights away for good. Source: Pascanu et al. (2013), algorithm 1.

    Raises:
        InvalidSize: if either is not above 0.
    """

    rate: float
    clip: float = math.inf

    def __post_init__(self) -> None:
        check_above_zero("the step size", self.rate)
        if self.clip != math.inf:
            check_above_zero("clip", self.clip)

    def initial_moments(self, parameters: Parameters) -> Moments:
        return Moments()

    def step(self, parameters: Parameters, gradients: Parameters, moments: Moments) -> tuple[Parameters, Moments]:
        if math.isfinite(self.clip):
            norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
            if (norm > self.clip).any():
                shorter = (self.clip / norm).clamp(max=1.0)
                gradients = tuple(g * for_each(shorter, g) for g in gradients)
        return tuple(p.sub(g, alpha=self.rate) for p, g in zip(parameters, gradients, strict=True)), moments


@dataclass(frozen=True)
class Adam:
    """Adam, with its bias correction. Source: Kingma & Ba (2015), algorithm 1.

    Attributes:
        rate: the step size.
        first_decay: of the running mean of gradients.
        second_decay: of that of their squares.
        epsilon: added to the root of the latter.

    Raises:
        InvalidSize: if the step size is not above 0.
    """

    rate: float
    first_decay: float = 0.9
    second_decay: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_above_zero("the step size", self.rate)

    def initial_moments(self, parameters: Parameters) -> Moments:
        nothing = tuple(torch.zeros_like(p, memory_format=torch.contiguous_format) for p in parameters)
        return Moments(nothing, nothing, (parameters[0].new_zeros(len(parameters[0])),))

    def step(self, parameters: Parameters, gradients: Parameters, moments: Moments) -> tuple[Parameters, Moments]:
        steps = moments.steps[0] + 1
        # Both corrections at once: rate m / (1 - b1^t) over root(v / (1 - b2^t)) + epsilon.
        root = (1 - self.second_decay**steps).sqrt()
        scale = -self.rate * root / (1 - self.first_decay**steps)
        epsilon = self.epsilon * root
        first, second, after = [], [], []
        for p, g, m, v in zip(parameters, gradients, moments.first, moments.second, strict=True):
            m = torch.lerp(m, g, 1 - self.first_decay)
            v = (v * self.second_decay).addcmul_(g, g, value=1 - self.second_decay)
            size = v.sqrt().add_(for_each(epsilon, v)).reciprocal_().mul_(for_each(scale, v))
            first.append(m)
            second.append(v)
            after.append(torch.addcmul(p, m, size))
        return tuple(after), Moments(tuple(first), tuple(second), (steps,))


def for_each(numbers: Tensor, like: Tensor) -> Tensor:
    """One number for each lifetime, ``(E,)``, in a shape that multiplies ``(E, ...)``."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1))
