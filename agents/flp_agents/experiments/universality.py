"""Universality: any learning algorithm on a finite domain, as an FLP network whose weights are set by hand.

Section 4.2 of Lindsey & Litwin-Kumar (2020) states that deep enough ReLU networks with multilayer feedback and Hebb's
or Oja's rule approximate any learning algorithm. For finitely many inputs and targets this module constructs such a
network. The construction is this project's own, not the paper's proof; docs/universality.md explains it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from flp_agents.learners.feedback import Feedback
from flp_agents.learners.flp import FLP
from flp_agents.learners.network import Network
from flp_agents.learners.pathways.direct import Direct
from flp_agents.learners.plasticity.hebb import Hebb
from flp_agents.learners.plasticity.oja import Oja
from flp_agents.learners.plasticity.rule import PlasticityRule
from flp_base.errors import FLPError, InvalidChoice, InvalidSize, check_at_least
from flp_envs.scoring import plain_numbers

Point = tuple[float, ...]
History = tuple[tuple[Point, Point], ...]
Algorithm = Callable[[History, Point], ArrayLike]
"""From the pairs ``(x, y)`` seen so far, in their order, and an input to the prediction, of a target's size."""

MOST_RECOGNIZERS = 20_000
LARGEST = 1e30  # number: float32 ends at 3e38
CLOSEST = 1e-5  # of the largest coordinate: float32 needs about 1e-6, the rest is margin
CLOCK, MEMORY = 0, 4  # the layers that learn, among the seven plastic ones

_eye, _ones, _zeros = (partial(make, dtype=torch.float64) for make in (torch.eye, torch.ones, torch.zeros))


@dataclass(frozen=True)
class _Synapse:
    """Numbers with which a plastic synapse remembers for ``T`` steps, exactly in float32.

    One that starts at ``start``, and sees presynaptic activity 1 whenever its neuron is active (at 1), stays at or
    below ``threshold``. If once it saw ``1 + mark``, it ends at ``threshold + 1`` or above. One that starts at 0, sees
    1, and whose neuron is always active takes the values ``ticks``, ``(T + 1, 1)``.
    """

    coefficient: float
    start: float
    mark: float
    threshold: float
    ticks: Tensor

    @classmethod
    def under(cls, rule: PlasticityRule, steps: int) -> _Synapse:
        k = torch.arange(steps + 1, dtype=torch.float64).unsqueeze(1)
        if type(rule) is Hebb:  # counts: 0, 1, 2 .. T, and T more once it saw the mark
            return cls(1.0, 0.0, float(steps), float(steps), k)
        if type(rule) is Oja:  # goes half-way to what it sees: 1, and from the mark on 1 + 2^T / 2, 1 + 2^T / 4 ..
            return cls(0.5, 1.0, 2.0**steps, 1.0, 1.0 - 0.5**k)
        raise InvalidChoice("plasticity rule for the construction", type(rule).__name__, ["Hebb", "Oja"])


def construct_learner(
    algorithm: Algorithm, inputs: ArrayLike, targets: ArrayLike, steps: int, *, rule: PlasticityRule = Oja()
) -> FLP:
    """An FLP learner that predicts as ``algorithm`` does, throughout lifetimes of up to ``steps`` inner steps.

    After ``k <= T`` inner steps of one pair each (``B = 1``), it predicts ``algorithm(((x_0, y_0), .., (x_{k-1},
    y_{k-1})), x)``, rounded to float32, for every ``x`` among the inputs. Other inputs and targets, larger minibatches
    and longer lifetimes are outside its domain: what it then predicts means nothing.

    Nine layers. Two frozen ones turn ``x`` into a one-hot code. In the third a synapse counts the steps. Layers 4 to 6
    compute ``a_(t,x) = 1 + mark [step t and input x]``, presynaptic to the memory, layer 7: its neuron ``(t, x, y)``
    has one plastic synapse, from ``a_(t,x)``, and feedback sets it to ``[target y]``, so that the rule marks the
    synapse of the step, input and target at hand and no other. Layer 8 has one neuron for every history and input,
    active when they are at hand; layer 9 weighs it by the algorithm's prediction. These are ``m sum_k (m p)^k`` neurons
    for ``m`` inputs and ``p`` targets: exponentially many.

    Source: section 4.2 of Lindsey & Litwin-Kumar (2020) for the claim.

    Args:
        algorithm: any function of a history and an input; called once for each.
        inputs: ``(m, *input)``, all inputs there are; numbers stand for vectors of length 1.
        targets: ``(p, *target)``, all targets there are.
        steps: ``T``, inner steps of the longest lifetime.
        rule: Hebb's or Oja's.

    Returns:
        A float32 learner of ``prod(input)`` inputs and ``prod(target)`` outputs. Nothing in it is trained.

    Raises:
        InvalidSize: if there are too few points or steps, or the network would be too large.
        InvalidChoice: for another rule.
        FLPError: if points are too large or too close to each other, or a prediction is not of a target's size.
    """
    xs, ys = _points("inputs", inputs, 1), _points("targets", targets, 2)
    m, p = len(xs), len(ys)
    # With m p at least 2 a lifetime of 20 steps is too long already; what longer ones would take has too many digits.
    if m * sum((m * p) ** k for k in range(min(check_at_least("steps", steps, 1), 20) + 1)) > MOST_RECOGNIZERS:
        raise InvalidSize(
            f"{m} inputs, {p} targets and {steps} steps take more than {MOST_RECOGNIZERS} neurons, one for each "
            "history and input: choose fewer"
        )
    synapse = _Synapse.under(rule, steps)
    reads = _eye(steps * m).repeat_interleave(p, 0)  # which a_(t,x) each neuron of the memory reads
    layers = [*_up_to_memory(xs, reads, synapse), *_table(algorithm, xs, ys, steps)]
    (match_y, match_y_bias), is_y = _indicator(ys)
    learner = FLP(
        Network((xs.shape[1], *(len(bias) for _, bias in layers))),
        plastic_layers=7,
        rule=rule,
        feedback=Feedback(signal="target", hidden_layers=1, hidden_width=len(match_y)),
        initial_strength=0.0,
    )
    pathways = [cast(Direct, pathway) for pathway in learner.pathways]
    with torch.no_grad():
        for i, (weight, bias) in enumerate(layers):
            learner.layers.weights[i].copy_(weight)
            learner.layers.biases[i].copy_(bias)
        for pathway in pathways:
            pathway.weights[0].copy_(match_y)
            pathway.biases[0].copy_(match_y_bias)
            pathway.weights[1].zero_()
        pathways[CLOCK].biases[1][m] = 1.0
        learner.coefficients[CLOCK][m, m] = synapse.coefficient
        pathways[MEMORY].weights[1][-len(reads) :] = is_y.repeat(steps * m, 1)
        pathways[MEMORY].biases[1][-len(reads) :] = 1.0
        learner.coefficients[MEMORY][-len(reads) :, -steps * m :] = synapse.coefficient * reads
        for layer in (CLOCK, MEMORY):
            learner.strengths[layer].fill_(1.0)
    return learner


def _points(name: str, values: ArrayLike, fewest: int) -> Tensor:
    """``(n, size)`` vectors that float32 tells apart."""
    try:
        points = np.atleast_1d(plain_numbers(values).astype(np.float64))
    except (TypeError, ValueError):
        raise FLPError(f"{name} must be numbers, or vectors of equal length, got {values!r}") from None
    vectors = torch.tensor(points.reshape(check_at_least(f"the number of {name}", len(points), fewest), -1))
    largest = float(vectors.abs().max()) if vectors.numel() else math.nan
    if not largest <= LARGEST:
        raise FLPError(f"{name} must be numbers up to {LARGEST}, or vectors of them, got {values!r}")
    if _distance(vectors) < max(CLOSEST * largest, 1 / LARGEST):
        raise FLPError(f"{name} must differ by at least {CLOSEST} of the largest number, got {values!r}")
    return vectors


def _distance(points: Tensor) -> float:
    """Between the nearest two of ``(n, size)`` points, on average over coordinates; of a single point its own size."""
    distances = torch.nn.functional.pdist(points, 1) if len(points) > 1 else points.abs().sum() + 1.0
    return float(distances.min()) / points.shape[1]


def _indicator(points: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """One-hot code of ``(n, size)`` points by two ReLU layers, exact in spite of rounding.

    The first layer's neurons measure how far a coordinate lies above, or below, a point's, less a margin. At the point
    all of its own are silent; at every other they add up to more than 1. So ``relu(1 + weight @ first)`` is one-hot.

    Returns:
        Weight ``(2 n size, size)`` and bias ``(2 n size,)`` of the first layer, weight ``(n, 2 n size)`` of the second.
    """
    n, size = points.shape
    scale, margin = 2.0 / (size * _distance(points)), 0.5 / size
    above, centre = scale * _eye(size).repeat(n, 1), scale * points.flatten()
    first = torch.cat([above, -above]), torch.cat([-centre, centre]) - margin
    return first, -_eye(n).repeat_interleave(size, 1).repeat(1, 2)


def _copying(copied: int, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer whose first neurons copy those of the layer below; its others see the rest of that layer."""
    rows = torch.cat([_zeros(len(weight), copied), weight], 1)
    return torch.cat([_eye(copied, rows.shape[1]), rows]), torch.cat([_zeros(copied), bias])


def _up_to_memory(xs: Tensor, reads: Tensor, synapse: _Synapse) -> list[tuple[Tensor, Tensor]]:
    """Layers 1 to 7. The last five begin with the input's one-hot code, the last three go on with the tick's."""
    m, ticks, events = len(xs), len(synapse.ticks), reads.shape[1]
    (match_x, is_x), (match_tick, is_tick) = _indicator(xs), _indicator(synapse.ticks)
    copies, tick_bias = _copying(m, is_tick, _ones(ticks))
    # Of step t and input x: the input's code, less a mismatch of the tick that is 0 or more than 1.
    both = torch.cat([_eye(m).repeat(ticks - 1, 1), is_tick[:-1].repeat_interleave(m, 0)], 1)
    return [
        match_x,
        (torch.cat([is_x, _zeros(1, is_x.shape[1])]), _ones(m + 1)),  # the last neuron is always at 1
        _copying(m, _zeros(1, 1), _zeros(1)),  # the clock's synapse starts at 0
        _copying(m, *match_tick),
        (torch.cat([copies, both]), torch.cat([tick_bias, _zeros(events)])),
        _copying(m + ticks, synapse.mark * _eye(events), _ones(events)),
        # Silent where the synapse was not marked, at least 1 where it was and the mark is not being read.
        _copying(m + ticks, synapse.start * reads, -synapse.threshold * _ones(len(reads))),
    ]


def _table(algorithm: Algorithm, xs: Tensor, ys: Tensor, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Layers 8 and 9: recognizers of every history and input, and the prediction.

    That of ``k`` steps is active, and then at 1, iff the input and the tick ``k`` are there and the memory of no step
    before ``k`` holds another pair than the history has.
    """
    x_points, y_points = [tuple(x) for x in xs.tolist()], [tuple(y) for y in ys.tolist()]
    pairs = list(itertools.product(x_points, y_points))
    m, copied = len(xs), len(xs) + steps + 1
    rows, predictions = [], []
    for k in range(steps + 1):
        for history in itertools.product(range(len(pairs)), repeat=k):
            row = _zeros(copied + steps * len(pairs))
            row[m + k] = 1.0
            held = row[copied:].view(steps, len(pairs))
            held[:k] = -1.0
            held[range(k), history] = 0.0
            for number, x in enumerate(x_points):
                rows.append(row.clone())
                rows[-1][number] = 1.0
                predictions.append(_prediction(algorithm(tuple(pairs[i] for i in history), x), ys.shape[1]))
    weights = torch.stack(predictions, 1)
    return [(torch.stack(rows), -_ones(len(rows))), (weights, _zeros(len(weights)))]


def _prediction(value: ArrayLike, size: int) -> Tensor:
    try:
        numbers = plain_numbers(value).astype(np.float64).ravel()
    except TypeError:
        numbers = np.array([])
    if len(numbers) != size or not (abs(numbers) <= LARGEST).all():
        raise FLPError(f"the algorithm must return {size} numbers up to {LARGEST}, as a target has, got {value!r}")
    return torch.tensor(numbers)
