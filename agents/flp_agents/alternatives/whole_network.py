"""A network all of whose layers, convolutions included, have weights of their own in every lifetime.

Activities are kept as columns, ``(E, units, positions)``: a fully connected layer has a position for each pair, a
convolution one for each pixel of each pair, with the pixels around it as input. So each layer of either kind is one
product, and so is what leads back through it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flp_agents.convolutions import Convolutions
from flp_agents.network import Layers, Network

# Weights ``(E, out, in)`` and biases ``(E, out)`` of every layer in turn, from the input to the output.
Parameters = tuple[Tensor, ...]
# What a layer, named by its number, makes of its input's columns ``(E, in, positions)``.
Connect = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def affine(_layer: int, columns: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``W x + b``, ``(E, in, positions) -> (E, out, positions)``."""
    return torch.baddbmm(bias.unsqueeze(2), weight, columns)


def sides_of(shape: Convolutions) -> list[tuple[int, int]]:
    """Height and width of every convolution's activity, in pixels."""
    height, width = shape.image_shape[1:]
    sides = []
    for stride in shape.strides:
        height, width = ((side + 2 * shape.padding - 3) // stride + 1 for side in (height, width))
        sides.append((height, width))
    return sides


class WholeNetwork(nn.Module):
    """Answers with any weights; its own are those at birth.

    Args:
        layers: the initial weights.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        shape = layers.network.convolutions
        self._sides = [] if shape is None else sides_of(shape)

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

    def at_birth(self, n: int) -> Parameters:
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

    def answer(self, parameters: Parameters, features: Tensor) -> Tensor:
        """``(E, B, *input) -> (E, B, n_y)``."""
        return self.activities(parameters, features)[-1].transpose(1, 2)

    def activities(self, parameters: Parameters, features: Tensor, connect: Connect = affine) -> list[Tensor]:
        """Of every layer, the linear output last.

        Args:
            parameters: of ``E`` lifetimes.
            features: ``(E, B, *input)`` encoded inputs.
            connect: leads from each layer to the next.

        Returns:
            ``(E, units, positions)`` for each layer.
        """
        lifetimes, pairs = features.shape[:2]
        layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        activities: list[Tensor] = []
        shape = self.network.convolutions
        if shape is None:
            columns = features.transpose(1, 2)
        else:
            mean, deviation = (parameters[0].new_tensor(v).reshape(-1, 1, 1) for v in (shape.mean, shape.deviation))
            images = (features.flatten(0, 1).to(mean) / 255.0 - mean) / deviation
            for i, stride in enumerate(shape.strides):
                around = nn.functional.unfold(images, 3, padding=shape.padding, stride=stride)
                # (E B, in 9, pixels) to (E, in 9, B pixels)
                columns = around.reshape(lifetimes, pairs, *around.shape[1:]).transpose(1, 2).flatten(2)
                activities.append(torch.relu(connect(i, columns, *layers[i])))
                pixels = activities[-1].reshape(lifetimes, -1, pairs, *self._sides[i]).transpose(1, 2)
                images = pixels.flatten(0, 1)
            columns = images.reshape(lifetimes, pairs, -1).transpose(1, 2)
        for i in range(len(activities), len(layers)):
            value = connect(i, columns, *layers[i])
            columns = torch.relu(value) if i < len(layers) - 1 else value
            activities.append(columns)
        return activities
