"""How good a network's initial features are, before any plasticity: a linear readout is fitted on them.

Source: section 7.1 and figure 2A (in blue) of Lindsey & Litwin-Kumar (2020), where all but the readout stays in its
initial state, and the readout is trained "for many epochs on i.i.d data within each lifetime". Here it is the end of
such a training, least squares in closed form, on all support pairs at once; their order does not matter. For labels the
targets are one-hot, as in :mod:`flp_agents.baselines.ridge`; a readout trained on cross-entropy may differ.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.learners.network import predict
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import InvalidSize
from flp_envs.episode import Episode

# Enough to keep features that never fire, or more features than pairs, from dividing by zero, and no more.
TINY_RIDGE = 1e-9


@torch.no_grad()
def initial_features(learner: NetworkLearner, x: Tensor) -> Tensor:
    """The last hidden layer's activity under initial weights.

    Args:
        learner: a network; without hidden layers its features are its inputs.
        x: ``(E, S, B, *input)``.

    Returns:
        ``(E, S * B, units)``.
    """
    encoded = learner.encode(x).flatten(1, 2)
    return predict(learner.init(len(x)), encoded)[1].activity[-2]


def fit_readout(features: Tensor, targets: Tensor, ridge: float = TINY_RIDGE) -> Tensor:
    """Least squares with a constant and a small penalty, in double precision, for each lifetime by itself.

    Minimises ``sum_n |targets_n - w (features_n, 1)|^2 + p |w|^2``, where ``p`` is ``ridge`` times the features' mean
    summed square: the same for features of any scale.

    Args:
        features: ``(E, N, D)``.
        targets: ``(E, N, n_y)``.
        ridge: the penalty, above 0.

    Returns:
        ``w``, ``(E, D + 1, n_y)`` float64; the constant is last.

    Raises:
        InvalidSize: if ``ridge`` is not above 0.
    """
    if not ridge > 0:
        raise InvalidSize(f"ridge must be above 0, got {ridge}")
    values = with_constant(features)
    size = values.shape[-1]
    penalty = ridge * values.square().sum((1, 2)) / size
    # Penalties as further pairs: unlike the normal equations, this does not square the condition number.
    identity = torch.eye(size, dtype=values.dtype, device=values.device)
    rows = torch.cat([values, penalty.sqrt().reshape(-1, 1, 1) * identity], 1)
    wanted = torch.nn.functional.pad(targets.double(), (0, 0, 0, size))
    weights: Tensor = torch.linalg.lstsq(rows, wanted, driver="gels").solution
    return weights


def with_constant(features: Tensor) -> Tensor:
    """``(..., D) -> (..., D + 1)`` in double precision: a 1 beside the features."""
    return torch.nn.functional.pad(features.double(), (0, 1), value=1.0)


@torch.no_grad()
def readout_scores(learner: NetworkLearner, episode: Episode, ridge: float = TINY_RIDGE) -> NDArray[np.float64]:
    """Figure 2A: the query, predicted by a readout that was fitted on the support pairs' initial features.

    Args:
        learner: whose features.
        episode: ``E`` episodes.
        ridge: see :func:`fit_readout`.

    Returns:
        ``(E,)`` in the learner's metric, squared error or per cent of wrong labels.

    Raises:
        InvalidSize: if ``ridge`` is not above 0.
    """
    tensors = EpisodeTensors.of(learner, episode)
    scores = []
    for lifetime in range(len(episode)):  # one at a time: a lifetime's features may be many
        part = tensors.part(slice(lifetime, lifetime + 1))
        readout = fit_readout(initial_features(learner, part.support_x), part.support_y.flatten(1, 2), ridge)
        predictions = with_constant(initial_features(learner, part.query_x)) @ readout
        scores.append(learner.objective.scores(predictions, part.query_y.flatten(1, 2)))
    return np.asarray(torch.cat(scores).cpu().numpy(), dtype=np.float64)
