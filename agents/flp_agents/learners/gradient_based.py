"""The gradient-based rival: stochastic gradient descent inside the lifetime, with meta-learned step sizes.

Source: section 6.2 of Lindsey & Litwin-Kumar (2020): the same network and outer optimisation as FLP, but the last N
layers follow the gradient of the squared error, each parameter with a meta-learned inner learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from flp_agents.learners.descent import ORDERS, DescendingLearner, InnerRates
from flp_agents.learners.network import FastWeights, Network
from flp_agents.learners.objective import Objective, SquaredError
from flp_agents.learners.registered import LEARNERS
from flp_agents.support.savable import register_class
from flp_agents.support.settings import Section, option, register_settings
from flp_base.errors import check_choice, check_learner_seed


@register_settings("gradient-based")
@dataclass(frozen=True)
class GradientBasedSettings(Section):
    """Of the gradient-based rival; the defaults are the paper's."""

    order: str = option("second", "of the meta-gradient", choices=ORDERS)
    redraw_output: bool = option(False, "random output weights in every meta-training lifetime")
    initial_rate: float = option(1.0, "inner learning rates at the start, in rate units")
    rate_unit: float = option(1e-3, "size of an inner learning rate of 1", above=0)


@LEARNERS.register("gradient-based")
@register_class
class GradientBased(DescendingLearner):
    """Gradient descent on the last ``plastic_layers`` layers, a meta-learned rate for each weight and bias.

    Args:
        network: its shape.
        plastic_layers: N, counted from the output.
        order: "second" (the default, the stronger one) or "first" (what the released code does).
        redraw_output: draw the output weights anew, from torch's CPU generator, in every lifetime while in training
            mode (what the released code does to this baseline, and to it alone).
        initial_rate: inner learning rate at the start of meta-training, in units of ``rate_unit``.
        rate_unit: the size that the stored rates are multiplied by, as for FLP's ``coefficient_unit``.
        objective: what it is to predict.
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

    def inner_rates(self) -> InnerRates:
        return InnerRates(list(self.weight_rates), list(self.bias_rates), self.rate_unit)

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {
            "weights": list(self.layers.parameters()),
            "inner_rates": [*self.weight_rates, *self.bias_rates],
        }
