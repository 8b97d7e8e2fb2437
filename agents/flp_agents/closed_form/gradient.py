"""Ties a chain engine into autograd: what is kept of the forward pass decides what the backward pass computes again."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flp_agents.closed_form.build import NotBuilt, load_library
from flp_agents.closed_form.description import ChainEngine, ChainTensors, Form, NotCovered
from flp_agents.closed_form.native_engine import NativeEngine
from flp_agents.closed_form.torch_engine import TorchEngine
from flp_agents.support.memory import OutOfMemory, free_bytes
from flp_base.machine_memory import readable

__all__ = ["Keep", "NotCovered", "engine_name", "make_engine", "predict", "rollout"]

# Undoing the steps of one segment may magnify rounding errors this much; beyond, the segment is replayed.
MAX_ERROR_GROWTH = 100.0


@dataclass(frozen=True)
class Keep:
    """What of a lifetime to keep for the backward pass.

    Attributes:
        every: inner steps in a segment; the weights at the start of each are kept. None: one segment.
        activity: keep every step's activity. Without, each segment is run forward once more.
        weights: keep the weights before every step. Without, steps are undone, one by one.
    """

    every: int | None = None
    activity: bool = True
    weights: bool = True

    def segments(self, steps: int) -> list[tuple[int, int]]:
        """The first step of each segment, and the one after its last."""
        every = self.every or steps
        return [(start, min(start + every, steps)) for start in range(0, steps, every)]

    def values(self, steps: int, weight_size: int, activity_size: int) -> int:
        """How many numbers are kept at most, in the backward pass too."""
        every = self.every or steps
        kept = steps * (activity_size * self.activity + weight_size * self.weights)
        if not self.weights:
            kept += (len(self.segments(steps)) + 1) * weight_size
        if not self.activity:
            kept += every * (activity_size + weight_size)
        return kept


def engine_name(device: torch.device, dtype: torch.dtype) -> str:
    """Which engine :func:`make_engine` chooses, and why not the faster one."""
    if device.type != "cpu":
        return "in torch operations"
    try:
        load_library(dtype)
    except NotBuilt as reason:
        return f"in torch operations ({reason})"
    return "in C++"


def make_engine(form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor) -> ChainEngine:
    """The C++ engine where it can be had, else the torch engine."""
    if features.device.type == "cpu":
        try:
            return NativeEngine(form, tensors, features, targets)
        except NotBuilt:
            pass
    return TorchEngine(form, tensors, features, targets)


def rollout(form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor, keep: Keep) -> tuple[Tensor, ...]:
    """The weights after all inner steps, differentiable in everything but the targets.

    Args:
        form: which variant of the chain.
        tensors: of the chain.
        features: ``(E, T, B, in)``.
        targets: ``(E, T, B, n_y)``.
        keep: for the backward pass.

    Returns:
        For every layer ``(E, out, in)``.
    """
    return _rollout(form, tensors, features, targets, keep, online=False)


def predict(
    form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor, keep: Keep
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same, and before it the predictions along the way ``(E, T, B, n_y)``, which are as differentiable."""
    predictions, *weights = _rollout(form, tensors, features, targets, keep, online=True)
    return predictions, tuple(weights)


def _rollout(
    form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor, keep: Keep, *, online: bool
) -> tuple[Tensor, ...]:
    """The final weights, after the predictions if these are wanted."""
    if not torch.is_grad_enabled():
        engine = make_engine(form, tensors, features, targets)
        weights, predictions = engine.pack(tensors.weights), _room_for_predictions(features, targets, online)
        engine.forward(weights, 0, features.shape[1], predictions=predictions)
        return (*_given(predictions), *engine.unpack(weights))
    result: tuple[Tensor, ...] = _Rollout.apply(form, keep, online, features, targets, *tensors.flat())  # type: ignore[no-untyped-call]
    return result


def _room_for_predictions(features: Tensor, targets: Tensor, online: bool) -> Tensor | None:
    return features.new_empty(targets.shape) if online else None


def _given(tensor: Tensor | None) -> tuple[Tensor, ...]:
    return () if tensor is None else (tensor,)


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, form: Form, keep: Keep, online: bool, features: Tensor, targets: Tensor, *flat: Tensor
    ) -> Any:
        tensors = ChainTensors.from_flat(flat)
        engine = make_engine(form, tensors, features, targets)
        weights, predictions = engine.pack(tensors.weights), _room_for_predictions(features, targets, online)
        ctx.online = online
        ctx.through = _Pass(engine, keep, weights, features.shape[1])
        ctx.through.forward(weights, predictions)
        return (*_given(predictions), *engine.unpack(weights))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *output_grads: Tensor) -> Any:
        engine: ChainEngine = ctx.through.engine
        of_predictions = output_grads[0].contiguous() if ctx.online else None
        grad = engine.pack(output_grads[ctx.online :])
        ctx.through.backward(grad, of_predictions)
        features, grads = engine.take_gradients()
        return (None, None, None, features, None, *engine.unpack(grad), *grads.flat())


class _Pass:
    """One way through a lifetime, forward and backward."""

    def __init__(self, engine: ChainEngine, keep: Keep, weights: Tensor, steps: int) -> None:
        _check_memory(engine, keep, weights, steps)
        self.engine, self.keep, self.like = engine, keep, weights
        self.segments = keep.segments(steps)
        # Fresh memory for each lifetime: threads must share no buffer, see docs/meta-gradient.md.
        self.activity = weights.new_empty(steps, engine.activity_size) if keep.activity else None
        self.history = weights.new_empty(steps, engine.weight_size) if keep.weights else None
        self.ends: list[Tensor] = []  # the weights before the first segment, then after each
        self.error_growth: list[float] = []

    def forward(self, weights: Tensor, predictions: Tensor | None) -> None:
        for start, stop in self.segments:
            if self.history is None:
                self.ends.append(self.engine.copy(weights))
            activity, history = _part(self.activity, start, stop), _part(self.history, start, stop)
            self.error_growth.append(self.engine.forward(weights, start, stop, activity, history, predictions))
        self.ends.append(self.engine.copy(weights))

    def backward(self, grad: Tensor, of_predictions: Tensor | None) -> None:
        longest = max(stop - start for start, stop in self.segments)

        @functools.cache
        def of_a_segment(kind: str, size: int) -> Tensor:
            """One buffer for all segments; each overwrites what the one before left."""
            return self.like.new_empty(longest, size)

        for number in reversed(range(len(self.segments))):
            start, stop = self.segments[number]
            activity, history = _part(self.activity, start, stop), _part(self.history, start, stop)
            weights = None
            if activity is None:
                activity = of_a_segment("activity", self.engine.activity_size)[: stop - start]
                history = of_a_segment("history", self.engine.weight_size)[: stop - start]
                self.engine.forward(self.engine.copy(self.ends[number]), start, stop, activity, history)
            elif history is None and self.error_growth[number] > MAX_ERROR_GROWTH:
                history = of_a_segment("history", self.engine.weight_size)[: stop - start]
                self.engine.replay(self.engine.copy(self.ends[number]), start, stop, activity, history)
            elif history is None:
                weights = self.engine.copy(self.ends[number + 1])
            self.engine.backward(grad, weights, start, stop, activity, history, of_predictions)


def _part(kept: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if kept is None else kept[start:stop]


def _check_memory(engine: ChainEngine, keep: Keep, weights: Tensor, steps: int) -> None:
    """Raises :class:`OutOfMemory`, naming what would fit, before anything is allocated."""
    if weights.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return
    free = free_bytes(weights.device)

    def size(keep: Keep) -> int:
        return keep.values(steps, engine.weight_size, engine.activity_size) * weights.element_size()

    if free is None:
        return
    if size(keep) <= free:
        return
    square_root = max(1, math.isqrt(steps))
    others = {
        "Reversible": Keep(square_root, activity=True, weights=False),
        "Checkpointed": Keep(square_root, activity=False, weights=False),
    }
    fitting = [f"{name} needs {readable(size(other))}" for name, other in others.items() if size(other) <= free]
    advice = f"use another strategy: {', '.join(fitting)}" if fitting else "use fewer lifetimes or a narrower network"
    raise OutOfMemory(
        f"the meta-gradient through {steps} inner steps would keep {readable(size(keep))}, and {readable(free)} are "
        f"free: {advice}"
    )
