"""Feedback pathways: how a target signal reaches the hidden layers, without the forward weights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flp_agents.learners.network import check_weights_fit, kaiming_normal
from flp_agents.support.savable import register_class
from flp_base.errors import check_at_least, check_choice

SIGNALS = ("error", "target")
OUTPUTS = ("mixed", "clamped")
# More of them let no signal through; and their list alone could fill the memory.
MOST_HIDDEN_LAYERS = 1000


@register_class
@dataclass(frozen=True)
class Feedback:
    """The shape of the pathways from the output directly to every plastic layer.

    Attributes:
        signal: "error" sends ``y - y_hat`` (the paper's choice for regression), "target" sends ``y`` (classification).
        rectified: whether the pathway ends in a ReLU, as in the paper, or is linear.
        hidden_layers: feedback layers before the last one; 0 is the paper's single linear map.
        hidden_width: units of each such layer.
        output: "mixed" lets the output layer too receive feedback through its own learned pathway (the released
            code's regression), "clamped" sets its activity to the target (classification).
        positive_output: whether the output's own feedback weights start positive instead of with random sign: one
            that starts negative drives the output away from its target until meta-training has turned it around.
    """

    signal: str = "error"
    rectified: bool = True
    hidden_layers: int = 0
    hidden_width: int = 64
    output: str = "mixed"
    positive_output: bool = False

    def __post_init__(self) -> None:
        check_choice("feedback signal", self.signal, SIGNALS)
        check_choice("output feedback", self.output, OUTPUTS)
        check_at_least("feedback hidden_layers", self.hidden_layers, 0, MOST_HIDDEN_LAYERS)
        check_at_least("feedback hidden_width", self.hidden_width, 1)


class Pathway(nn.Module):
    """One pathway, ``(E, B, n_y) -> (E, B, units)``: the meta-parameters ``B_i`` and ``b_i`` of one layer."""

    def __init__(self, feedback: Feedback, signal_size: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.rectified = feedback.rectified
        sizes = [signal_size, *[feedback.hidden_width] * feedback.hidden_layers, units]
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
