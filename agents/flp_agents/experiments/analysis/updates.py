"""How a learner's weights change: how far, and whether down the gradient.

Source: section 7.3, figure 2C and 2D of Lindsey & Litwin-Kumar (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.learners.descent import loss_gradients
from flp_agents.learners.network import FastWeights
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.lifetime.inner_loop import inner_loop
from flp_agents.lifetime.running import EpisodeTensors
from flp_envs.episode import Episode

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Updates:
    """What every inner step did to every plastic layer's weights, biases apart; the output layer is the last one.

    Attributes:
        cosines: ``(E, T, layers)`` cosine of the angle between the update and the negative gradient of the minibatch's
            mean loss, in the weights that predicted it: 1 is straight downhill, 0 across. NaN where either is 0.
        magnitudes: ``(E, T, layers)`` Euclidean norm of the update, in the weights' unit.
        relative_magnitudes: ``(E, T, layers)`` the same, divided by the norm of the weights before it.
    """

    cosines: Array
    magnitudes: Array
    relative_magnitudes: Array


@torch.no_grad()
def updates_over_lifetime(learner: NetworkLearner, episode: Episode) -> Updates:
    """Lives through ``E`` episodes and watches every update.

    An update is the difference of two nearly equal weights. In float32 that loses digits, and small updates drown in
    rounding errors: use ``learner.double()``.

    Args:
        learner: a network with plastic layers.
        episode: ``E`` episodes.
    """
    tensors = EpisodeTensors.of(learner, episode)
    cosines: list[Tensor] = []
    magnitudes: list[Tensor] = []
    weight_norms: list[Tensor] = []

    def watch(before_it: FastWeights, y: Tensor, learned: FastWeights) -> None:
        gradients, _ = loss_gradients(before_it, y, learner.objective)
        updates = [after - before for before, after in zip(before_it.weights, learned.weights, strict=True)]
        pairs = zip(updates, gradients, strict=True)
        downhill = torch.stack([-(update * gradient).sum((1, 2)) for update, gradient in pairs], 1)
        magnitudes.append(_norms(updates))
        weight_norms.append(_norms(before_it.weights))
        cosines.append(downhill / (magnitudes[-1] * _norms(gradients)))  # 0 / 0, NaN, where there is no direction

    support = learner.encode(tensors.support_x)
    inner_loop(learner, learner.init(len(episode)), support, tensors.support_y, on_update=watch)
    norms = torch.stack(magnitudes, 1)
    return Updates(
        cosines=_array(torch.stack(cosines, 1)),
        magnitudes=_array(norms),
        relative_magnitudes=_array(norms / torch.stack(weight_norms, 1)),
    )


def _norms(matrices: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Of ``(E, out, in)`` each, ``(E, layers)``."""
    return torch.stack([torch.linalg.matrix_norm(matrix) for matrix in matrices], 1)


def _array(values: Tensor) -> Array:
    array: Array = values.cpu().double().numpy()
    return array
