"""FLP: learning with feedback and local plasticity.

One inner step: the network predicts; the error (or target) travels through fixed feedback weights directly to every
plastic layer and mixes with its activity; then every synapse changes by a local rule. Source: section 4 of
Lindsey & Litwin-Kumar (2020), "Learning to Learn with Feedback and Local Plasticity".
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from flp_agents.closed_form.description import ChainTensors, Form, NotCovered
from flp_agents.learners.feedback import MOST_HIDDEN_LAYERS, OUTPUTS, SIGNALS, Feedback
from flp_agents.learners.network import FastWeights, Network
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.learners.objective import Objective, SquaredError
from flp_agents.learners.pathways.direct import Direct
from flp_agents.learners.pathways.pathway import PATHWAYS
from flp_agents.learners.plasticity.hebb import Hebb
from flp_agents.learners.plasticity.oja import Oja
from flp_agents.learners.plasticity.rule import RULES, PlasticityRule
from flp_agents.learners.registered import LEARNERS
from flp_agents.support.savable import register_class
from flp_agents.support.settings import LARGEST_SIZE, Section, option, register_settings
from flp_base.errors import InvalidSize, check_choice, check_learner_seed

GRANULARITIES = ("synapse", "neuron", "layer")
PRESYNAPTIC = ("before", "after")
COEFFICIENT_SCALES = ("linear", "log")


def coefficient_shape(granularity: str, out: int, into: int) -> tuple[int, ...]:
    """The shape of a layer's plasticity coefficients: what they share is what broadcasts."""
    check_choice("granularity", granularity, GRANULARITIES)
    return {"synapse": (out, into), "neuron": (out, 1), "layer": ()}[granularity]


@register_settings("flp")
@dataclass(frozen=True)
class FLPSettings(Section):
    """Of FLP, and of Feature Reuse, FLP with one plastic layer; the defaults are the paper's for sine waves."""

    rule: str = option("oja", "plasticity rule", choices=RULES)
    granularity: str = option("synapse", "what has a plasticity coefficient of its own", choices=GRANULARITIES)
    presynaptic: str = option("before", "presynaptic activity, relative to feedback", choices=PRESYNAPTIC)
    signal: str = option("error", "what feedback carries", choices=SIGNALS)
    rectified: bool = option(True, "ReLU at the end of each feedback pathway")
    output_feedback: str = option(
        "mixed", "the output's activity: mixed with feedback, or clamped to the target", choices=OUTPUTS
    )
    feedback_pathway: str = option("direct", "kind of the feedback pathways", choices=PATHWAYS)
    feedback_layers: int = option(0, "hidden layers in each feedback pathway", most=MOST_HIDDEN_LAYERS)
    feedback_width: int = option(64, "units of those", least=1, most=LARGEST_SIZE)
    positive_output_feedback: bool = option(False, "start the output's own feedback weights positive")
    initial_coefficient: float = option(0.0, "plasticity coefficients at the start, in coefficient units")
    coefficient_unit: float = option(1.0, "size of a plasticity coefficient of 1", above=0)
    coefficient_scale: str = option("linear", "how coefficients are stored", choices=COEFFICIENT_SCALES)
    initial_strength: float = option(0.5, "feedback strength at the start")
    hidden_multiplier: float = option(1.0, "what updates of hidden layers are multiplied by")


@LEARNERS.register("flp")
@register_class
class FLP(NetworkLearner):
    """A network whose last ``plastic_layers`` layers learn by a local rule under direct feedback: FLP(N).

    Args:
        network: its shape.
        plastic_layers: N, counted from the output.
        rule: how synapses change, such as :class:`~flp_agents.learners.plasticity.Oja`.
        feedback: the pathways from the output to every plastic layer.
        granularity: whether each "synapse", "neuron" or "layer" has a plasticity coefficient of its own.
        presynaptic: whether plasticity sees presynaptic activity "before" feedback (the paper's choice) or "after"
            (its footnote 2).
        initial_coefficient: plasticity coefficient alpha at the start of meta-training, in units of
            ``coefficient_unit``.
        coefficient_unit: the size that the stored coefficients are multiplied by. Adam moves every meta-parameter by
            about its learning rate, whatever its gradient, so a coefficient of useful size 1e-5 wants either a tiny
            rate of its own or, as here, a unit.
        coefficient_scale: whether coefficients are stored as they are, "linear", or as their natural logarithms,
            "log": then they stay above 0, and an outer step changes them by a share of their size.
        initial_strength: feedback strength beta at the start of meta-training: 0 is no feedback, 1 nothing but.
        hidden_multiplier: what the updates of hidden layers are multiplied by (100 in the released code's
            classification).
        objective: what it is to predict.
        seed: of the initial weights.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside 1..L, or a coefficient that has no logarithm is to have one.
        InvalidChoice: for an unknown granularity, presynaptic activity or coefficient scale.
    """

    def __init__(
        self,
        network: Network,
        plastic_layers: int = 2,
        *,
        rule: PlasticityRule = Oja(),
        feedback: Feedback = Feedback(),
        granularity: str = "synapse",
        presynaptic: str = "before",
        initial_coefficient: float = 0.0,
        coefficient_unit: float = 1.0,
        coefficient_scale: str = "linear",
        initial_strength: float = 0.5,
        hidden_multiplier: float = 1.0,
        objective: Objective = SquaredError(),
        seed: int = 0,
    ) -> None:
        seed = check_learner_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        super().__init__(network, plastic_layers, generator, objective)
        check_choice("presynaptic activity", presynaptic, PRESYNAPTIC)
        self._in_logarithms = check_choice("coefficient scale", coefficient_scale, COEFFICIENT_SCALES) == "log"
        if self._in_logarithms and not initial_coefficient > 0:
            raise InvalidSize(f"initial_coefficient must be above 0 on a log scale, got {initial_coefficient}")
        stored = math.log(initial_coefficient) if self._in_logarithms else float(initial_coefficient)
        self.settings = {
            "network": network,
            "plastic_layers": plastic_layers,
            "rule": rule,
            "feedback": feedback,
            "granularity": granularity,
            "presynaptic": presynaptic,
            "initial_coefficient": initial_coefficient,
            "coefficient_unit": coefficient_unit,
            "coefficient_scale": coefficient_scale,
            "initial_strength": initial_strength,
            "hidden_multiplier": hidden_multiplier,
            "objective": objective,
            "seed": seed,
        }
        self.rule, self.feedback, self.presynaptic = rule, feedback, presynaptic
        shapes = self.layers.plastic_shapes
        pathway = PATHWAYS[feedback.pathway]
        pathways = [pathway(feedback, network.outputs, out, generator) for out, _ in shapes]
        self.pathways = nn.ModuleList(pathways)
        if feedback.positive_output:
            pathways[-1].make_positive()
        self.coefficients = nn.ParameterList(
            [nn.Parameter(torch.full(coefficient_shape(granularity, *shape), stored)) for shape in shapes]
        )
        self.strengths = nn.ParameterList([nn.Parameter(torch.tensor(float(initial_strength))) for _ in shapes])
        self._units = [coefficient_unit * hidden_multiplier for _ in shapes[:-1]] + [coefficient_unit]
        self._lifetime_factor = 1.0

    def update(self, state: FastWeights, y: Tensor) -> FastWeights:
        signal = y - state.activity[-1] if self.feedback.signal == "error" else y
        posts = self._after_feedback(state.activity[1:], signal, y)
        pres = state.activity[:-1] if self.presynaptic == "before" else (state.activity[0], *posts[:-1])
        weights = tuple(
            self.rule(weight, pre, post, coefficient, unit * self._lifetime_factor)
            for weight, pre, post, coefficient, unit in zip(
                state.weights, pres, posts, self._coefficients(), self._units, strict=True
            )
        )
        return state._replace(weights=weights)

    def plastic_chain(self, state: FastWeights) -> tuple[Form, ChainTensors]:
        if type(self.rule) not in (Oja, Hebb):
            raise NotCovered(
                f"the closed form covers Oja's rule and Hebb's, not {type(self.rule).__name__}", surprising=True
            )
        if self.feedback.hidden_layers:
            raise NotCovered("the closed form covers feedback of one layer, not of several", surprising=True)
        if not all(type(pathway) is Direct for pathway in self.pathways):
            raise NotCovered(f"the closed form covers direct feedback, not {self.feedback.pathway}", surprising=True)
        pathways = cast("list[Direct]", list(self.pathways))
        form = Form(
            decay=isinstance(self.rule, Oja),
            error_signal=self.feedback.signal == "error",
            rectified=self.feedback.rectified,
            clamped_output=self.feedback.output == "clamped",
            presynaptic_after_feedback=self.presynaptic == "after",
            coefficient_units=tuple(unit * self._lifetime_factor for unit in self._units),
        )
        return form, ChainTensors(
            weights=state.weights,
            biases=state.biases,
            coefficients=self._coefficients(),
            strengths=tuple(self.strengths),
            feedback_weights=tuple(pathway.weights[0] for pathway in pathways),
            feedback_biases=tuple(pathway.biases[0] for pathway in pathways),
        )

    def scale_updates(self, factor: float) -> None:
        self._lifetime_factor = float(factor)

    def _coefficients(self) -> tuple[Tensor, ...]:
        """Of every plastic layer, in units."""
        return tuple(stored.exp() if self._in_logarithms else stored for stored in self.coefficients)

    def _after_feedback(self, activity: tuple[Tensor, ...], signal: Tensor, y: Tensor) -> list[Tensor]:
        """``(1 - beta_i) x_i + beta_i relu(B_i s + b_i)`` for every plastic layer."""
        last = len(activity) - 1
        posts = []
        for i, (x, pathway, strength) in enumerate(zip(activity, self.pathways, self.strengths, strict=True)):
            clamped = i == last and self.feedback.output == "clamped"
            posts.append(y if clamped else torch.lerp(x, pathway(signal), strength))
        return posts

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {
            "weights": list(self.layers.parameters()),
            "feedback": list(self.pathways.parameters()),
            "coefficients": list(self.coefficients),
            "strengths": list(self.strengths),
        }


@LEARNERS.register("feature-reuse")
def feature_reuse(*arguments: Any, **options: Any) -> FLP:
    """FLP(1): with the output layer alone plastic, no feedback reaches a hidden layer.

    Source: section 6 of Lindsey & Litwin-Kumar (2020).

    Args:
        arguments: as :class:`FLP` takes them.
        options: likewise.

    Raises:
        InvalidSize: if ``plastic_layers`` is not 1.
    """
    learner = FLP(*arguments, **options)
    layers = learner.settings["plastic_layers"]
    if layers != 1:
        raise InvalidSize(f"feature-reuse has 1 plastic layer, got {layers}: use the learner flp")
    return learner


# For who builds learners by name: what it takes is what FLP takes.
feature_reuse.__signature__ = inspect.signature(FLP)  # type: ignore[attr-defined]
