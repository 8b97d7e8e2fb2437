"""What the closed-form meta-gradient covers, and the mathematics of one inner step of it.

A *plastic chain* is the tail of an FLP network: layers with fast weights, each with a direct feedback pathway of one
map. With ``x_0`` the features, ``x_i`` the activity of layer ``i``, ``y`` the target, one inner step is::

    x_i = relu(W_i x_{i-1} + c_i)                 the output layer without relu
    s   = y - x_N                                 or y
    b_i = (1 - beta_i) x_i + beta_i relu(B_i s + b_i)
    U_i = b_i^T a_i - sum_n b_i^2 * W_i           a_i is x_{i-1}, or b_{i-1}; Hebb's rule lacks the decay
    W_i <- W_i + alpha_i * U_i

Backwards, with ``G`` the gradient of the weights after the step, ``q = sum_n b^2`` and ``*`` element by element::

    d alpha += G * U
    d b      = a (G * alpha)^T - 2 b rowsum(G * alpha * W)
    d a      = b (G * alpha)
    G       <- G - G * alpha * q

then through the feedback and the layers as in any network. Where the loss also depends on the predictions along the
way, the output's activity of every step gets its share once it has come through the feedback, before the layers::

    d x_N   += d loss / d prediction

Oja's step can also be undone, from activities alone::

    W_before = (W_after - alpha * b^T a) / (1 - alpha * q)
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


class NotCovered(Exception):
    """Why a learner's plastic tail is not a plain chain.

    Args:
        reason: in words.
        surprising: whether a user of this learner may have expected otherwise.
    """

    def __init__(self, reason: str, *, surprising: bool) -> None:
        super().__init__(reason)
        self.surprising = surprising


@dataclass(frozen=True)
class Form:
    """Which of the variants a chain is.

    Attributes:
        decay: Oja's rule; without: Hebb's.
        error_signal: feedback carries ``y - x_N``; without: ``y``.
        rectified: feedback pathways end in a ReLU.
        clamped_output: the output's activity after feedback is the target.
        presynaptic_after_feedback: plasticity sees presynaptic activity after feedback.
        coefficient_units: what each layer's coefficients are multiplied by.
    """

    decay: bool
    error_signal: bool
    rectified: bool
    clamped_output: bool
    presynaptic_after_feedback: bool
    coefficient_units: tuple[float, ...]


@dataclass(frozen=True)
class ChainTensors:
    """The tensors of a chain, each a tuple with one for every layer.

    Attributes:
        weights: ``(E, out, in)`` at the start.
        biases: ``(E, out)``.
        coefficients: whatever broadcasts to ``(out, in)``.
        strengths: scalars.
        feedback_weights: ``(out, n_y)``.
        feedback_biases: ``(out,)``.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    coefficients: tuple[Tensor, ...]
    strengths: tuple[Tensor, ...]
    feedback_weights: tuple[Tensor, ...]
    feedback_biases: tuple[Tensor, ...]

    def flat(self) -> list[Tensor]:
        """All of them in the order of the fields."""
        return [tensor for field in fields(self) for tensor in getattr(self, field.name)]

    @classmethod
    def from_flat(cls, tensors: tuple[Tensor, ...]) -> ChainTensors:
        """The inverse of :meth:`flat`."""
        layers = len(tensors) // len(fields(cls))
        return cls(*(tuple(tensors[i : i + layers]) for i in range(0, len(tensors), layers)))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """``(out, in)`` of every layer."""
        return [(w.shape[1], w.shape[2]) for w in self.weights]


class ChainEngine(Protocol):
    """Takes a batch of lifetimes through inner steps ``start..stop``, forward and backward, in place.

    Weights, kept activities and kept weights are flat tensors whose layout is the engine's own.

    Attributes:
        weight_size: values in one set of weights of all lifetimes.
        activity_size: values to keep for each inner step.
    """

    weight_size: int
    activity_size: int

    def pack(self, weights: tuple[Tensor, ...]) -> Tensor:
        """``(E, out, in)`` of every layer as a new flat tensor."""
        ...

    def unpack(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The inverse of :meth:`pack`."""
        ...

    def copy(self, flat: Tensor) -> Tensor:
        """A copy of packed weights."""
        ...

    def forward(
        self,
        weights: Tensor,
        start: int,
        stop: int,
        activity: Tensor | None = None,
        history: Tensor | None = None,
        predictions: Tensor | None = None,
    ) -> float:
        """Runs through the steps.

        Args:
            weights: changed in place.
            start: first inner step.
            stop: one after the last.
            activity: ``(steps, activity_size)`` to keep activities in.
            history: ``(steps, weight_size)`` to keep the weights before every step in.
            predictions: ``(E, T, B, n_y)`` to put those of the steps into.

        Returns:
            An upper bound on how much an error may grow when these steps are undone, huge if one of them cannot be; of
            use only where activity is kept and history is not.
        """
        ...

    def replay(self, weights: Tensor, start: int, stop: int, activity: Tensor, history: Tensor) -> None:
        """Fills ``history`` from kept activities; ``weights``, those before ``start``, are changed in place."""
        ...

    def backward(
        self,
        grad: Tensor,
        weights: Tensor | None,
        start: int,
        stop: int,
        activity: Tensor,
        history: Tensor | None,
        of_predictions: Tensor | None = None,
    ) -> None:
        """Carries the gradient of the weights after the steps to those before them, in place.

        Args:
            grad: packed gradient, changed in place.
            weights: those after the last step, which are undone in place; or none, with ``history``.
            start: first inner step.
            stop: one after the last.
            activity: as kept by :meth:`forward`.
            history: as kept by :meth:`forward` or made by :meth:`replay`.
            of_predictions: ``(E, T, B, n_y)`` gradient of the predictions along the way, contiguous; none: 0.
        """
        ...

    def take_gradients(self) -> tuple[Tensor, ChainTensors]:
        """Of the features ``(E, T, B, in)`` and of all tensors but the weights, over all steps taken backward so far.

        The next backward pass begins with none.
        """
        ...


def sum_to(grad: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of what was broadcast from ``shape``."""
    return grad.sum_to_size(shape) if grad.shape != shape else grad
