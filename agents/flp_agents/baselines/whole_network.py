"""A network all of whose layers, convolutions included, have weights of their own in every lifetime.

Activities are kept as rows, ``(E, positions, units)``: a fully connected layer has a position for each pair, a
convolution one for each pixel of each pair, with the pixels around it as input. So each layer of either kind is one
product, and so is what leads back through it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.network import Layers, Network
from flp_base.shown_options import as_call

# Weights ``(E, out, in)`` and biases ``(E, out)`` of every layer in turn, from the input to the output.
Parameters = tuple[Tensor, ...]
# What a layer's activity ``(E, positions, units)`` hears from the next layer, named by its number, and from the loss's
# gradient in that layer's sums, ``(E, positions, out)``.
Hear = Callable[[int, Tensor], Tensor]


class Forward(NamedTuple):
    """What a network did with a minibatch.

    Attributes:
        inputs: ``(E, positions, in)`` every layer's.
        activities: ``(E, positions, out)`` what it made of it; the linear output last.
    """

    inputs: tuple[Tensor, ...]
    activities: tuple[Tensor, ...]

    @property
    def predictions(self) -> Tensor:
        """``(E, B, n_y)``."""
        return self.activities[-1]


def sides_of(shape: Convolutions) -> list[tuple[int, int]]:
    """Height and width of every convolution's activity, in pixels."""
    height, width = shape.image_shape[1:]
    sides = []
    for stride in shape.strides:
        height, width = ((side + 2 * shape.padding - 3) // stride + 1 for side in (height, width))
        sides.append((height, width))
    return sides


class WholeNetwork(nn.Module):
    """Predicts with any weights; its own are the initial ones.

    Args:
        layers: the initial weights.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        shape = layers.network.convolutions
        self._sides = [] if shape is None else sides_of(shape)

    def __repr__(self) -> str:
        return as_call(self, {"network": self.network})

    @classmethod
    def random(cls, network: Network, generator: torch.Generator) -> WholeNetwork:
        """With random initial weights; every layer is plastic."""
        return cls(Layers(network, network.layers, generator))

    @property
    def network(self) -> Network:
        """Its shape."""
        return self.layers.network

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """``(out, in)`` of every layer's weights."""
        return [(weight.shape[0], weight[0].numel()) for weight in (*self.layers.kernels, *self.layers.weights)]

    @property
    def hidden_sizes(self) -> list[int]:
        """Numbers in the activity of every hidden layer, for one pair."""
        below = [out * height * width for (out, _), (height, width) in zip(self.shapes, self._sides, strict=False)]
        return [*below, *self.network.widths[1:-1]]

    def initial_parameters(self, n: int) -> Parameters:
        """The initial weights, once for each of ``n`` lifetimes."""
        layers = self.layers
        weights, biases = (*layers.kernels, *layers.weights), (*layers.kernel_biases, *layers.biases)
        own: list[Tensor] = []
        for weight, bias in zip(weights, biases, strict=True):
            own += [weight.detach().flatten(1).expand(n, -1, -1), bias.detach().expand(n, -1)]
        return tuple(own)

    def encode(self, x: Tensor) -> Tensor:
        """Numbers scaled; images remain bytes, which take little memory."""
        return x * self.layers.input_scale if self.network.input_scale is not None else x

    def predict(self, parameters: Parameters, features: Tensor) -> Tensor:
        """``(E, B, *input) -> (E, B, n_y)``."""
        # Only the last layer's activity stays in memory.
        ((_, predictions),) = deque(self._layer_by_layer(parameters, features), maxlen=1)
        return predictions

    def run(self, parameters: Parameters, features: Tensor) -> Forward:
        """Predicts encoded inputs ``(E, B, *input)``, and keeps all that :meth:`gradients` needs."""
        inputs, activities = zip(*self._layer_by_layer(parameters, features), strict=True)
        return Forward(inputs, activities)

    def gradients(
        self, parameters: Parameters, forward: Forward, gradient: Tensor, hear: Hear | None = None
    ) -> Parameters:
        """Of a loss in all parameters, by backpropagation (Rumelhart et al., 1986).

        Args:
            parameters: that it predicted with.
            forward: of :meth:`run`.
            gradient: of the loss in the predictions, ``(E, B, n_y)``.
            hear: how hidden layers hear of it; none: through the next layer's own weights.
        """

        def through_own_weights(layer: int, delta: Tensor) -> Tensor:
            return self.lead_back(layer, delta @ parameters[2 * layer])

        hear = hear or through_own_weights
        delta, found = gradient, list[Tensor]()
        for layer in reversed(range(len(forward.inputs))):
            found += [delta.sum(1), delta.transpose(1, 2) @ forward.inputs[layer]]
            if layer > 0:
                delta = hear(layer, delta) * (forward.activities[layer - 1] > 0)
        return tuple(reversed(found))

    def lead_back(self, layer: int, heard: Tensor) -> Tensor:
        """What a layer's input ``(E, positions, in)`` hears, as it is for the activity that the input was made of."""
        convolutions = len(self._sides)
        if layer > convolutions:
            return heard
        if layer == convolutions:
            return self.by_pixel(layer - 1, heard)
        shape = self.network.convolutions
        assert shape is not None
        pixels = self._sides[layer][0] * self._sides[layer][1]
        # (E, B pixels, in 9) to (E B, in 9, pixels): a pixel hears from all that it was around.
        around = heard.reshape(-1, pixels, heard.shape[2]).transpose(1, 2)
        padding, stride = shape.padding, shape.strides[layer]
        images = nn.functional.fold(around, self._sides[layer - 1], 3, padding=padding, stride=stride)
        return self.by_pixel(layer - 1, images.reshape(len(heard), -1, images[0].numel()))

    def by_pixel(self, layer: int, units: Tensor) -> Tensor:
        """All units of a layer's activity for each pair, ``(E, B, units)``, as the activity has them.

        A convolution's units are ``(E, B, channels pixels)``, and become ``(E, B pixels, channels)``.
        """
        if layer >= len(self._sides):
            return units
        channels = self.shapes[layer][0]
        return units.reshape(*units.shape[:2], channels, -1).transpose(2, 3).flatten(1, 2)

    def _layer_by_layer(self, parameters: Parameters, features: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields every layer's input ``(E, positions, in)`` and activity ``(E, positions, out)``."""
        lifetimes, pairs = features.shape[:2]
        layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        shape, rows = self.network.convolutions, features
        if shape is not None:
            mean, deviation = (parameters[0].new_tensor(v).reshape(-1, 1, 1) for v in (shape.mean, shape.deviation))
            images = (features.flatten(0, 1).to(mean) / 255.0 - mean) / deviation
            for stride, side, (weight, bias) in zip(shape.strides, self._sides, layers, strict=False):
                around = nn.functional.unfold(images, 3, padding=shape.padding, stride=stride)
                # (E B, in 9, pixels) to (E, B pixels, in 9)
                rows = around.transpose(1, 2).reshape(lifetimes, -1, around.shape[1])
                activity = torch.relu(_affine(rows, weight, bias))
                yield rows, activity
                images = activity.reshape(lifetimes * pairs, -1, activity.shape[2]).transpose(1, 2)
                images = images.reshape(len(images), -1, *side)
            rows = images.reshape(lifetimes, pairs, -1)
        *hidden, output = layers[len(self._sides) :]
        for weight, bias in hidden:
            activity = torch.relu(_affine(rows, weight, bias))
            yield rows, activity
            rows = activity
        yield rows, _affine(rows, *output)


def _affine(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``W x + b``, ``(E, positions, in)`` to ``(E, positions, out)``."""
    return torch.baddbmm(bias.unsqueeze(1), rows, weight.transpose(1, 2))
