"""The plastic chain in C++, for CPUs: hands tensors to ``plastic_chain/plastic_chain.cpp`` and takes them back."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from flp_agents.closed_form.build import load_library
from flp_agents.closed_form.description import ChainTensors, Form, sum_to

# Fields of a form that the library reads, in its order.
_FORM = ("decay", "error_signal", "rectified", "clamped_output", "presynaptic_after_feedback")


class _Layer(ctypes.Structure):
    """``FlpLayer`` in ``plastic_chain/interface.h``."""

    _fields_ = [
        ("out", ctypes.c_long),
        ("into", ctypes.c_long),
        ("coefficients", ctypes.c_void_p),
        ("min_coefficients", ctypes.c_void_p),
        ("max_coefficients", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
        ("feedback_weights", ctypes.c_void_p),
        ("feedback_biases", ctypes.c_void_p),
        ("strength", ctypes.c_double),
        ("grad_feedback_weights", ctypes.c_void_p),
        ("grad_feedback_biases", ctypes.c_void_p),
        ("grad_biases", ctypes.c_void_p),
    ]


class _Chain(ctypes.Structure):
    """``FlpChain``, in the same file."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("layers", "lifetimes", "steps", "batch", "outputs", "threads")),
        *((name, ctypes.c_int) for name in _FORM),
        ("layer", ctypes.POINTER(_Layer)),
        ("features", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("grad_features", ctypes.c_void_p),
        ("grad_coefficients", ctypes.c_void_p),
        ("grad_strengths", ctypes.c_void_p),
        ("predictions", ctypes.c_void_p),
        ("grad_predictions", ctypes.c_void_p),
    ]


_NUMBER, _POINTER = ctypes.c_long, ctypes.c_void_p
_ARGUMENTS = {
    "flp_forward": (_POINTER, _NUMBER, _NUMBER, _POINTER, _POINTER, _POINTER),
    "flp_replay": (_POINTER, _NUMBER, _NUMBER, _POINTER, _POINTER),
    "flp_backward": (_POINTER, _POINTER, _NUMBER, _NUMBER, _POINTER, _POINTER),
}


class NativeEngine:
    """A :class:`~flp_agents.closed_form.description.ChainEngine` on as many threads as torch uses.

    Args:
        form: which variant.
        tensors: of the chain, on the CPU.
        features: ``(E, T, B, in)``.
        targets: ``(E, T, B, n_y)``.

    Raises:
        NotBuilt: if the engine cannot be compiled here.
    """

    def __init__(self, form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor) -> None:
        self._engine = load_library(features.dtype)
        for name, arguments in _ARGUMENTS.items():
            function = getattr(self._engine, name)
            if function.argtypes is None:  # once: the library is one for all threads
                function.argtypes = (ctypes.POINTER(_Chain), *arguments)
        self.lanes = int(self._engine.flp_lanes())
        self.form, self.tensors, self.shapes = form, tensors, tensors.shapes
        self.features, self.targets = features.contiguous(), targets.contiguous()
        self.lifetimes, self.steps, self.batch, _ = features.shape
        self.outputs = targets.shape[3]
        self.strides = [self._padded(into) for _, into in self.shapes]
        self.sizes = [out * stride for (out, _), stride in zip(self.shapes, self.strides, strict=True)]
        self.weight_size = self.lifetimes * sum(self.sizes)
        self.activity_size = self.lifetimes * self._padded(self.batch) * sum(out for out, _ in self.shapes)
        self.threads = torch.get_num_threads()
        coefficients = [
            (c * unit).expand(shape)
            for c, unit, shape in zip(tensors.coefficients, form.coefficient_units, self.shapes, strict=True)
        ]
        extremes = [torch.aminmax(c, dim=1) for c in coefficients]
        self._inputs = {
            "coefficients": [self._wide(c, stride) for c, stride in zip(coefficients, self.strides, strict=True)],
            "min_coefficients": [e.min.contiguous() for e in extremes],
            "max_coefficients": [e.max.contiguous() for e in extremes],
            "biases": [b.contiguous() for b in tensors.biases],
            "feedback_weights": [self._wide(w, self._padded(self.outputs)) for w in tensors.feedback_weights],
            "feedback_biases": [b.contiguous() for b in tensors.feedback_biases],
        }
        self._strengths = [float(s) for s in tensors.strengths]
        self._grads: dict[str, list[Tensor]] | None = None

    def pack(self, weights: tuple[Tensor, ...]) -> Tensor:
        wide = [self._wide(w, stride).flatten(1) for w, stride in zip(weights, self.strides, strict=True)]
        return torch.cat(wide, 1).flatten()

    def unpack(self, flat: Tensor) -> tuple[Tensor, ...]:
        parts = zip(torch.split(flat.view(self.lifetimes, -1), self.sizes, 1), self.shapes, self.strides, strict=True)
        return tuple(p.reshape(self.lifetimes, out, stride)[..., :into] for p, (out, into), stride in parts)

    def copy(self, flat: Tensor) -> Tensor:
        # Not by torch: its threads, having helped, wait for more for a while, on the cores that the next call needs.
        copied = torch.empty_like(flat)
        ctypes.memmove(copied.data_ptr(), flat.data_ptr(), flat.numel() * flat.element_size())
        return copied

    def forward(
        self,
        weights: Tensor,
        start: int,
        stop: int,
        activity: Tensor | None = None,
        history: Tensor | None = None,
        predictions: Tensor | None = None,
    ) -> float:
        log_error_growth = torch.zeros(self.threads, dtype=torch.float64)
        self._call("flp_forward", weights, start, stop, activity, history, log_error_growth, predictions=predictions)
        return math.exp(min(float(log_error_growth.max()), 700.0))

    def replay(self, weights: Tensor, start: int, stop: int, activity: Tensor, history: Tensor) -> None:
        self._call("flp_replay", weights, start, stop, activity, history)

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
        if self._grads is None:
            self._begin_gradients()
        self._call("flp_backward", grad, weights, start, stop, activity, history, grad_predictions=of_predictions)

    def take_gradients(self) -> tuple[Tensor, ChainTensors]:
        grads, self._grads = self._grads, None
        assert grads is not None, "no step was taken backward"
        coefficients = torch.split(grads["coefficients"][0].sum(0), self.sizes)
        units = zip(coefficients, self.tensors.coefficients, self.form.coefficient_units, self.shapes, strict=True)
        strengths = grads["strengths"][0].sum(0)
        return grads["features"][0], ChainTensors(
            weights=(),
            biases=tuple(grads["biases"]),
            coefficients=tuple(
                sum_to(grad.view(out, -1)[:, :into] * unit, c.shape) for grad, c, unit, (out, into) in units
            ),
            strengths=tuple(g.to(s).reshape(s.shape) for g, s in zip(strengths, self.tensors.strengths, strict=True)),
            feedback_weights=tuple(g.sum(0)[:, : self.outputs] for g in grads["feedback_weights"]),
            feedback_biases=tuple(g.sum(0) for g in grads["feedback_biases"]),
        )

    def _padded(self, size: int) -> int:
        return -(-size // self.lanes) * self.lanes

    def _wide(self, tensor: Tensor, stride: int) -> Tensor:
        """The last axis padded with zeros."""
        wide = tensor.new_zeros(*tensor.shape[:-1], stride)
        wide[..., : tensor.shape[-1]] = tensor
        return wide

    def _begin_gradients(self) -> None:
        new, layers = self.features.new_zeros, len(self.shapes)
        teams = int(self._engine.flp_teams(ctypes.byref(self._describe())))
        self._grads = {
            "features": [torch.empty_like(self.features)],
            "coefficients": [new(teams, sum(self.sizes))],
            "strengths": [torch.zeros(self.threads, layers, dtype=torch.float64)],
            "biases": [new(self.lifetimes, out) for out, _ in self.shapes],
            "feedback_weights": [new(teams, out, self._padded(self.outputs)) for out, _ in self.shapes],
            "feedback_biases": [new(teams, out) for out, _ in self.shapes],
        }

    def _call(self, name: str, *arguments: Tensor | int | None, **of_steps: Tensor | None) -> None:
        chain = self._describe()
        for field, tensor in of_steps.items():
            setattr(chain, field, None if tensor is None else tensor.data_ptr())
        values = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        failure = getattr(self._engine, name)(ctypes.byref(chain), *values)
        if failure:
            raise MemoryError("out of memory" if failure == 1 else f"no {self.threads} threads to be had: use fewer")

    def _describe(self) -> _Chain:
        """The structure that the library reads; pointers into tensors that this object holds."""
        grads = self._grads or {}
        layers = (_Layer * len(self.shapes))()
        for i, (layer, (out, into)) in enumerate(zip(layers, self.shapes, strict=True)):
            layer.out, layer.into = out, into
            layer.strength = self._strengths[i]
            for name, tensors in self._inputs.items():
                setattr(layer, name, tensors[i].data_ptr())
            for name in ("biases", "feedback_weights", "feedback_biases"):
                if name in grads:
                    setattr(layer, f"grad_{name}", grads[name][i].data_ptr())
        chain = _Chain(layers=len(layers), layer=layers)
        for name in ("lifetimes", "steps", "batch", "outputs", "threads"):
            setattr(chain, name, getattr(self, name))
        for name in _FORM:
            setattr(chain, name, int(getattr(self.form, name)))
        chain.features, chain.targets = self.features.data_ptr(), self.targets.data_ptr()
        for name in ("features", "coefficients", "strengths"):
            if name in grads:
                setattr(chain, f"grad_{name}", grads[name][0].data_ptr())
        return chain
