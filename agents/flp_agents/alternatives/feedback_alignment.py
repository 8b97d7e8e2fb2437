"""Descent along gradients that reach the hidden layers through fixed random weights, not the network's own.

Sources: feedback alignment, Lillicrap et al. (2016), "Random synaptic feedback weights support error backpropagation
for deep learning"; direct feedback alignment, Nokland (2016), "Direct Feedback Alignment Provides Learning in Deep
Neural Networks". Both stand in figure 1 of Lindsey & Litwin-Kumar (2020).

Autograd differentiates a loss whose derivative is the pseudo-gradient, so convolutions are covered too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flp_agents.alternatives.descent import Descent
from flp_agents.alternatives.online_gradient import Descending, OnlineGradient, gradients_of
from flp_agents.alternatives.whole_network import Parameters, WholeNetwork, affine
from flp_agents.network import kaiming_normal
from flp_agents.objective import Objective, SquaredError


class _ThroughFeedback(OnlineGradient):
    """Descends with feedback weights of its own."""

    def __init__(
        self, network: WholeNetwork, descent: Descent, *, objective: Objective = SquaredError(), seed: int = 0
    ) -> None:
        super().__init__(network, descent, objective=objective)
        self.settings = {"network": network, "descent": descent, "objective": objective, "seed": seed}
        generator = torch.Generator().manual_seed(seed)
        self.feedback = nn.ParameterList(self.draw(generator))

    def draw(self, generator: torch.Generator) -> list[nn.Parameter]:
        """Feedback weights."""
        raise NotImplementedError


class FeedbackAlignment(_ThroughFeedback):
    """Backpropagation with a fixed random matrix ``B_i`` in the place of each layer's transposed weights ``W_i^T``.

    Args:
        network: at birth.
        descent: how the pseudo-gradient is followed.
        objective: whose loss is descended.
        seed: of the feedback weights, which are distributed like the network's own at birth.
    """

    def draw(self, generator: torch.Generator) -> list[nn.Parameter]:
        # (out, in) like the weights, for every layer but the first, below which nothing learns.
        return [kaiming_normal(shape, generator) for shape in self.network.shapes[1:]]

    def gradients(self, state: Descending, y: Tensor) -> Parameters:
        def connect(layer: int, columns: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            value = affine(layer, columns.detach(), weight, bias)
            if layer == 0:
                return value
            # Adds nothing to the value, and B^T times the gradient to what is passed on.
            back: Tensor = self.feedback[layer - 1].detach() @ columns
            return value + (back - back.detach())

        def losses(parameters: Parameters) -> Tensor:
            answers = self.network.activities(parameters, state.features[0], connect)[-1].transpose(1, 2)
            return self.objective.losses(answers, y)

        return gradients_of(losses, state.parameters)


class DirectFeedbackAlignment(_ThroughFeedback):
    """Every hidden layer hears of the answer's gradient directly, through a fixed random matrix of its own.

    Args:
        network: at birth.
        descent: how the pseudo-gradient is followed.
        objective: whose loss is descended.
        seed: of the feedback weights ``(units, n_y)``, distributed like output weights of a layer of so many units.
    """

    def draw(self, generator: torch.Generator) -> list[nn.Parameter]:
        return [
            nn.Parameter(kaiming_normal((self.outputs, size), generator).detach().t().contiguous())
            for size in self.network.hidden_sizes
        ]

    def gradients(self, state: Descending, y: Tensor) -> Parameters:
        features = state.features[0]

        def connect(layer: int, columns: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return affine(layer, columns.detach(), weight, bias)

        def losses(parameters: Parameters) -> Tensor:
            *hidden, output = self.network.activities(parameters, features, connect)
            answers = output.transpose(1, 2)
            total = self.objective.losses(answers, y)
            error = self.objective.gradient(answers.detach(), y).transpose(1, 2)
            for activity, feedback in zip(hidden, self.feedback, strict=True):
                # (E, units, B) to (E, channels, B pixels), as convolutions have them
                heard = (feedback.detach() @ error).reshape(len(error), activity.shape[1], -1, error.shape[2])
                total = total + (activity * heard.transpose(2, 3).flatten(2)).sum((1, 2))
            return total

        return gradients_of(losses, state.parameters)
