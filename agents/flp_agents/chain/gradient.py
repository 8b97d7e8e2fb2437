"""Ties a chain engine into autograd: what is kept on the way forward decides how the way back is walked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flp_agents.chain.build import NotBuilt, load_library
from flp_agents.chain.description import ChainEngine, ChainTensors, Form, NotCovered
from flp_agents.chain.native_engine import NativeEngine
from flp_agents.chain.torch_engine import TorchEngine

__all__ = ["Keep", "NotCovered", "engine_name", "live", "make_engine"]

# Walking back may magnify rounding errors this much in one segment; beyond, the segment is replayed.
MOST_MAGNIFIED = 100.0


@dataclass(frozen=True)
class Keep:
    """What of a lifetime to keep for the way back.

    Attributes:
        every: inner steps in a segment; the weights at the start of each are kept. None: one segment.
        activity: keep every step's activity. Without, each segment is lived once more.
        weights: keep the weights before every step. Without, they are walked back, step by step.
    """

    every: int | None = None
    activity: bool = True
    weights: bool = True


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


def live(form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor, keep: Keep) -> tuple[Tensor, ...]:
    """The weights after all inner steps, differentiable in everything but the targets.

    Args:
        form: which variant of the chain.
        tensors: of the chain.
        features: ``(E, T, B, in)``.
        targets: ``(E, T, B, n_y)``.
        keep: for the way back.

    Returns:
        For every layer ``(E, out, in)``.
    """
    if not torch.is_grad_enabled():
        engine = make_engine(form, tensors, features, targets)
        weights = engine.pack(tensors.weights)
        engine.forward(weights, 0, features.shape[1])
        return engine.unpack(weights)
    result: tuple[Tensor, ...] = _Lived.apply(form, keep, features, targets, *tensors.flat())  # type: ignore[no-untyped-call]
    return result


class _Lived(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: Form, keep: Keep, features: Tensor, targets: Tensor, *flat: Tensor) -> Any:
        tensors = ChainTensors.from_flat(flat)
        steps = features.shape[1]
        engine = make_engine(form, tensors, features, targets)
        every = keep.every or steps
        ctx.segments = [(start, min(start + every, steps)) for start in range(0, steps, every)]
        ctx.activity = features.new_empty(steps, engine.activity_size) if keep.activity else None
        ctx.history = features.new_empty(steps, engine.weight_size) if keep.weights else None
        ctx.starts, ctx.magnified = [], []
        weights = engine.pack(tensors.weights)
        for start, stop in ctx.segments:
            if ctx.history is None:
                ctx.starts.append(weights.clone())
            ctx.magnified.append(
                engine.forward(weights, start, stop, _part(ctx.activity, start, stop), _part(ctx.history, start, stop))
            )
        ctx.engine, ctx.weights = engine, weights
        return engine.unpack(weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *output_grads: Tensor) -> Any:
        engine: ChainEngine = ctx.engine
        grad = engine.pack(output_grads)
        end = ctx.weights
        for number in reversed(range(len(ctx.segments))):
            start, stop = ctx.segments[number]
            activity, history = _part(ctx.activity, start, stop), _part(ctx.history, start, stop)
            weights = None if history is not None else end.clone()
            if activity is None:
                weights = ctx.starts[number].clone()
                activity = grad.new_empty(stop - start, engine.activity_size)
                history = grad.new_empty(stop - start, engine.weight_size)
                engine.forward(weights, start, stop, activity, history)
            elif history is None and ctx.magnified[number] > MOST_MAGNIFIED:
                weights = ctx.starts[number].clone()
                history = grad.new_empty(stop - start, engine.weight_size)
                engine.replay(weights, start, stop, activity, history)
            engine.backward(grad, weights, start, stop, activity, history)
            end = ctx.starts[number] if ctx.starts else None
        grad_features, grads = engine.take_gradients()
        return (None, None, grad_features, None, *engine.unpack(grad), *grads.flat())


def _part(kept: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if kept is None else kept[start:stop]
