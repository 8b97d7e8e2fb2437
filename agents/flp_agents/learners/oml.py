"""Original OML: one fixed inner learning rate, first-order gradients, a meta-trained initialisation.

Source: Javed & White (2019), "Meta-Learning Representations for Continual Learning". In their code the inner loop is
plain SGD with the rate 0.003 on the layers after the representation, no graph is kept through the inner gradients, and
the outer optimiser moves the initial weights of all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flp_agents.learners.descent import DescendingLearner, InnerRates
from flp_agents.learners.network import Network
from flp_agents.learners.objective import Objective, SquaredError
from flp_agents.learners.registered import LEARNERS
from flp_agents.support.savable import register_class
from flp_agents.support.settings import Section, option, register_settings
from flp_base.errors import check_learner_seed


@register_settings("oml")
@dataclass(frozen=True)
class OMLSettings(Section):
    """Of OML; the default is that of its authors' code."""

    inner_rate: float = option(0.003, "the fixed inner learning rate", least=0)


@LEARNERS.register("oml")
@register_class
class OML(DescendingLearner):
    """SGD with one fixed rate on the last ``plastic_layers`` layers of a meta-trained network.

    Args:
        network: its shape.
        plastic_layers: layers of the prediction network; those before them are the representation.
        inner_rate: the fixed inner learning rate.
        objective: what it is to predict.
        seed: of the initial weights.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside 1..L.
    """

    inner_rate: Tensor
    first_order = True

    def __init__(
        self,
        network: Network,
        plastic_layers: int = 3,
        *,
        inner_rate: float = 0.003,
        objective: Objective = SquaredError(),
        seed: int = 0,
    ) -> None:
        seed = check_learner_seed(seed)
        super().__init__(network, plastic_layers, torch.Generator().manual_seed(seed), objective)
        self.settings = {
            "network": network,
            "plastic_layers": plastic_layers,
            "inner_rate": inner_rate,
            "objective": objective,
            "seed": seed,
        }
        self.register_buffer("inner_rate", torch.tensor(float(inner_rate)), persistent=False)

    def inner_rates(self) -> InnerRates:
        one_for_all = [self.inner_rate] * len(self.layers.plastic_shapes)
        return InnerRates(one_for_all, one_for_all)

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {"weights": list(self.layers.parameters())}
