"""A feedback pathway of your own: one that saturates.

flp train --plugin examples/plugins/pathway.py --feedback-pathway saturating --output runs/saturating
"""

import torch

from flp_agents import register_pathway
from flp_agents.learners.pathways.direct import Direct


@register_pathway("saturating")
class Saturating(Direct):
    """Direct feedback through a hyperbolic tangent: no error moves a neuron by more than 1."""

    def forward(self, signal):
        """From the signal ``(E, B, n_y)`` to what the layer receives, ``(E, B, units)``."""
        return torch.tanh(super().forward(signal))
