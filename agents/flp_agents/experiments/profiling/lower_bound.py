"""The least that an outer step can cost: its matrix products, at the rate that this machine multiplies matrices."""

from __future__ import annotations

import statistics
import time

import torch

from flp_agents.learners.gradient_based import GradientBased
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.learners.trunk import fastest_product
from flp_envs.episode import Episode

_SIZE = 2048


def products_per_step(learner: NetworkLearner) -> list[int]:
    """How many products of ``B * out * in`` multiplications an inner step needs, its way back included, by layer.

    FLP: the prediction and the Hebbian term; backwards the gradients of both activities of the Hebbian term, of the
    prediction's weights and of its input. The second-order gradient learner: the prediction, the inner gradients of
    weights and input, and backwards two for each of the three. The first layer's inner gradient of its input is not
    needed; nor, without a trunk, is any gradient of its input. What is stored need not be computed twice.
    """
    layers = list(learner.layers.plastic_shapes)
    has_trunk = learner.layers.trunk_layers > 0
    if isinstance(learner, GradientBased):
        first, other = (6 if has_trunk else 4), 9
    else:
        first, other = (6 if has_trunk else 4), 6
    return [first, *[other] * (len(layers) - 1)]


def operations(learner: NetworkLearner, episode: Episode) -> int:
    """Floating-point operations in the matrix products of one outer step; those element by element are left out."""
    lifetimes, steps, batch = map(int, episode.support_y.shape[:3])
    inputs = lifetimes * steps * batch
    queries = lifetimes * int(episode.query_y.shape[1] * episode.query_y.shape[2])
    trunk: list[int] = [w.numel() for w in list(learner.layers.weights)[: learner.layers.trunk_layers]]
    tail = [out * into for out, into in learner.layers.plastic_shapes]
    # Forwards, and backwards to weights and inputs; the gradient of a lifetime's inputs is not needed.
    through_trunk = 3 * sum(trunk) - (trunk[0] if trunk else 0)
    through_tail = sum(count * size for count, size in zip(products_per_step(learner), tail, strict=True))
    predictions = 3 * sum(tail) - (0 if trunk else tail[0])
    return 2 * (inputs * (through_trunk + through_tail) + queries * (through_trunk + predictions))


class ProductRate:
    """Floating-point operations a second of a large float32 matrix product, by the faster of torch's two ways."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.left = torch.randn(_SIZE, _SIZE, device=device)
        self.right = torch.randn(_SIZE, _SIZE, device=device)
        self.seconds: list[float] = []
        self._once()

    def measure(self) -> None:
        """Once more."""
        self.seconds.append(self._once())

    @property
    def operations_per_second(self) -> float:
        """By the median of all measurements."""
        return 2 * _SIZE**3 / statistics.median(self.seconds)

    def _once(self) -> float:
        return min(self._timed(product) for product in (torch.mm, fastest_product))

    def _timed(self, product: object) -> float:
        started = time.perf_counter()
        product(self.left, self.right)  # type: ignore[operator]
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started
