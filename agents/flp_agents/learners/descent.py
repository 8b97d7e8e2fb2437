"""Gradient descent on fast weights within a lifetime, and the learners that do it.

Source: section 6.2 of Lindsey & Litwin-Kumar (2020).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flp_agents.learners.network import FastWeights, predict
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.learners.objective import Objective, SquaredError

ORDERS = ("second", "first")


class InnerRates(NamedTuple):
    """Inner learning rates of the plastic layers.

    Attributes:
        weights: rates that broadcast to ``(out, in)``, one for each plastic layer.
        biases: the same for ``(out,)``.
        unit: what all of them are multiplied by.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    unit: float = 1.0


def loss_gradients(state: FastWeights, y: Tensor, objective: Objective) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of each lifetime's mean loss in its fast weights, written out as tensor operations.

    Being ordinary operations they can be differentiated once more, which is what "second order" means.

    Args:
        state: after :func:`~flp_agents.learners.network.predict`.
        y: ``(E, B, n_y)`` the targets of what it predicted.
        objective: whose loss.

    Returns:
        For every plastic layer ``(E, out, in)`` and ``(E, out)``.
    """
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for i, delta in _deltas(state, objective.gradient(state.activity[-1], y)):
        weights.insert(0, delta.transpose(1, 2) @ state.activity[i])
        biases.insert(0, delta.sum(1))
    return weights, biases


def _deltas(state: FastWeights, delta: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Of every layer, the last one first, its number and the gradient of its output before the ReLU ``(E, B, out)``."""
    for i in reversed(range(len(state.weights))):
        yield i, delta
        if i:
            delta = (delta @ state.weights[i]) * (state.activity[i] > 0)


def descend(
    state: FastWeights,
    y: Tensor,
    rates: InnerRates,
    *,
    objective: Objective = SquaredError(),
    order: str = "second",
) -> FastWeights:
    """One step of gradient descent on the fast weights.

    Args:
        state: after :func:`~flp_agents.learners.network.predict`.
        y: ``(E, B, n_y)``.
        rates: of the step.
        objective: whose loss is descended.
        order: "second" differentiates through the inner gradients, "first" takes them for constants.
    """
    if order == "first":
        with torch.no_grad():
            gradients = loss_gradients(state, y, objective)
    else:
        gradients = loss_gradients(state, y, objective)
    return _moved(state, gradients, rates)


def descend_to_first_order(
    state: FastWeights,
    features: Tensor,
    targets: Tensor,
    rates: InnerRates,
    *,
    objective: Objective = SquaredError(),
) -> FastWeights:
    """A whole lifetime of descent, to first order.

    As its gradients count as constants, and rates and initial weights stay the same, all steps together are one step
    along the sum of the gradients: only that needs a graph.

    Args:
        state: before the first step.
        features: ``(E, T, B, in)``.
        targets: ``(E, T, B, n_y)``.
        rates: of every step.
        objective: whose loss is descended.
    """
    with torch.no_grad():
        now = state
        sums = [torch.zeros_like(weight) for weight in state.weights], [torch.zeros_like(b) for b in state.biases]
        for x, y in zip(features.unbind(1), targets.unbind(1), strict=True):
            _, now = predict(now, x)
            gradients = loss_gradients(now, y, objective)
            for of_kind, gradients_of_kind in zip(sums, gradients, strict=True):
                torch._foreach_add_(of_kind, gradients_of_kind)
            now = _moved(now, gradients, rates)
    return _moved(state, sums, rates)


def predict_to_first_order(
    state: FastWeights,
    features: Tensor,
    targets: Tensor,
    rates: InnerRates,
    *,
    objective: Objective = SquaredError(),
) -> tuple[Tensor, FastWeights]:
    """The same, with the predictions along the way ``(E, T, B, n_y)``, each differentiable in what made it.

    The weights at a step are ``W_t = W_0 - rate * S_t``, and the sum ``S_t`` of the gradients so far is a constant. So
    with ``g_t`` the gradient of the outer loss in ``W_t``, through the prediction of that step alone::

        d W_0  += g_t
        d rate -= S_t * g_t

    No step's gradient depends on a later one, so the backward pass begins at the first step and the initial weights.
    """
    predictions, *sums = _Predicted.apply(  # type: ignore[no-untyped-call]
        objective, rates.unit, features, targets, *state.weights, *state.biases, *rates.weights, *rates.biases
    )
    layers = len(state.weights)
    return predictions, _moved(state, (sums[:layers], sums[layers:]), rates)


class _Predicted(torch.autograd.Function):
    """Predictions along the way, and the sums of all gradients, which are constants."""

    @staticmethod
    def forward(
        ctx: Any, objective: Objective, unit: float, features: Tensor, targets: Tensor, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        initial, rates = _state_and_rates(flat, unit)
        now, sums, predictions = initial, _zeros_like(initial), []
        # Of every step what it takes to descend once more: activity, and gradients before each ReLU. Not the weights.
        ctx.initial, ctx.rates, ctx.steps = initial, rates, []
        for x, y in zip(features.unbind(1), targets.unbind(1), strict=True):
            made, now = predict(now, x)
            deltas = dict(_deltas(now, objective.gradient(made, y)))
            predictions.append(made)
            ctx.steps.append((now.activity, deltas))
            now = _descended(initial, sums, now.activity, deltas, rates)
        flat_sums = [*sums[0], *sums[1]]
        ctx.mark_non_differentiable(*flat_sums)
        return torch.stack(predictions, 1), *flat_sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_predictions: Tensor, *_: Tensor) -> Any:
        initial, rates = ctx.initial, ctx.rates
        now, sums, of_rates = initial, _zeros_like(initial), _zeros_like(initial)
        rates_count = any(ctx.needs_input_grad[4 + 2 * len(initial.weights) :])
        outer_deltas, of_features = [], []
        for (activity, deltas), of_prediction in zip(ctx.steps, of_predictions.unbind(1), strict=True):
            now = now._replace(activity=activity)
            outer_deltas.append(dict(_deltas(now, of_prediction)))
            for i, delta in outer_deltas[-1].items() if rates_count else ():
                of_rates[0][i].addcmul_(sums[0][i], delta.transpose(1, 2) @ activity[i], value=-rates.unit)
                of_rates[1][i].addcmul_(sums[1][i], delta.sum(1), value=-rates.unit)
            of_features.append(outer_deltas[-1][0] @ now.weights[0])
            now = _descended(initial, sums, activity, deltas, rates)
        # The sum over the steps is that over all of their inputs, in one product.
        of_all = [torch.cat([deltas[i] for deltas in outer_deltas], 1) for i in range(len(initial.weights))]
        seen = [torch.cat([activity[i] for activity, _ in ctx.steps], 1) for i in range(len(initial.weights))]
        pairs = zip([*of_rates[0], *of_rates[1]], [*rates.weights, *rates.biases], strict=True)
        return (
            *(None, None, torch.stack(of_features, 1), None),
            *(delta.transpose(1, 2) @ x for delta, x in zip(of_all, seen, strict=True)),
            *(delta.sum(1) for delta in of_all),
            *(gradient.sum_to_size(rate.shape) if rates_count else None for gradient, rate in pairs),
        )


def _descended(
    initial: FastWeights,
    sums: tuple[list[Tensor], list[Tensor]],
    activity: tuple[Tensor, ...],
    deltas: Mapping[int, Tensor],
    rates: InnerRates,
) -> FastWeights:
    """The state after one more step, whose gradients are added to the sums of those before it, in place."""
    for i, delta in deltas.items():
        sums[0][i].baddbmm_(delta.transpose(1, 2), activity[i])
        sums[1][i].add_(delta.sum(1))
    return _moved(initial, sums, rates)


def _state_and_rates(flat: Sequence[Tensor], unit: float) -> tuple[FastWeights, InnerRates]:
    """From weights, biases, and the rates of both."""
    layers = len(flat) // 4
    weights, biases, of_weights, of_biases = (tuple(flat[k * layers : (k + 1) * layers]) for k in range(4))
    return FastWeights(weights, biases), InnerRates(of_weights, of_biases, unit)


def _zeros_like(state: FastWeights) -> tuple[list[Tensor], list[Tensor]]:
    """Like its weights, and like its biases; those of the state may be one and the same for all lifetimes."""
    return [w.new_zeros(w.shape) for w in state.weights], [b.new_zeros(b.shape) for b in state.biases]


def _moved(state: FastWeights, gradients: tuple[list[Tensor], list[Tensor]], rates: InnerRates) -> FastWeights:
    """Against the gradients, each parameter at its rate."""

    def all_moved(values: Sequence[Tensor], at: Sequence[Tensor], of: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(torch.addcmul(v, r, g, value=-rates.unit) for v, r, g in zip(values, at, of, strict=True))

    return state._replace(
        weights=all_moved(state.weights, rates.weights, gradients[0]),
        biases=all_moved(state.biases, rates.biases, gradients[1]),
    )


class DescendingLearner(NetworkLearner):
    """A network whose plastic layers follow the gradient of their loss; subclasses say at which rates.

    Attributes:
        order: of the meta-gradient: "second", or "first", which takes the gradients for constants.
    """

    order = "first"

    @abstractmethod
    def inner_rates(self) -> InnerRates:
        """Of all plastic layers."""

    def update(self, state: FastWeights, y: Tensor) -> FastWeights:
        return descend(state, y, self.inner_rates(), objective=self.objective, order=self.order)

    def rollout_to_first_order(self, state: FastWeights, features: Tensor, targets: Tensor) -> FastWeights:
        return descend_to_first_order(state, features, targets, self.inner_rates(), objective=self.objective)

    def predict_to_first_order(
        self, state: FastWeights, features: Tensor, targets: Tensor
    ) -> tuple[Tensor, FastWeights]:
        return predict_to_first_order(state, features, targets, self.inner_rates(), objective=self.objective)
