"""Plasticity is enabled in more layers of a meta-trained network.

Source: section 7.1 of Lindsey & Litwin-Kumar (2020): "we took a network that had been meta-optimized in the feature
reuse regime. Then we enabled feedback and plasticity in upstream layers while freezing the feedforward weight
initialization, and continued meta-optimizing."
"""

from __future__ import annotations

from typing import Any

import torch

from flp_agents.learners.flp import FLP
from flp_base.errors import InvalidSize


def with_more_plasticity(
    learner: FLP,
    plastic_layers: int,
    *,
    initial_coefficient: float = 0.0,
    initial_strength: float | None = None,
    seed: int = 0,
) -> FLP:
    """The same network, with the same initial weights, more of whose layers are plastic and receive feedback.

    Layers that were plastic keep their feedback, coefficients and strength. As long as the others' plasticity
    coefficients are 0, they do not change within a lifetime, and it predicts as the learner did, but for rounding.

    Args:
        learner: FLP(1), say, which is Feature Reuse; it is left as it is.
        plastic_layers: N, at least as many as it has.
        initial_coefficient: of layers that become plastic, in units of the learner's ``coefficient_unit``.
        initial_strength: of their feedback; none: what the learner began with.
        seed: of their feedback weights.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside the learner's own number and L.
    """
    has = int(learner.settings["plastic_layers"])
    if plastic_layers < has:
        raise InvalidSize(f"plastic_layers must be at least the {has} that the learner has, got {plastic_layers}")
    strength = learner.settings["initial_strength"] if initial_strength is None else initial_strength
    changes = {"initial_coefficient": initial_coefficient, "initial_strength": strength, "seed": seed}
    more = FLP(**{**learner.settings, "plastic_layers": plastic_layers, **changes})
    parameter = next(learner.parameters())
    more.to(parameter.device, parameter.dtype).train(learner.training)
    more.layers.load_state_dict(learner.layers.state_dict())
    more.layers.precision = learner.layers.precision
    # Plastic layers are counted from the output, so the learner's own are the last ones.
    new = plastic_layers - has
    with torch.no_grad():
        for name in ("pathways", "coefficients", "strengths"):
            kept: Any = getattr(more, name)[new:]
            for to, of in zip(kept.parameters(), getattr(learner, name).parameters(), strict=True):
                to.copy_(of)
    return more
