"""What a feedback pathway is, and the registry of pathways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flp_base.errors import FLPError
from flp_base.registry import Registry, RegistryError

Made = TypeVar("Made", bound="type[Pathway]")


class Pathway(nn.Module):
    """The feedback of one plastic layer; its parameters are meta-parameters.

    Subclasses take the feedback's settings (:class:`~flp_agents.learners.feedback.Feedback`), the number of output
    units, the number of the layer's units, and a generator for their initial weights.
    """

    def __init__(self, feedback: Any, outputs: int, units: int, generator: torch.Generator) -> None:
        super().__init__()

    def forward(self, signal: Tensor) -> Tensor:
        """From the signal ``(E, B, n_y)``, an error or a target, to what the layer receives, ``(E, B, units)``."""
        raise NotImplementedError

    def make_positive(self) -> None:
        """Makes the initial weights positive, for the output's own pathway.

        Raises:
            FLPError: if this kind of pathway has no such weights.
        """
        raise FLPError(f"{type(self).__name__} has no weights that can start positive: leave positive_output out")


def _check(name: str, made: Any) -> None:
    if not (isinstance(made, type) and issubclass(made, Pathway)):
        raise RegistryError(f"expected the feedback pathway {name!r} to be a subclass of Pathway, got {made!r}")


#: By the name that ``Feedback(pathway=...)`` takes.
PATHWAYS: Registry[type[Pathway]] = Registry(
    "feedback pathway", package="flp_agents.learners.pathways", entry_points="flp_envs.pathways", check=_check
)


def register_pathway(name: str) -> Callable[[Made], Made]:
    """Makes a feedback pathway known by a name, as a decorator of its class: ``flp train --feedback-pathway NAME``.

    Raises:
        RegistryError: if it is no :class:`Pathway`, or if another one has this name.
    """
    return PATHWAYS.register(name)
