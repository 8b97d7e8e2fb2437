"""What a learner is to predict: numbers, or one of several classes; and how its predictions are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from gymnasium import spaces
from torch import Tensor

from flp_agents.support.savable import register_class
from flp_base.errors import FLPError, check_at_least
from flp_base.machine_memory import check_fits


class IncompatibleSpaces(FLPError, ValueError):
    """An environment whose observations or targets a learner cannot take."""


class Objective(Protocol):
    """Joins a network's output units with an environment's targets and predictions.

    Attributes:
        metric: "mse" or "error_percent".
    """

    metric: str

    def targets(self, y: Tensor) -> Tensor:
        """An environment's targets ``(..., *target)`` as what the output units should be, ``(..., outputs)``."""
        ...

    def losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of each lifetime, ``(E, ..., outputs)`` twice to ``(E,)``, differentiable."""
        ...

    def scores(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The metric of each lifetime, of the same shapes."""
        ...

    def gradient(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Of the mean loss over each minibatch in its predictions, ``(E, B, outputs)`` twice to the same."""
        ...

    def actions(self, predictions: Tensor) -> Tensor:
        """Predictions ``(..., outputs)`` as the environment takes them."""
        ...

    def score_of_return(self, returned: float) -> float:
        """The metric of an episode from what the environment's rewards add up to."""
        ...


@register_class
@dataclass(frozen=True)
class SquaredError:
    """Numbers, as close to the targets as can be."""

    metric = "mse"

    def targets(self, y: Tensor) -> Tensor:
        return y

    def losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions - targets).square().flatten(1).mean(1)

    scores = losses

    def gradient(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions - targets) * (2.0 / (predictions.shape[1] * predictions.shape[2]))

    def actions(self, predictions: Tensor) -> Tensor:
        return predictions

    def score_of_return(self, returned: float) -> float:
        return -returned


@register_class
@dataclass(frozen=True)
class CrossEntropy:
    """One of several classes: the first output units, one for each.

    Attributes:
        classes: how many.
        outputs: output units of the network, at least as many; no use is made of the others.
    """

    classes: int
    outputs: int
    metric = "error_percent"

    def __post_init__(self) -> None:
        check_at_least("classes", self.classes, 2)
        check_at_least("outputs", self.outputs, self.classes)

    def targets(self, y: Tensor) -> Tensor:
        size = 8 * y.numel() * self.outputs
        check_fits(f"{y.numel()} labels as {self.outputs} numbers each", size, "use fewer lifetimes at once or classes")
        return torch.nn.functional.one_hot(y.long(), self.outputs)

    def losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        used, right = predictions[..., : self.classes], targets[..., : self.classes]
        return -(torch.log_softmax(used, -1) * right).sum(-1).flatten(1).mean(1)

    def scores(self, predictions: Tensor, targets: Tensor) -> Tensor:
        wrong = self.actions(predictions) != self.actions(targets)
        return 100.0 * wrong.to(predictions.dtype).flatten(1).mean(1)

    def gradient(self, predictions: Tensor, targets: Tensor) -> Tensor:
        used, right = predictions[..., : self.classes], targets[..., : self.classes]
        gradient = (torch.softmax(used, -1) - right) / predictions.shape[1]
        return torch.nn.functional.pad(gradient, (0, predictions.shape[-1] - self.classes))

    def actions(self, predictions: Tensor) -> Tensor:
        return predictions[..., : self.classes].argmax(-1)

    def score_of_return(self, returned: float) -> float:
        return 100.0 * (1.0 - returned)


def objective_of(env: Any, outputs: int = 0) -> Objective:
    """What an environment asks for.

    Args:
        env: any that speaks the episode protocol, single or vector.
        outputs: output units of the network, if it has more than there are classes.

    Raises:
        IncompatibleSpaces: unless it shows inputs, and its targets are numbers or labels.
    """
    space = getattr(env, "single_observation_space", env.observation_space)
    y = space.spaces.get("y") if isinstance(space, spaces.Dict) and "x" in space.spaces else None
    if isinstance(y, spaces.Discrete) and y.start == 0:
        return CrossEntropy(int(y.n), max(int(y.n), outputs))
    if isinstance(y, spaces.Box):
        return SquaredError()
    raise IncompatibleSpaces(
        "expected an observation space with x, and with y of numbers (Box) or labels from 0 (Discrete), "
        f"got {in_words(space)}"
    )


def in_words(space: spaces.Space[Any], *, bounds: bool = False) -> str:
    """A space in one line, with the smallest and largest of its numbers' bounds or without any."""
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{key}: {in_words(part, bounds=bounds)}' for key, part in space.spaces.items())})"
    if isinstance(space, spaces.Box):
        limits = f", {float(space.low.min()):g} to {float(space.high.max()):g}" if bounds else ""
        return f"Box({space.shape}, {space.dtype}{limits})"
    return " ".join(str(space).split())
