"""What learners on the shared network have in common: all but how they learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from gymnasium import spaces
from torch import Tensor

from flp_agents.learners.head_expansion import take_over
from flp_agents.learners.input_range import Range, check_images
from flp_agents.learners.learner import Learner
from flp_agents.learners.network import FastWeights, Layers, Network, predict
from flp_agents.learners.objective import (
    CrossEntropy,
    IncompatibleSpaces,
    Objective,
    SquaredError,
    in_words,
    objective_of,
)
from flp_agents.support.precision import PRECISIONS
from flp_base.errors import check_choice


class NetworkLearner(Learner[FastWeights]):
    """A network with a frozen trunk and a plastic tail; subclasses add :meth:`update` and their own meta-parameters.

    Args:
        network: its shape.
        plastic_layers: N, counted from the output.
        generator: draws the initial weights.
        objective: what it is to predict.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside 1..L.
    """

    def __init__(
        self, network: Network, plastic_layers: int, generator: torch.Generator, objective: Objective = SquaredError()
    ) -> None:
        super().__init__()
        self.objective = objective
        self.layers = Layers(network, plastic_layers, generator)

    def adapt_to(self, env: Any) -> Learner[Any]:
        """Itself, or a copy for another number of classes; see :mod:`flp_agents.learners.head_expansion`.

        Raises:
            IncompatibleSpaces: if inputs or targets are of another shape or kind.
        """
        network: Network = self.layers.network
        space = getattr(env, "single_observation_space", env.observation_space)
        wanted = objective_of(env, network.outputs)
        shape = space["x"].shape if network.convolutions else space["x"].shape[-1:]
        numbers = space["y"].shape[-1:] if isinstance(wanted, SquaredError) else (network.outputs,)
        if shape != network.input_shape or type(wanted) is not type(self.objective) or numbers != (network.outputs,):
            kind = "labels" if isinstance(self.objective, CrossEntropy) else "numbers"
            raise IncompatibleSpaces(
                f"the learner takes inputs of shape {network.input_shape} and predicts {network.outputs} {kind}, the "
                f"environment shows x of {in_words(space['x'])} and y of {in_words(space['y'])}: use the "
                "environment that it was meta-trained on, and there use the env options that it was meta-trained with"
            )
        self.check_inputs(env)
        return self if wanted == self.objective else self._with_objective(cast("CrossEntropy", wanted))

    @property
    def input_range(self) -> Range | None:
        return self.layers.network.input_range

    def recall_range(self) -> None:
        """Finds out what can be known of a range that was not kept: a scale by the observation space is one over the
        largest value."""
        network: Network = self.layers.network
        if network.input_range is None and network.input_scale is not None and network.convolutions is None:
            network = replace(network, input_range=tuple((None, 1.0 / scale) for scale in network.input_scale))
            self.layers.network, self.settings = network, {**self.settings, "network": network}

    def check_inputs(self, env: Any) -> None:
        if self.layers.network.convolutions is None:
            super().check_inputs(env)
            return
        space = getattr(env, "single_observation_space", env.observation_space)
        if isinstance(space, spaces.Dict) and "x" in space.spaces:
            check_images(space["x"])

    def _with_objective(self, objective: CrossEntropy) -> NetworkLearner:
        known = cast("CrossEntropy", self.objective).classes
        if known < objective.classes and known < self.layers.network.outputs:
            # Units that no class of meta-training used are as they were drawn: new ones take their place.
            return self._with_objective(CrossEntropy(known, known))._with_objective(objective)
        network = replace(self.layers.network, widths=(*self.layers.network.widths[:-1], objective.outputs))
        grown = type(self)(**{**self.settings, "network": network, "objective": objective})
        parameter = next(self.parameters())
        grown.to(parameter.device, parameter.dtype).train(self.training)
        take_over(grown, self, self.parameter_groups().get("feedback", []), int(self.settings["seed"]))
        grown.layers.precision, grown.holds_to_range = self.layers.precision, self.holds_to_range
        return grown

    def set_task(self, env: Any) -> None:
        self.check_inputs(env)
        outputs = self.layers.network.outputs
        wanted = objective_of(env, outputs)
        if isinstance(wanted, CrossEntropy) and wanted.outputs > outputs:
            raise IncompatibleSpaces(
                f"expected at most {outputs} classes, one for each output unit, got {wanted.classes}"
            )
        self.objective = wanted

    def init(self, n: int) -> FastWeights:
        return self.layers.fast_weights(n)

    def encode(self, x: Tensor) -> Tensor:
        return self.layers.trunk(x)

    def predict(self, state: FastWeights, features: Tensor) -> tuple[Tensor, FastWeights]:
        return predict(state, features)

    def set_precision(self, precision: str) -> None:
        self.layers.precision = check_choice("precision", precision, PRECISIONS)

    def settle(self, state: FastWeights) -> FastWeights:
        return state._replace(activity=())

    def with_weights(self, state: FastWeights, weights: tuple[Tensor, ...]) -> FastWeights:
        return FastWeights(weights, state.biases)
