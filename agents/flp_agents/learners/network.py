"""The feedforward network that every learner here shares: a frozen trunk, then a plastic tail.

The last N layers have fast weights, which change within a lifetime; all layers before them are the trunk, which does
not. So the trunk's features of a whole lifetime are one large matrix product, outside the inner loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flp_agents.learners.convolutions import Convolutions, convolve
from flp_agents.learners.trunk import features_of
from flp_agents.support.savable import register_class
from flp_agents.support.settings import LARGEST_SIZE, Section, option, register_settings
from flp_base.errors import InvalidSize, check_at_least
from flp_base.machine_memory import check_fits


@register_settings("network")
@dataclass(frozen=True)
class NetworkSettings(Section):
    """The network between an environment's inputs and targets; the defaults are the paper's for sine waves."""

    hidden_widths: tuple[int, ...] = option(
        (300, 300, 300, 300, 300, 900, 300, 300), "units of every hidden layer", least=1, most=LARGEST_SIZE
    )
    scale_inputs: bool = option(False, "divide every input by its largest absolute value in the observation space")
    channels: int = option(256, "images: channels of every convolution", least=1, most=LARGEST_SIZE)
    padding: int = option(0, "images: zeros around every convolution's input", most=1000)
    ink: bool = option(False, "grey images: black counts as 1 and white as 0, not the other way round")
    output_units: int = option(0, "labels: output units, if more than there are classes", most=LARGEST_SIZE)
    plastic_layers: int = option(2, "N, the layers with fast weights, counted from the output", least=1)


@register_class
@dataclass(frozen=True)
class Network:
    """The shape of a network: fully connected layers with ReLU between them and a linear output, over images after
    convolutions.

    Attributes:
        widths: units of every fully connected layer, its input first and the output last.
        input_scale: what each input is multiplied by first, one number for each; none: inputs as they are.
        convolutions: what images go through first; their features are the fully connected layers' input.
        input_range: between which values every input lies, see :mod:`flp_agents.learners.input_range`; none: not known.
    """

    widths: tuple[int, ...]
    input_scale: tuple[float, ...] | None = None
    convolutions: Convolutions | None = None
    input_range: tuple[tuple[float | None, float | None], ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(check_at_least("a layer's width", w, 1) for w in self.widths))
        if len(self.widths) < 2:
            raise InvalidSize(f"widths must name at least an input and an output, got {self.widths}")
        if self.convolutions is not None and self.convolutions.features != self.widths[0]:
            raise InvalidSize(
                f"the first of widths must be the convolutions' {self.convolutions.features} features, "
                f"got {self.widths[0]}"
            )
        if self.input_scale is not None:
            object.__setattr__(self, "input_scale", tuple(float(s) for s in self.input_scale))
            if len(self.input_scale) != self.widths[0]:
                raise InvalidSize(
                    f"input_scale must hold {self.widths[0]} numbers, one for each input, got {len(self.input_scale)}"
                )

        if self.input_range is not None:
            pairs = tuple(tuple(pair) for pair in self.input_range)
            object.__setattr__(self, "input_range", pairs)
            if self.convolutions is not None or len(pairs) not in (1, self.widths[0]) or {len(p) for p in pairs} != {2}:
                raise InvalidSize(
                    f"input_range must hold a smallest and a largest value for each of {self.widths[0]} numbers, or "
                    f"one pair for all of them, got {self.input_range}"
                )

    @property
    def layers(self) -> int:
        """``L``, the number of fully connected layers."""
        return len(self.widths) - 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.widths[:1] if self.convolutions is None else self.convolutions.image_shape

    @property
    def outputs(self) -> int:
        """``n_y``, the number of output units."""
        return self.widths[-1]

    def check_plastic_layers(self, plastic_layers: int) -> int:
        """Returns ``plastic_layers`` if the network has that many.

        Raises:
            InvalidSize: outside 1..L.
        """
        if not 1 <= plastic_layers <= self.layers:
            raise InvalidSize(
                f"plastic_layers must lie between 1 and the network's number of layers, {self.layers}, "
                f"got {plastic_layers}"
            )
        return plastic_layers


def kaiming_normal(shape: Sequence[int], generator: torch.Generator) -> nn.Parameter:
    """``(out, in)`` weights, or ``(out, in, 3, 3)``, from a normal distribution of deviation ``sqrt(2 / fan-in)``."""
    return nn.Parameter(torch.randn(*shape, generator=generator) * (2.0 / math.prod(shape[1:])) ** 0.5)


def check_weights_fit(shapes: Iterable[tuple[int, ...]], instead: str) -> None:
    """Makes sure that weights fit into memory, before they are drawn.

    Raises:
        TooMuchMemory: with the advice ``instead``, if they do not.
    """
    numbers = sum(math.prod(shape) for shape in shapes)
    check_fits(f"{numbers} initial weights", 4 * numbers, instead)


class FastWeights(NamedTuple):
    """What changes within a lifetime: the tail's weights, and what it did with the last input.

    Attributes:
        weights: for every plastic layer ``(E, out, in)``.
        biases: for every plastic layer ``(E, out)``.
        activity: of the minibatch predicted last: the tail's input ``(E, B, in)``, then every plastic layer's
            activity ``(E, B, out)``, the prediction last. Empty before the first prediction.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activity: tuple[Tensor, ...] = ()


class Layers(nn.Module):
    """The initial weights and biases of a network's layers: meta-parameters.

    Attributes:
        precision: of the trunk's products, see :func:`~flp_agents.learners.trunk.features_of`.
    """

    def __init__(self, network: Network, plastic_layers: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = network
        self.trunk_layers = network.layers - network.check_plastic_layers(plastic_layers)
        shapes = [(out, into) for into, out in zip(network.widths[:-1], network.widths[1:], strict=True)]
        kernels = [] if network.convolutions is None else network.convolutions.kernel_shapes
        check_weights_fit((*shapes, *kernels), "use narrower layers, fewer channels or fewer classes")
        self.weights = nn.ParameterList([kaiming_normal(shape, generator) for shape in shapes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(out)) for out, _ in shapes])
        self.kernels = nn.ParameterList([kaiming_normal(shape, generator) for shape in kernels])
        self.kernel_biases = nn.ParameterList([nn.Parameter(torch.zeros(shape[0])) for shape in kernels])
        scale = torch.ones(network.widths[0]) if network.input_scale is None else torch.tensor(network.input_scale)
        self.register_buffer("input_scale", scale, persistent=False)

    input_scale: Tensor
    precision: str = "float32"

    @property
    def plastic_shapes(self) -> list[tuple[int, int]]:
        """``(out, in)`` of every plastic layer."""
        return [(w.shape[0], w.shape[1]) for w in list(self.weights)[self.trunk_layers :]]

    def trunk(self, x: Tensor) -> Tensor:
        """Features of any number of inputs, ``(..., *input) -> (..., features)``; free of fast weights."""
        if self.network.convolutions is not None:
            x = convolve(self.network.convolutions, x, list(self.kernels), list(self.kernel_biases), self.precision)
        scaled = x * self.input_scale if self.network.input_scale is not None else x
        trunk = slice(self.trunk_layers)
        return features_of(scaled, list(self.weights)[trunk], list(self.biases)[trunk], self.precision)

    def fast_weights(self, n: int) -> FastWeights:
        """The tail's initial weights, once for each of ``n`` lifetimes."""
        weights, biases = list(self.weights)[self.trunk_layers :], list(self.biases)[self.trunk_layers :]
        return FastWeights(
            tuple(weight.expand(n, *weight.shape) for weight in weights),
            tuple(bias.expand(n, *bias.shape) for bias in biases),
        )


def predict(state: FastWeights, features: Tensor) -> tuple[Tensor, FastWeights]:
    """Runs ``(E, B, features)`` through the plastic tail and remembers every layer's activity.

    Returns:
        The linear output ``(E, B, n_y)`` and the state with ``activity`` filled.
    """
    activity = [features]
    last = len(state.weights) - 1
    for i, (weight, bias) in enumerate(zip(state.weights, state.biases, strict=True)):
        value = torch.baddbmm(bias.unsqueeze(1), activity[-1], weight.transpose(1, 2))
        activity.append(torch.relu(value) if i < last else value)
    return activity[-1], state._replace(activity=tuple(activity))
