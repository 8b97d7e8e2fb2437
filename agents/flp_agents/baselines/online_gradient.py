"""Gradient descent on the whole network, one step for each minibatch, from scratch or from a meta-trained start.

Source: online backpropagation as in figure 1 of Lindsey & Litwin-Kumar (2020); Rumelhart et al. (1986). Descent is
plain (Robbins & Monro 1951) or Adam (Kingma & Ba 2015). The meta-trained start is the initialisation that
:class:`flp_agents.learners.gradient_based.GradientBased` was meta-trained to: what it is worth without the meta-trained
step sizes, and with no layer frozen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
from torch import Tensor

from flp_agents.baselines.baseline import BaselineLearner
from flp_agents.baselines.building import meta_trained_start, network_at_random, register_baseline
from flp_agents.baselines.descent import SGD, Adam, Descent, Moments
from flp_agents.baselines.whole_network import Forward, Hear, Parameters, WholeNetwork
from flp_agents.learners.objective import Objective, SquaredError, objective_of


class Descending(NamedTuple):
    """A lifetime of gradient descent.

    Attributes:
        parameters: of the whole network.
        moments: what the descent remembers.
        kept: what else the learner keeps, if it does.
        features: ``(E, B, *input)`` what it predicted last; nothing between steps.
        forward: what the network did with it; nothing between steps.
    """

    parameters: Parameters
    moments: Moments
    kept: Any = ()
    features: tuple[Tensor, ...] = ()
    forward: tuple[Forward, ...] = ()


class OnlineGradient(BaselineLearner[Descending]):
    """One step of gradient descent on the whole network for each minibatch.

    Args:
        network: in its initial state.
        descent: how the gradient is followed.
        objective: whose loss is descended.
        start: name of the bundled checkpoint that the initial network is taken from; none: random.
    """

    def __init__(
        self,
        network: WholeNetwork,
        descent: Descent,
        *,
        objective: Objective = SquaredError(),
        start: str | None = None,
    ) -> None:
        shape = network.network
        super().__init__(shape.input_shape, shape.outputs, objective)
        self.network, self.descent, self.start = network, descent, start
        self.settings = {"network": network, "descent": descent, "objective": objective, "start": start}

    def init(self, n: int) -> Descending:
        parameters = self.network.initial_parameters(n)
        return Descending(parameters, self.descent.initial_moments(parameters), self.initial_memory(parameters))

    def initial_memory(self, parameters: Parameters) -> Any:
        """What a subclass keeps beside weights, before the first step."""
        return ()

    def encode(self, x: Tensor) -> Tensor:
        return self.network.encode(x)

    def predict(self, state: Descending, features: Tensor) -> tuple[Tensor, Descending]:
        forward = self.network.run(state.parameters, features)
        return forward.predictions, state._replace(features=(features,), forward=(forward,))

    def predict_all(self, state: Descending, features: Tensor) -> Tensor:
        predictions = self.network.predict(state.parameters, features.flatten(1, 2))
        return predictions.reshape(*features.shape[:3], self.outputs)

    def settle(self, state: Descending) -> Descending:
        return state._replace(features=(), forward=())

    def update(self, state: Descending, y: Tensor) -> Descending:
        return self.descend(state, self.gradients(state, y))

    def descend(self, state: Descending, gradients: Parameters) -> Descending:
        """Takes one step."""
        parameters, moments = self.descent.step(state.parameters, gradients, state.moments)
        return state._replace(parameters=parameters, moments=moments)

    def gradients(self, state: Descending, y: Tensor) -> Parameters:
        """Of the loss of what was predicted last, in all parameters."""
        (forward,) = state.forward
        error = self.objective.gradient(forward.predictions, y)
        return self.network.gradients(state.parameters, forward, error, self.hear_of(error))

    def hear_of(self, error: Tensor) -> Hear | None:
        """How hidden layers receive the loss's gradient in the predictions, ``(E, B, n_y)``; none: backpropagation."""
        return None


@register_baseline("sgd")
def _sgd(env: gym.Env[Any, Any], seed: int, *, rate: float, clip: float) -> OnlineGradient:
    return OnlineGradient(network_at_random(env, seed), SGD(rate, clip), objective=objective_of(env))


@register_baseline("adam")
def _adam(env: gym.Env[Any, Any], seed: int, *, rate: float) -> OnlineGradient:
    return OnlineGradient(network_at_random(env, seed), Adam(rate), objective=objective_of(env))


@register_baseline("sgd-meta-trained", starts_from="gradient-based")
def _meta_trained_sgd(env: gym.Env[Any, Any], seed: int, *, rate: float, clip: float) -> OnlineGradient:
    name, network = meta_trained_start(env)
    return OnlineGradient(network, SGD(rate, clip), objective=objective_of(env), start=name)


@register_baseline("adam-meta-trained", starts_from="gradient-based")
def _meta_trained_adam(env: gym.Env[Any, Any], seed: int, *, rate: float) -> OnlineGradient:
    name, network = meta_trained_start(env)
    return OnlineGradient(network, Adam(rate), objective=objective_of(env), start=name)
