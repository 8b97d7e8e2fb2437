"""Feedback pathways: how a target signal reaches the hidden layers, without the forward weights."""

from __future__ import annotations

from dataclasses import dataclass

from flp_agents.learners.pathways.pathway import PATHWAYS
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
        pathway: the kind of all pathways, one of :data:`~flp_agents.learners.pathways.pathway.PATHWAYS`.
        positive_output: whether the output's own feedback weights start positive instead of with random sign: one
            that starts negative drives the output away from its target until meta-training has turned it around.
    """

    signal: str = "error"
    rectified: bool = True
    hidden_layers: int = 0
    hidden_width: int = 64
    output: str = "mixed"
    positive_output: bool = False
    pathway: str = "direct"

    def __post_init__(self) -> None:
        check_choice("feedback pathway", self.pathway, PATHWAYS)
        check_choice("feedback signal", self.signal, SIGNALS)
        check_choice("output feedback", self.output, OUTPUTS)
        check_at_least("feedback hidden_layers", self.hidden_layers, 0, MOST_HIDDEN_LAYERS)
        check_at_least("feedback hidden_width", self.hidden_width, 1)
