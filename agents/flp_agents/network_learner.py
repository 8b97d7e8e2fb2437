"""What learners on the shared network have in common: all but how they learn."""

from __future__ import annotations

import torch
from torch import Tensor

from flp_agents.learner import Learner
from flp_agents.network import FastWeights, Layers, Network, answer
from flp_agents.trunk import PRECISIONS
from flp_envs.errors import check_choice


class NetworkLearner(Learner[FastWeights]):
    """A network with a frozen trunk and a plastic tail; subclasses add :meth:`update` and their own meta-parameters.

    Args:
        network: its shape.
        plastic_layers: N, counted from the output.
        generator: draws the initial weights.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside 1..L.
    """

    def __init__(self, network: Network, plastic_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = Layers(network, plastic_layers, generator)

    def init(self, n: int) -> FastWeights:
        return self.layers.fast_weights(n)

    def encode(self, x: Tensor) -> Tensor:
        return self.layers.trunk(x)

    def predict(self, state: FastWeights, features: Tensor) -> tuple[Tensor, FastWeights]:
        return answer(state, features)

    def set_precision(self, precision: str) -> None:
        self.layers.precision = check_choice("precision", precision, PRECISIONS)

    def settle(self, state: FastWeights) -> FastWeights:
        return state._replace(activity=())

    def with_weights(self, state: FastWeights, weights: tuple[Tensor, ...]) -> FastWeights:
        return FastWeights(weights, state.biases)
