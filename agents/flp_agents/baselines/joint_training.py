"""The oracle: many passes in random order over all pairs met so far, when it is queried.

It is no online learner: it keeps every pair, and trains anew for each query. What a network that is trained by descent
can get out of an episode at all. Source: the joint-training, or multi-task, upper bound of continual learning, as in
Lopez-Paz & Ranzato (2017) and De Lange et al. (2021), "A continual learning survey", section 6.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor

from flp_agents.baselines.baseline import BaselineLearner
from flp_agents.baselines.building import network_at_random, register_baseline
from flp_agents.baselines.descent import Adam
from flp_agents.baselines.replay_buffer import SeenPairs, by_number, choose, minibatch
from flp_agents.baselines.whole_network import Parameters, WholeNetwork
from flp_agents.learners.objective import Objective, SquaredError, objective_of
from flp_base.errors import check_at_least, check_learner_seed


class Collected(NamedTuple):
    """All pairs that lifetimes have met, and ``(E, B, *input)`` what they predicted last."""

    pairs: SeenPairs = ()
    features: tuple[Tensor, ...] = ()


class JointTraining(BaselineLearner[Collected]):
    """Trains a network from scratch on all pairs met so far when, and only when, it is queried.

    ``predict_all`` trains, with Adam and a step size that falls to 0 along a cosine. ``predict`` is the initial network
    alone, so through :class:`flp_agents.adapters.gym_agent.GymAgent`, which cannot tell a query from a support step,
    this learner never learns: evaluate it with :func:`flp_agents.evaluate` or ``flp benchmark``.

    Args:
        network: in its initial state.
        descent: Adam, with the step size at first.
        passes: over all pairs.
        batch: pairs in a minibatch.
        objective: whose loss is descended.
        seed: of the order, the same in every lifetime.

    Raises:
        InvalidSize: if ``passes`` or ``batch`` is below 1.
    """

    # Queried in the middle of a lifetime, it would train then as well: it is to be queried at the end only.
    trains_for_query = True

    def __init__(
        self,
        network: WholeNetwork,
        descent: Adam,
        *,
        passes: int = 10,
        batch: int = 64,
        objective: Objective = SquaredError(),
        seed: int = 0,
    ) -> None:
        shape = network.network
        super().__init__(shape.input_shape, shape.outputs, objective)
        self.network, self.descent = network, descent
        self.seed = seed = check_learner_seed(seed)
        self.passes, self.batch = check_at_least("passes", passes, 1), check_at_least("batch", batch, 1)
        self.settings = {
            "network": network,
            "descent": descent,
            "passes": passes,
            "batch": batch,
            "objective": objective,
            "seed": seed,
        }

    def init(self, n: int) -> Collected:
        return Collected()

    def encode(self, x: Tensor) -> Tensor:
        return self.network.encode(x)

    def predict(self, state: Collected, features: Tensor) -> tuple[Tensor, Collected]:
        predictions = self.network.predict(self.network.initial_parameters(len(features)), features)
        return predictions, state._replace(features=(features,))

    def predict_all(self, state: Collected, features: Tensor) -> Tensor:
        lifetimes, steps, pairs = features.shape[:3]
        inputs = features.flatten(1, 2)
        predictions = self.network.predict(self.network.initial_parameters(lifetimes), inputs)
        for some, x, y in by_number(state.pairs):
            if y.shape[1]:
                predictions[some] = self.network.predict(self.train_on(x, y), inputs[some])
        return predictions.reshape(lifetimes, steps, pairs, self.outputs)

    def update(self, state: Collected, y: Tensor) -> Collected:
        return self.update_where(torch.ones(len(y), dtype=torch.bool), state, y)

    def update_where(self, mask: Tensor, state: Collected, y: Tensor) -> Collected:
        return state._replace(pairs=(*state.pairs, minibatch(state.features[0], y, mask)))

    def choose(self, mask: Tensor, yes: Collected, no: Collected) -> Collected:
        rest = super().choose(mask, yes._replace(pairs=()), no._replace(pairs=()))
        return rest._replace(pairs=choose(mask, yes.pairs, no.pairs))

    def settle(self, state: Collected) -> Collected:
        return state._replace(features=())

    def train_on(self, x: Tensor, y: Tensor) -> Parameters:
        """The network's weights after training on ``(E, N, *input)`` and ``(E, N, n_y)``."""
        parameters = self.network.initial_parameters(len(x))
        moments = self.descent.initial_moments(parameters)
        generator = torch.Generator().manual_seed(self.seed)
        number = x.shape[1]
        starts = [(one, start) for one in range(self.passes) for start in range(0, number, self.batch)]
        order = torch.empty(0)
        for step, (_, start) in enumerate(starts):
            if start == 0:
                order = torch.randperm(number, generator=generator).to(x.device)
            part = order[start : start + self.batch]
            inputs, targets = x[:, part], y[:, part]
            forward = self.network.run(parameters, inputs)
            gradient = self.objective.gradient(forward.predictions, targets)
            falls = 0.5 * (1 + math.cos(math.pi * step / len(starts)))
            descent = replace(self.descent, rate=self.descent.rate * falls)
            gradients = self.network.gradients(parameters, forward, gradient)
            parameters, moments = descent.step(parameters, gradients, moments)
        return parameters


@register_baseline("joint-training")
def _joint(env: gym.Env[Any, Any], seed: int, *, rate: float, **tuned: Any) -> JointTraining:
    return JointTraining(network_at_random(env, seed), Adam(rate), objective=objective_of(env), seed=seed, **tuned)
