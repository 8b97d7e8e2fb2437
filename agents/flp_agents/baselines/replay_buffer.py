"""All pairs that lifetimes have met, for learners that forget none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Minibatch(NamedTuple):
    """Pairs that ``E`` lifetimes met in one step.

    Attributes:
        x: ``(E, B, *input)``.
        y: ``(E, B, n_y)``.
        met: ``(E,)`` bool: a lifetime that began later has not met them.
        box: ``(E, 2, inputs)``, the least and the largest of each input; nothing where they are not needed.
    """

    x: Tensor
    y: Tensor
    met: Tensor
    box: tuple[Tensor, ...] = ()


SeenPairs = tuple[Minibatch, ...]


def minibatch(x: Tensor, y: Tensor, received: Tensor | None = None, *, boxed: bool = False) -> Minibatch:
    """One step of the lifetimes ``(E,)`` that received its targets; none: all."""
    met = torch.ones(len(y), dtype=torch.bool, device=y.device) if received is None else received.to(y.device)
    box = (torch.stack([x.amin(1), x.amax(1)], 1),) if boxed else ()
    return Minibatch(x, y, met, box)


def choose(mask: Tensor, yes: SeenPairs, no: SeenPairs) -> SeenPairs:
    """Each lifetime's pairs from ``yes`` where the mask ``(E,)`` holds, else from ``no``.

    What the two share, from the beginning, is not kept twice.
    """
    shared = 0
    while shared < min(len(yes), len(no)) and yes[shared] is no[shared]:
        shared += 1
    parts = ((yes, mask), (no, ~mask))
    own = [step._replace(met=step.met & some.to(step.met.device)) for seen, some in parts for step in seen[shared:]]
    return (*yes[:shared], *(step for step in own if step.met.any()))


def join(seen: SeenPairs) -> tuple[Tensor, Tensor, Tensor]:
    """All steps as one: ``(E, N, *input)``, ``(E, N, n_y)`` and, for each pair, whether it was met, ``(E, N)``."""
    x, y = torch.cat([step.x for step in seen], 1), torch.cat([step.y for step in seen], 1)
    met = torch.stack([step.met for step in seen], 1)
    return x, y, met.repeat_interleave(torch.tensor([step.y.shape[1] for step in seen], device=y.device), 1)


def by_number(seen: SeenPairs) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All pairs, lifetimes that have met equally many together.

    Yields:
        ``(n,)`` the lifetimes, and their pairs as ``(n, N, *input)`` and ``(n, N, n_y)``.
    """
    if not seen:
        return
    x, y, met = join(seen)
    numbers = met.sum(1)
    for number in sorted(set(numbers.tolist())):
        some = (numbers == number).nonzero().squeeze(1)
        mine = met[some]
        yield some, *(values[some][mine].reshape(len(some), number, *values.shape[2:]) for values in (x, y))
