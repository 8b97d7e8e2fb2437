"""The plastic chain in torch operations, for any device: the mathematics of ``description.py``, line by line.

Every tensor of the loop is allocated once; the operations write into them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from flp_agents.closed_form.description import ChainTensors, Form, sum_to


class TorchEngine:
    """A :class:`~flp_agents.closed_form.description.ChainEngine`.

    Args:
        form: which variant.
        tensors: of the chain.
        features: ``(E, T, B, in)``.
        targets: ``(E, T, B, n_y)``.
    """

    def __init__(self, form: Form, tensors: ChainTensors, features: Tensor, targets: Tensor) -> None:
        self.form, self.tensors, self.features, self.targets = form, tensors, features, targets
        self.shapes = tensors.shapes
        self.last = len(self.shapes) - 1
        lifetimes, _, batch, _ = features.shape
        self.lifetimes, self.batch = lifetimes, batch
        self.weight_size = sum(lifetimes * out * into for out, into in self.shapes)
        self.activity_size = sum(lifetimes * batch * out for out, _ in self.shapes)
        self.coefficients = [
            (c * unit).expand(shape).contiguous()
            for c, unit, shape in zip(tensors.coefficients, form.coefficient_units, self.shapes, strict=True)
        ]
        self.extremes = [torch.aminmax(c, dim=1) for c in self.coefficients]
        new = features.new_empty
        self.signal = new(lifetimes, batch, targets.shape[3])
        self.fed = [new(lifetimes, batch, out) for out, _ in self.shapes]
        self.post = [new(lifetimes, batch, out) for out, _ in self.shapes]
        self.square = [new(lifetimes, 1, out) for out, _ in self.shapes]
        self.hebb = [new(lifetimes, out, into) for out, into in self.shapes]
        self.scratch_activity = new(self.activity_size)
        self._grads: ChainTensors | None = None

    def pack(self, weights: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([w.reshape(-1) for w in weights])

    def unpack(self, flat: Tensor) -> tuple[Tensor, ...]:
        sizes = [self.lifetimes * out * into for out, into in self.shapes]
        parts = zip(torch.split(flat, sizes), self.shapes, strict=True)
        return tuple(part.view(self.lifetimes, *shape) for part, shape in parts)

    def copy(self, flat: Tensor) -> Tensor:
        return flat.clone()

    def forward(
        self,
        weights: Tensor,
        start: int,
        stop: int,
        activity: Tensor | None = None,
        history: Tensor | None = None,
        predictions: Tensor | None = None,
    ) -> float:
        layers = self.unpack(weights)
        undone = activity is not None and history is None
        log_error_growth = torch.zeros((), dtype=torch.float64, device=weights.device)
        for t in range(start, stop):
            if history is not None:
                history[t - start].copy_(weights)
            kept = self._activity(self.scratch_activity if activity is None else activity[t - start])
            self._layers_forward(layers, t, kept)
            if predictions is not None:
                predictions[:, t].copy_(kept[-1])
            self._feedback_forward(t, kept)
            self._rule_step(layers, t, kept)
            if undone:
                log_error_growth += self._log_error_growth()
        # Asking for a number waits for the device, and cannot be recorded in a CUDA graph.
        return math.exp(min(float(log_error_growth), 700.0)) if undone else 1.0

    def replay(self, weights: Tensor, start: int, stop: int, activity: Tensor, history: Tensor) -> None:
        layers = self.unpack(weights)
        for t in range(start, stop):
            history[t - start].copy_(weights)
            kept = self._activity(activity[t - start])
            self._feedback_forward(t, kept)
            self._rule_step(layers, t, kept)

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
        self._grads = sums = self._grads or self._begin_gradients()
        grads = self.unpack(grad)
        for t in reversed(range(start, stop)):
            kept = self._activity(activity[t - start])
            self._feedback_forward(t, kept)
            if history is not None:
                layers = self.unpack(history[t - start])
            elif weights is not None:
                layers = self.unpack(weights)
            pres = self._presynaptic(t, kept)
            post_grads, pre_grads = [], []
            for i, (g, w, pre) in enumerate(zip(grads, layers, pres, strict=True)):
                d_post, d_pre = self._rule_backward(sums, i, g, w, pre, undo=history is None)
                post_grads.append(d_post)
                pre_grads.append(d_pre)
            if self.form.presynaptic_after_feedback:
                for i in range(self.last):
                    post_grads[i] += pre_grads[i + 1]
            activity_grads = self._feedback_backward(sums, kept, post_grads)
            if not self.form.presynaptic_after_feedback:
                for i in range(self.last):
                    activity_grads[i] += pre_grads[i + 1]
            if of_predictions is not None:
                activity_grads[-1] += of_predictions[:, t]
            self._layers_backward(sums, t, grads, layers, kept, activity_grads)
            self.grad_features[:, t] += pre_grads[0]

    def take_gradients(self) -> tuple[Tensor, ChainTensors]:
        grads, self._grads = self._grads, None
        assert grads is not None, "no step was taken backward"
        units = zip(grads.coefficients, self.tensors.coefficients, self.form.coefficient_units, strict=True)
        coefficients = tuple(sum_to(grad * unit, c.shape) for grad, c, unit in units)
        return self.grad_features, replace(grads, coefficients=coefficients)

    def _begin_gradients(self) -> ChainTensors:
        tensors = self.tensors
        self.grad_features = torch.zeros_like(self.features)
        self.scaled = [torch.empty_like(h) for h in self.hebb]
        self.scratch = [torch.empty_like(h) for h in self.hebb]
        return ChainTensors(
            weights=(),
            biases=tuple(torch.zeros(b.shape, dtype=b.dtype, device=b.device) for b in tensors.biases),
            coefficients=tuple(torch.zeros_like(c) for c in self.coefficients),
            strengths=tuple(torch.zeros_like(s) for s in tensors.strengths),
            feedback_weights=tuple(torch.zeros_like(w) for w in tensors.feedback_weights),
            feedback_biases=tuple(torch.zeros_like(b) for b in tensors.feedback_biases),
        )

    def _activity(self, flat: Tensor) -> list[Tensor]:
        """One step's activity of every layer, ``(E, B, out)``."""
        sizes = [self.lifetimes * self.batch * out for out, _ in self.shapes]
        parts = zip(torch.split(flat, sizes), self.shapes, strict=True)
        return [part.view(self.lifetimes, self.batch, out) for part, (out, _) in parts]

    def _inputs(self, t: int, activity: list[Tensor]) -> list[Tensor]:
        return [self.features[:, t], *activity[:-1]]

    def _presynaptic(self, t: int, activity: list[Tensor]) -> list[Tensor]:
        below = self.post if self.form.presynaptic_after_feedback else activity
        return [self.features[:, t], *below[:-1]]

    def _clamped(self, i: int) -> bool:
        return self.form.clamped_output and i == self.last

    def _layers_forward(self, weights: tuple[Tensor, ...], t: int, activity: list[Tensor]) -> None:
        inputs = self._inputs(t, activity)
        for i, (w, b, x, to) in enumerate(zip(weights, self.tensors.biases, inputs, activity, strict=True)):
            torch.baddbmm(b.unsqueeze(1), x, w.transpose(1, 2), out=to)
            if i < self.last:
                to.relu_()

    def _feedback_forward(self, t: int, activity: list[Tensor]) -> None:
        y = self.targets[:, t]
        if self.form.error_signal:
            torch.sub(y, activity[-1], out=self.signal)
        else:
            self.signal.copy_(y)
        signal = self.signal.flatten(0, 1)
        for i, (x, fed, post, square) in enumerate(zip(activity, self.fed, self.post, self.square, strict=True)):
            if self._clamped(i):
                post.copy_(y)
            else:
                weight, bias = self.tensors.feedback_weights[i], self.tensors.feedback_biases[i]
                torch.addmm(bias, signal, weight.t(), out=fed.view(-1, fed.shape[2]))
                if self.form.rectified:
                    fed.relu_()
                torch.lerp(x, fed, self.tensors.strengths[i], out=post)
            if self.form.decay:
                torch.sum(post.square(), dim=1, keepdim=True, out=square)

    def _rule_step(self, weights: tuple[Tensor, ...], t: int, activity: list[Tensor]) -> None:
        pres = self._presynaptic(t, activity)
        for i, (w, pre, post, hebb) in enumerate(zip(weights, pres, self.post, self.hebb, strict=True)):
            torch.bmm(post.transpose(1, 2), pre, out=hebb)
            if self.form.decay:
                hebb.addcmul_(self.square[i].transpose(1, 2), w, value=-1.0)
            w.addcmul_(self.coefficients[i], hebb)

    def _log_error_growth(self) -> Tensor:
        """Logarithm of how much an error may grow when the step just taken is undone."""
        if not self.form.decay:
            return torch.zeros((), dtype=torch.float64, device=self.features.device)
        most = []
        for square, (smallest, largest) in zip(self.square, self.extremes, strict=True):
            low, high = 1 - largest * square[:, 0], 1 - smallest * square[:, 0]
            least = torch.where(low > 0, low, torch.where(high < 0, -high, torch.zeros_like(low)))
            most.append(-least.clamp(max=1.0).double().log().amin())
        return torch.stack(most).amax()

    def _rule_backward(
        self, sums: ChainTensors, i: int, g: Tensor, w: Tensor, pre: Tensor, *, undo: bool
    ) -> tuple[Tensor, Tensor]:
        """The gradients of post- and presynaptic activity; ``g`` and, if undone, ``w`` become those before."""
        alpha, post, square = self.coefficients[i], self.post[i], self.square[i].transpose(1, 2)
        hebb, scaled, scratch = self.hebb[i], self.scaled[i], self.scratch[i]
        torch.bmm(post.transpose(1, 2), pre, out=hebb)
        if undo:
            w.addcmul_(alpha, hebb, value=-1.0)
            if self.form.decay:
                w.div_(torch.mul(alpha, square, out=scratch).neg_().add_(1.0))
        if self.form.decay:
            hebb.addcmul_(square, w, value=-1.0)
        sums.coefficients[i].add_(hebb.mul_(g).sum(0))
        torch.mul(g, alpha, out=scaled)
        d_post = pre @ scaled.transpose(1, 2)
        if self.form.decay:
            d_post.addcmul_(post, torch.mul(scaled, w, out=scratch).sum(2).unsqueeze(1), value=-2.0)
            g.addcmul_(scaled, square, value=-1.0)
        return d_post, post @ scaled

    def _feedback_backward(self, sums: ChainTensors, activity: list[Tensor], post_grads: list[Tensor]) -> list[Tensor]:
        """Through the feedback: gradients of every layer's activity, ``(E, B, out)``."""
        grads = []
        signal, signal_grad = self.signal.flatten(0, 1), torch.zeros_like(self.signal)
        for i, (x, fed, post_grad) in enumerate(zip(activity, self.fed, post_grads, strict=True)):
            if self._clamped(i):
                grads.append(torch.zeros_like(x))
                continue
            strength = self.tensors.strengths[i]
            sums.strengths[i].add_((post_grad * (fed - x)).sum())
            grads.append(post_grad * (1.0 - strength))
            fed_grad = post_grad * strength
            if self.form.rectified:
                fed_grad = torch.where(fed > 0, fed_grad, torch.zeros_like(fed_grad))
            flat = fed_grad.flatten(0, 1)
            sums.feedback_weights[i].addmm_(flat.t(), signal)
            sums.feedback_biases[i].add_(flat.sum(0))
            if self.form.error_signal:
                signal_grad += fed_grad @ self.tensors.feedback_weights[i]
        if self.form.error_signal:
            grads[-1] -= signal_grad
        return grads

    def _layers_backward(
        self,
        sums: ChainTensors,
        t: int,
        grads: tuple[Tensor, ...],
        weights: tuple[Tensor, ...],
        activity: list[Tensor],
        activity_grads: list[Tensor],
    ) -> None:
        """Through the layers, from the output down to the features."""
        inputs = self._inputs(t, activity)
        for i in reversed(range(len(weights))):
            delta = activity_grads[i]
            if i < self.last:
                delta = torch.where(activity[i] > 0, delta, torch.zeros_like(delta))
            sums.biases[i].add_(delta.sum(1))
            grads[i].baddbmm_(delta.transpose(1, 2), inputs[i])
            below = delta @ weights[i]
            if i > 0:
                activity_grads[i - 1] += below
            else:
                self.grad_features[:, t] += below
