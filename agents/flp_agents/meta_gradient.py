"""How the query loss is differentiated through a lifetime: swappable strategies.

A strategy runs the support steps; what it keeps of them decides the gradient's cost in memory and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from flp_agents.learner import Learner


def inner_loop(learner: Learner[Any], state: Any, features: Tensor, targets: Tensor) -> Any:
    """Answers and learns, step after step.

    Args:
        learner: who learns.
        state: of ``E`` lifetimes.
        features: ``(E, T, B, ...)`` encoded inputs.
        targets: ``(E, T, B, n_y)``.

    Returns:
        The state after the last step.
    """
    for x, y in zip(features.unbind(1), targets.unbind(1), strict=True):
        _, state = learner.predict(state, x)
        state = learner.update(state, y)
    return state


class MetaGradient(Protocol):
    """A way to live through the support steps so that what comes out can be differentiated."""

    def live(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor) -> Any:
        """The arguments and the result of :func:`inner_loop`."""
        ...


@dataclass(frozen=True)
class Full:
    """The exact gradient, by automatic differentiation; memory grows with the number of inner steps."""

    def live(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor) -> Any:
        return inner_loop(learner, state, features, targets)
