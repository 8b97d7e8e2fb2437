"""The frozen layers below the plastic tail: a lifetime's inputs at once, in blocks that stay in the cache.

On a CPU in float32 the products go through oneDNN's linear operation, which torch itself keeps for compiled
graphs: on the machine that this was measured on, twice as fast in the forward direction as ``nn.functional.linear``.
Elsewhere, and where torch lacks that operation, the layers are ordinary torch operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flp_agents.support.precision import usable_precision

# Inputs in a block: a block's activities of two layers fit the cache, and its products are large enough.
_BLOCK = 2048


def features_of(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], precision: str = "float32") -> Tensor:
    """Runs inputs ``(..., in)`` through layers with ReLU, to ``(..., out)``.

    Args:
        x: inputs.
        weights: ``(out, in)`` of every layer.
        biases: ``(out,)``.
        precision: of the products of all layers but the first: "float32" is that of the weights, "bfloat16" has a
            third of its digits and twice its speed; see :func:`~flp_agents.support.precision.usable_precision` for
            where.

    Raises:
        InvalidChoice: for an unknown precision.
    """
    precision = usable_precision(precision, x.device)
    if not weights:
        return x
    if x.device.type == "cpu" and x.dtype == torch.float32 and _has_fused_linear():
        result: Tensor = _Blocks.apply(x, precision, len(weights), *weights, *biases)  # type: ignore[no-untyped-call]
        return result
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        blocks = torch.split(x.reshape(-1, x.shape[-1]), _BLOCK)
        return torch.cat([_layer_by_layer(block, weights, biases, precision) for block in blocks]).view(
            *x.shape[:-1], -1
        )
    return _layer_by_layer(x, weights, biases, precision)


def _layer_by_layer(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], precision: str) -> Tensor:
    features = x
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if i == 1 and precision == "bfloat16":
            features = features.bfloat16()
        features = torch.relu(torch.nn.functional.linear(features, weight.to(features.dtype), bias.to(features.dtype)))
    return features.to(x.dtype)


def _has_fused_linear() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def fastest_product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right.T`` of two matrices, the way that the trunk is multiplied on their device."""
    fused = left.device.type == "cpu" and _has_fused_linear()
    return _linear(left, right, None) if fused else torch.nn.functional.linear(left, right)


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, precision: str, layers: int, *parameters: Tensor) -> Tensor:
        kinds = [torch.float32] + [torch.bfloat16 if precision == "bfloat16" else torch.float32] * (layers - 1)
        weights = [w.to(kind) for w, kind in zip(parameters[:layers], kinds, strict=True)]
        biases = [b.to(kind) for b, kind in zip(parameters[layers:], kinds, strict=True)]
        ctx.kinds, ctx.weights, ctx.shape = kinds, weights, x.shape
        keep = any(ctx.needs_input_grad)
        ctx.blocks = []
        rows = x.reshape(-1, x.shape[-1])
        out = x.new_empty(len(rows), weights[-1].shape[0])
        for block, to in zip(torch.split(rows, _BLOCK), torch.split(out, _BLOCK), strict=True):
            activity = [block]
            for weight, bias, kind in zip(weights, biases, kinds, strict=True):
                # The fused ReLU would make 0 of what is not a number, and hide it.
                value = _linear(activity[-1].to(kind), weight, bias).relu_()
                activity = [*activity, value] if keep else [value]
            to.copy_(activity[-1])
            if keep:
                ctx.blocks.append(activity)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        weights: list[Tensor] = ctx.weights
        transposed = [w.t().contiguous() for w in weights]
        weight_grads = [torch.zeros(w.shape) for w in weights]
        bias_grads = [torch.zeros(w.shape[0]) for w in weights]
        needs_x = ctx.needs_input_grad[0]
        x_grads = []
        blocks = torch.split(grad.reshape(-1, grad.shape[-1]), _BLOCK)
        for activity, delta in zip(ctx.blocks, blocks, strict=True):
            for i in reversed(range(len(weights))):
                kind = ctx.kinds[i]
                delta = torch.ops.aten.threshold_backward(delta.to(kind), activity[i + 1], 0)
                bias_grads[i] += delta.sum(0)
                if kind == torch.float32:
                    weight_grads[i].addmm_(delta.t(), activity[i])
                else:
                    weight_grads[i] += delta.t() @ activity[i].to(kind)
                if i or needs_x:
                    delta = _linear(delta, transposed[i], None)
            if needs_x:
                x_grads.append(delta)
        x_grad = torch.cat(x_grads).view(ctx.shape) if needs_x else None
        return (x_grad, None, None, *weight_grads, *bias_grads)
