"""Direct feedback, the paper's."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from flp_agents.learners.feedback import Feedback
from flp_agents.learners.network import check_weights_fit, kaiming_normal
from flp_agents.learners.pathways.pathway import Pathway, register_pathway


@register_pathway("direct")
class Direct(Pathway):
    """Straight from the output to the layer: the meta-parameters ``B_i`` and ``b_i``.

    One linear map, or a network of ``hidden_layers`` hidden layers; a ReLU at its end if ``rectified``. Source: section
    4 of Lindsey & Litwin-Kumar (2020).
    """

    def __init__(self, feedback: Feedback, outputs: int, units: int, generator: torch.Generator) -> None:
        super().__init__(feedback, outputs, units, generator)
        self.rectified = feedback.rectified
        sizes = [outputs, *[feedback.hidden_width] * feedback.hidden_layers, units]
        shapes = [(out, into) for into, out in itertools.pairwise(sizes)]
        check_weights_fit(shapes, "use a smaller feedback_width, narrower layers or fewer classes")
        self.weights = nn.ParameterList([kaiming_normal(shape, generator) for shape in shapes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(out)) for out, _ in shapes])

    def forward(self, signal: Tensor) -> Tensor:
        value = signal
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = nn.functional.linear(value, weight, bias)
            if i < last or self.rectified:
                value = torch.relu(value)
        return value

    def make_positive(self) -> None:
        with torch.no_grad():
            for weight in self.weights:
                weight.abs_()
