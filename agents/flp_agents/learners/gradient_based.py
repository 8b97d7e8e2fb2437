"""The gradient-based rival: stochastic gradient descent inside the lifetime, with meta-learned step sizes.

Source: section 6.2 of Lindsey & Litwin-Kumar (2020): the same network and outer optimisation as FLP, but the last N
layers follow the gradient of the squared error, each parameter with a meta-learned inner learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flp_agents.learners.network import FastWeights, Network, answer
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.learners.objective import Objective, SquaredError
from flp_agents.learners.registered import LEARNERS
from flp_agents.support.savable import register_class
from flp_base.errors import check_choice, check_learner_seed

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
        state: after :func:`~flp_agents.learners.network.answer`.
        y: ``(E, B, n_y)`` the targets of what it answered.
        objective: whose loss.

    Returns:
        For every plastic layer ``(E, out, in)`` and ``(E, out)``.
    """
    delta = objective.gradient(state.activity[-1], y)
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for i in reversed(range(len(state.weights))):
        pre = state.activity[i]
        weights.insert(0, delta.transpose(1, 2) @ pre)
        biases.insert(0, delta.sum(1))
        if i:
            delta = (delta @ state.weights[i]) * (pre > 0)
    return weights, biases


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
        state: after :func:`~flp_agents.learners.network.answer`.
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
        lived = state
        sums = [torch.zeros_like(weight) for weight in state.weights], [torch.zeros_like(b) for b in state.biases]
        for x, y in zip(features.unbind(1), targets.unbind(1), strict=True):
            _, lived = answer(lived, x)
            gradients = loss_gradients(lived, y, objective)
            for of_kind, gradients_of_kind in zip(sums, gradients, strict=True):
                torch._foreach_add_(of_kind, gradients_of_kind)
            lived = _moved(lived, gradients, rates)
    return _moved(state, sums, rates)


def _moved(state: FastWeights, gradients: tuple[list[Tensor], list[Tensor]], rates: InnerRates) -> FastWeights:
    """Against the gradients, each parameter at its rate."""

    def all_moved(values: Sequence[Tensor], at: Sequence[Tensor], of: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(torch.addcmul(v, r, g, value=-rates.unit) for v, r, g in zip(values, at, of, strict=True))

    return state._replace(
        weights=all_moved(state.weights, rates.weights, gradients[0]),
        biases=all_moved(state.biases, rates.biases, gradients[1]),
    )


@LEARNERS.register("gradient-based")
@register_class
class GradientBased(NetworkLearner):
    """Gradient descent on the last ``plastic_layers`` layers, a meta-learned rate for each weight and bias.

    Args:
        network: its shape.
        plastic_layers: N, counted from the output.
        order: "second" (the default, the stronger one) or "first" (what the released code does).
        redraw_output: draw the output weights anew, from torch's CPU generator, in every lifetime while in training
            mode (what the released code does to this baseline, and to it alone).
        initial_rate: inner learning rate at the start of meta-training, in units of ``rate_unit``.
        rate_unit: the size that the stored rates are multiplied by, as for FLP's ``coefficient_unit``.
        objective: what it is to answer.
        seed: of the initial weights.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside 1..L.
        InvalidChoice: for an unknown order.
    """

    def __init__(
        self,
        network: Network,
        plastic_layers: int = 3,
        *,
        order: str = "second",
        redraw_output: bool = False,
        initial_rate: float = 1e-3,
        rate_unit: float = 1.0,
        objective: Objective = SquaredError(),
        seed: int = 0,
    ) -> None:
        seed = check_learner_seed(seed)
        super().__init__(network, plastic_layers, torch.Generator().manual_seed(seed), objective)
        check_choice("order of the inner gradient", order, ORDERS)
        self.settings = {
            "network": network,
            "plastic_layers": plastic_layers,
            "order": order,
            "redraw_output": redraw_output,
            "initial_rate": initial_rate,
            "rate_unit": rate_unit,
            "objective": objective,
            "seed": seed,
        }
        self.order, self.rate_unit, self.redraw_output = order, rate_unit, redraw_output
        self.first_order = order == "first"
        shapes = self.layers.plastic_shapes
        self.weight_rates = nn.ParameterList([nn.Parameter(torch.full(s, float(initial_rate))) for s in shapes])
        self.bias_rates = nn.ParameterList([nn.Parameter(torch.full(s[:1], float(initial_rate))) for s in shapes])

    def init(self, n: int) -> FastWeights:
        state = super().init(n)
        if not (self.redraw_output and self.training):
            return state
        output = state.weights[-1]
        drawn = torch.randn(output.shape) * (2.0 / output.shape[-1]) ** 0.5
        return state._replace(weights=(*state.weights[:-1], drawn.to(output)))

    def update(self, state: FastWeights, y: Tensor) -> FastWeights:
        return descend(state, y, self._rates(), objective=self.objective, order=self.order)

    def live_to_first_order(self, state: FastWeights, features: Tensor, targets: Tensor) -> FastWeights:
        return descend_to_first_order(state, features, targets, self._rates(), objective=self.objective)

    def _rates(self) -> InnerRates:
        return InnerRates(list(self.weight_rates), list(self.bias_rates), self.rate_unit)

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {
            "weights": list(self.layers.parameters()),
            "inner_rates": [*self.weight_rates, *self.bias_rates],
        }
