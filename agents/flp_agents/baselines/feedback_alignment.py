"""Descent along gradients that reach the hidden layers through fixed random weights, not the network's own.

Sources: feedback alignment, Lillicrap et al. (2016), "Random synaptic feedback weights support error backpropagation
for deep learning"; direct feedback alignment, Nokland (2016), "Direct Feedback Alignment Provides Learning in Deep
Neural Networks". Both stand in figure 1 of Lindsey & Litwin-Kumar (2020).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from flp_agents.baselines.building import network_at_random, register_baseline
from flp_agents.baselines.descent import Adam, Descent
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.baselines.whole_network import Hear, WholeNetwork
from flp_agents.learners.network import kaiming_normal
from flp_agents.learners.objective import Objective, SquaredError, objective_of
from flp_base.errors import check_learner_seed


class _ThroughFeedback(OnlineGradient, ABC):
    """Descends with feedback weights of its own."""

    def __init__(
        self, network: WholeNetwork, descent: Descent, *, objective: Objective = SquaredError(), seed: int = 0
    ) -> None:
        super().__init__(network, descent, objective=objective)
        seed = check_learner_seed(seed)
        self.settings = {"network": network, "descent": descent, "objective": objective, "seed": seed}
        generator = torch.Generator().manual_seed(seed)
        self.feedback = nn.ParameterList(self.draw(generator))

    @abstractmethod
    def draw(self, generator: torch.Generator) -> list[nn.Parameter]:
        """Feedback weights."""


class FeedbackAlignment(_ThroughFeedback):
    """Backpropagation with a fixed random matrix ``B_i`` in the place of each layer's transposed weights ``W_i^T``.

    Args:
        network: in its initial state.
        descent: how the pseudo-gradient is followed.
        objective: whose loss is descended.
        seed: of the feedback weights, which are distributed like the network's own initial weights.
    """

    def draw(self, generator: torch.Generator) -> list[nn.Parameter]:
        # (out, in) like the weights, for every layer but the first, below which nothing learns.
        return [kaiming_normal(shape, generator) for shape in self.network.shapes[1:]]

    def hear_of(self, error: Tensor) -> Hear:
        def hear(layer: int, delta: Tensor) -> Tensor:
            return self.network.lead_back(layer, delta @ self.feedback[layer - 1].detach())

        return hear


class DirectFeedbackAlignment(_ThroughFeedback):
    """Every hidden layer receives the prediction's gradient directly, through a fixed random matrix of its own.

    Args:
        network: in its initial state.
        descent: how the pseudo-gradient is followed.
        objective: whose loss is descended.
        seed: of the feedback weights ``(units, n_y)``, distributed like output weights of a layer of so many units.
    """

    def draw(self, generator: torch.Generator) -> list[nn.Parameter]:
        return [
            nn.Parameter(kaiming_normal((self.outputs, size), generator).detach().t().contiguous())
            for size in self.network.hidden_sizes
        ]

    def hear_of(self, error: Tensor) -> Hear:
        def hear(layer: int, _: Tensor) -> Tensor:
            return self.network.by_pixel(layer - 1, error @ self.feedback[layer - 1].detach().t())

        return hear


# Feedback weights are drawn with another seed than the network's, from which they would otherwise not be independent.
_FEEDBACK = 1_000_000


@register_baseline("direct-feedback-alignment")
def _direct(env: gym.Env[Any, Any], seed: int, *, rate: float) -> DirectFeedbackAlignment:
    network = network_at_random(env, seed)
    return DirectFeedbackAlignment(network, Adam(rate), objective=objective_of(env), seed=seed + _FEEDBACK)


@register_baseline("feedback-alignment")
def _layer_by_layer(env: gym.Env[Any, Any], seed: int, *, rate: float) -> FeedbackAlignment:
    network = network_at_random(env, seed)
    return FeedbackAlignment(network, Adam(rate), objective=objective_of(env), seed=seed + _FEEDBACK)
