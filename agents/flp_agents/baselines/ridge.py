"""Ridge regression on fixed random features, solved anew after every minibatch.

Source: the features are random cosines, Rahimi & Recht (2007), "Random Features for Large-Scale Kernel Machines", which
stand for a Gaussian kernel. The sums that the solution needs are kept up to date, and nothing else is: after any number
of steps the weights are the closed-form ridge solution on all pairs met so far. The usual recursion of the inverse
(recursive least squares, Plackett 1950) gives the same for more work, and loses its digits where the penalty is small.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from flp_agents.baselines.baseline import BaselineLearner, check_above_zero
from flp_agents.baselines.building import input_form, register_baseline
from flp_agents.learners.objective import Objective, SquaredError, objective_of
from flp_base.errors import check_at_least, check_learner_seed
from flp_base.machine_memory import check_fits


class Regression(NamedTuple):
    """A lifetime of least squares.

    Attributes:
        moments: ``(E, D, D)`` sum of the products of features, plus the penalty.
        products: ``(E, D, n_y)`` sum of the products of features and targets.
        weights: ``(E, D, n_y)`` the solution.
        features: ``(E, B, D)`` of what was predicted last; nothing between steps.
    """

    moments: Tensor
    products: Tensor
    weights: Tensor
    features: tuple[Tensor, ...] = ()


class Ridge(BaselineLearner[Regression]):
    """Least squares on ``cos(w x + b)`` and a constant; labels as numbers, 1 for the right class and 0 for the others.

    Sums and solution are in double precision, whatever the learner's.

    Args:
        input_shape: of one input.
        input_scale: what each input, or pixel, is multiplied by; one number serves all.
        outputs: ``n_y``.
        features: D, random features and the constant.
        bandwidth: of the Gaussian kernel that they stand for, in scaled inputs.
        penalty: of the squared weights, added to the summed squared error.
        objective: what it is to predict.
        seed: of the features.

    Raises:
        InvalidSize: if ``features`` is below 2, or another number is not above 0.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        input_scale: tuple[float, ...],
        outputs: int,
        *,
        features: int = 160,
        bandwidth: float = 1.0,
        penalty: float = 1e-3,
        objective: Objective = SquaredError(),
        seed: int = 0,
    ) -> None:
        super().__init__(input_shape, outputs, objective)
        self.features = check_at_least("features", features, 2)
        check_above_zero("bandwidth", bandwidth)
        self.penalty = check_above_zero("penalty", penalty)
        seed = check_learner_seed(seed)
        self.settings = {
            "input_shape": input_shape,
            "input_scale": input_scale,
            "outputs": outputs,
            "features": features,
            "bandwidth": bandwidth,
            "penalty": penalty,
            "objective": objective,
            "seed": seed,
        }
        generator = torch.Generator().manual_seed(seed)
        inputs = math.prod(input_shape)
        # The moments of the features, in double precision, are what a lifetime keeps.
        size = 4 * inputs * features + 8 * features**2
        check_fits(f"a regression on {features} features of {inputs} numbers", size, "use fewer features")
        scale = torch.tensor(input_scale).expand(inputs).unsqueeze(1)
        projection = torch.randn(inputs, features - 1, generator=generator) * scale / bandwidth
        phases = 2 * math.pi * torch.rand(features - 1, generator=generator)
        self.projection = nn.Parameter(projection, requires_grad=False)
        self.phases = nn.Parameter(phases, requires_grad=False)

    def init(self, n: int) -> Regression:
        moments = self.penalty * torch.eye(self.features, dtype=torch.float64, device=self.phases.device)
        nothing = moments.new_zeros(n, self.features, self.outputs)
        return Regression(moments.expand(n, -1, -1), nothing, nothing)

    def features_of(self, inputs: Tensor) -> Tensor:
        """``(E, B, *input) -> (E, B, D)``, in double precision."""
        values = torch.cos(inputs.flatten(2).to(self.projection) @ self.projection + self.phases)
        scaled = values.double() * math.sqrt(2 / (self.features - 1))
        return nn.functional.pad(scaled, (0, 1), value=1.0)

    def predict(self, state: Regression, features: Tensor) -> tuple[Tensor, Regression]:
        values = self.features_of(features)
        return (values @ state.weights).to(self.phases.dtype), state._replace(features=(values,))

    def settle(self, state: Regression) -> Regression:
        return state._replace(features=())

    def update(self, state: Regression, y: Tensor) -> Regression:
        values = state.features[0].transpose(1, 2)
        moments = torch.baddbmm(state.moments, values, values.transpose(1, 2))
        products = torch.baddbmm(state.products, values, y.double())
        weights = torch.cholesky_solve(products, torch.linalg.cholesky(moments))
        return Regression(moments, products, weights, state.features)


@register_baseline("ridge")
def _ridge(env: gym.Env[Any, Any], seed: int, **tuned: Any) -> Ridge:
    return Ridge(*input_form(env), objective=objective_of(env), seed=seed, **tuned)
