"""What a learner is: pure functions of a state, so that one lifetime or a thousand run through the same code.

A learner answers before it is told. In one inner step, ``predict`` answers an input and ``update`` learns from its
target. Everything that changes within a lifetime lives in the state, with the lifetimes ``E`` as leading axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

State = TypeVar("State")


class Learner(nn.Module, Generic[State]):
    """Base of all meta-trainable learners; its parameters are the meta-parameters.

    Subclasses implement :meth:`init`, :meth:`predict`, :meth:`update` and, if part of them is frozen within a
    lifetime, :meth:`encode`. A state is any nest of tuples of tensors whose leading axis is ``E``.

    Attributes:
        settings: the constructor's arguments by name, enough to build the learner again.
    """

    settings: Mapping[str, Any]

    def init(self, n: int) -> State:
        """The state at birth of ``n`` lifetimes."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The part of the answer that no lifetime changes, ``(..., *input) -> (..., features)``.

        It depends on meta-parameters only, so that a whole lifetime's inputs are encoded at once. By default: the
        input itself.
        """
        return x

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, State]:
        """Answers encoded inputs ``(E, B, features)`` with ``(E, B, n_y)``, without learning from them."""
        raise NotImplementedError

    def update(self, state: State, y: Tensor) -> State:
        """Learns from the targets ``(E, B, n_y)`` of the inputs answered last; keeps the state's structure."""
        raise NotImplementedError

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """The meta-parameters by kind, each kind with a learning rate of its own in the outer loop."""
        raise NotImplementedError

    @torch.no_grad()
    def constrain(self) -> None:
        """Brings meta-parameters back into their valid range after an outer step. By default: nothing."""

    def named_meta_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every meta-parameter with its name, in a fixed order."""
        return self.named_parameters()
