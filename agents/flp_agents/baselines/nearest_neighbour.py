"""Learners that keep every pair and predict from those nearest to the input.

Sources: nearest neighbours, Cover & Hart (1967); the kernel-weighted mean, Nadaraya (1964) and Watson (1964).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from flp_agents.baselines.baseline import BaselineLearner, check_above_zero
from flp_agents.baselines.building import input_form, register_baseline
from flp_agents.baselines.replay_buffer import SeenPairs, choose, join, minibatch
from flp_agents.learners.objective import CrossEntropy, Objective, SquaredError, objective_of
from flp_base.errors import check_at_least

# Up to so many pairs, looking at all of them costs less than finding out which are near.
FEW_PAIRS = 512
# A weight is lost in rounding where its logarithm is so far below another's: 1e5 of exp(-50) are 2e-17.
LOST = 50.0


class Remembered(NamedTuple):
    """All pairs that lifetimes have met, and ``(E, B, inputs)`` what they predicted last."""

    pairs: SeenPairs = ()
    features: tuple[Tensor, ...] = ()


class Remembering(BaselineLearner[Remembered]):
    """What learners by distance have in common; subclasses add :meth:`predict_from`.

    Pairs that are too far away to matter are not looked at: those of a whole minibatch, by the box around its inputs.

    Args:
        input_shape: of one input.
        input_scale: what each input, or pixel, is multiplied by; one number serves all.
        outputs: ``n_y``.
        objective: what it is to predict.
    """

    def __init__(
        self, input_shape: tuple[int, ...], input_scale: tuple[float, ...], outputs: int, objective: Objective
    ) -> None:
        super().__init__(input_shape, outputs, objective)
        # A parameter, so that the learner has a device and a precision.
        self.input_scale = nn.Parameter(torch.tensor(input_scale), requires_grad=False)
        self.settings = {
            "input_shape": input_shape,
            "input_scale": input_scale,
            "outputs": outputs,
            "objective": objective,
        }

    def predict_from(self, squares: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions by distance.

        Args:
            squares: ``(E, B, N)`` squared distances to some pairs, infinite to those not met.
            y: ``(E, N, n_y)`` their targets.

        Returns:
            ``(E, B, n_y)`` the predictions, 0 or equal scores where a lifetime has met nothing; and ``(E,)`` the
            squared distance beyond which no further pair would change them.
        """
        raise NotImplementedError

    def init(self, n: int) -> Remembered:
        return Remembered()

    def predict(self, state: Remembered, features: Tensor) -> tuple[Tensor, Remembered]:
        inputs = features.flatten(2).to(self.input_scale) * self.input_scale
        predictions = self._predict(inputs, state.pairs)
        return predictions, state._replace(features=(inputs,))

    def predict_all(self, state: Remembered, features: Tensor) -> Tensor:
        # A minibatch at a time: what is near to it is not near to others.
        return torch.stack([self.predict(state, inputs)[0] for inputs in features.unbind(1)], 1)

    def update(self, state: Remembered, y: Tensor) -> Remembered:
        return self.update_where(torch.ones(len(y), dtype=torch.bool), state, y)

    def update_where(self, mask: Tensor, state: Remembered, y: Tensor) -> Remembered:
        return state._replace(pairs=(*state.pairs, minibatch(state.features[0], y, mask, boxed=True)))

    def choose(self, mask: Tensor, yes: Remembered, no: Remembered) -> Remembered:
        rest = super().choose(mask, yes._replace(pairs=()), no._replace(pairs=()))
        return rest._replace(pairs=choose(mask, yes.pairs, no.pairs))

    def settle(self, state: Remembered) -> Remembered:
        return state._replace(features=())

    def scores(self, means: Tensor, weight: Tensor) -> Tensor:
        """Mean targets ``(E, B, n_y)`` of so much weight ``(E, B, 1)`` as predictions: for labels, log probabilities
        with one vote more for every class, as Laplace has it."""
        if not isinstance(self.objective, CrossEntropy):
            return means
        return torch.log((means * weight + 1) / (weight + self.outputs))

    def _predict(self, inputs: Tensor, pairs: SeenPairs) -> Tensor:
        """Predictions ``(E, B, n_y)`` for ``(E, B, inputs)``."""
        predictions = self.scores(inputs.new_zeros(*inputs.shape[:2], self.outputs), inputs.new_zeros(1))
        if not pairs:
            return predictions
        if sum(step.y.shape[1] for step in pairs) <= FEW_PAIRS:
            x, y, met = join(pairs)
            return self.predict_from(distances(inputs, x, met), y)[0]
        gaps = _gaps(inputs, pairs)
        # First those that may be nearest. What they tell of how far others matter decides on a second look.
        nearest = torch.isfinite(gaps) & (gaps <= gaps.amin(1, keepdim=True))
        for which, steps in _alike(nearest):
            x, y = _together(pairs, steps, which)
            predictions[which], reach = self.predict_from(distances(inputs[which], x), y)
            wanted = torch.isfinite(gaps[which]) & (gaps[which] <= reach.unsqueeze(1))
            more = (wanted & ~nearest[which]).any(1)
            for some, further in _alike(wanted[more]):
                again = which[more][some]
                x, y = _together(pairs, further, again)
                predictions[again], _ = self.predict_from(distances(inputs[again], x), y)
        return predictions


def distances(inputs: Tensor, x: Tensor, met: Tensor | None = None) -> Tensor:
    """Squared Euclidean distances from ``(E, B, inputs)`` to ``(E, N, inputs)``; infinite to pairs not met."""
    squares = torch.baddbmm(x.square().sum(2).unsqueeze(1), inputs, x.transpose(1, 2), alpha=-2)
    squares += inputs.square().sum(2, keepdim=True)
    if met is not None and not met.all():
        squares.masked_fill_(~met.unsqueeze(1), torch.inf)
    return squares


def _gaps(inputs: Tensor, pairs: SeenPairs) -> Tensor:
    """Lower bounds ``(E, T)`` of the squared distances between the inputs and each step's pairs."""
    boxes = torch.stack([step.box[0] for step in pairs], 1)
    low, high = boxes.unbind(2)
    beside = torch.maximum(low - inputs.amax(1, keepdim=True), inputs.amin(1, keepdim=True) - high)
    gaps = beside.clamp_(min=0).square_().sum(2)
    met = torch.stack([step.met for step in pairs], 1)
    return gaps if met.all() else gaps.masked_fill_(~met, torch.inf)


def _alike(wanted: Tensor) -> list[tuple[Tensor, list[int]]]:
    """Lifetimes that want the same steps, ``(E, T)``, and which those are; not those that want none."""
    groups: dict[bytes, list[int]] = {}
    for lifetime, row in enumerate(wanted.cpu().numpy()):
        if row.any():
            groups.setdefault(row.tobytes(), []).append(lifetime)
    return [
        (torch.tensor(members, device=wanted.device), wanted[members[0]].nonzero().squeeze(1).tolist())
        for members in groups.values()
    ]


def _together(pairs: SeenPairs, steps: list[int], which: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets of some steps of some lifetimes, which have met them all."""
    if len(which) == 1:  # as a slice, which copies nothing
        lifetime = int(which)
        part = slice(lifetime, lifetime + 1)
        return (torch.cat([pairs[i].x[part] for i in steps], 1), torch.cat([pairs[i].y[part] for i in steps], 1))
    return (
        torch.cat([pairs[i].x[which] for i in steps], 1),
        torch.cat([pairs[i].y[which] for i in steps], 1),
    )


class NearestNeighbour(Remembering):
    """Predicts the mean target of the ``neighbours`` nearest pairs; among labels, the most frequent.

    Equally frequent labels: the one that the nearest has.

    Args:
        input_shape: of one input.
        input_scale: what each input, or pixel, is multiplied by; one number serves all.
        outputs: ``n_y``.
        neighbours: k.
        objective: what it is to predict.

    Raises:
        InvalidSize: if ``neighbours`` is below 1.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        input_scale: tuple[float, ...],
        outputs: int,
        *,
        neighbours: int = 1,
        objective: Objective = SquaredError(),
    ) -> None:
        super().__init__(input_shape, input_scale, outputs, objective)
        self.neighbours = check_at_least("neighbours", neighbours, 1)
        self.settings = {**self.settings, "neighbours": neighbours}

    def predict_from(self, squares: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        near, which = squares.topk(min(self.neighbours, squares.shape[2]), 2, largest=False)
        lifetimes = torch.arange(len(y), device=y.device).reshape(-1, 1, 1)
        chosen, weight = y[lifetimes, which], torch.isfinite(near).to(y.dtype).unsqueeze(3)
        number = weight.sum(2)
        if isinstance(self.objective, CrossEntropy):
            # So little that it decides between equal numbers of votes alone; one nearer outweighs all that are farther.
            rank = torch.arange(chosen.shape[2], device=y.device, dtype=y.dtype)
            weight = weight * (1 + 1e-3 * 0.5**rank).reshape(1, 1, -1, 1)
        enough = near.shape[2] == self.neighbours
        reach = near[:, :, -1].amax(1) if enough else near.new_full((len(near),), torch.inf)
        return self.scores((chosen * weight).sum(2) / number.clamp(min=1), number), reach


class Kernel(Remembering):
    """Predicts the mean of all targets, weighted by a Gaussian of the distance: the Nadaraya-Watson estimate.

    Args:
        input_shape: of one input.
        input_scale: what each input, or pixel, is multiplied by; one number serves all.
        outputs: ``n_y``.
        bandwidth: deviation of the Gaussian, in scaled inputs.
        objective: what it is to predict.

    Raises:
        InvalidSize: if ``bandwidth`` is not above 0.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        input_scale: tuple[float, ...],
        outputs: int,
        *,
        bandwidth: float = 0.1,
        objective: Objective = SquaredError(),
    ) -> None:
        super().__init__(input_shape, input_scale, outputs, objective)
        self.bandwidth = check_above_zero("bandwidth", bandwidth)
        self.settings = {**self.settings, "bandwidth": bandwidth}

    def predict_from(self, squares: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        nearest = squares.amin(2, keepdim=True)
        logarithms = (nearest.nan_to_num(posinf=0.0) - squares) * (0.5 / self.bandwidth**2)
        # Relative to the nearest pair's, so that none is too small for a number; below, exp would be slow.
        weights = logarithms.clamp_(min=-2 * LOST).exp_()
        weights = weights.masked_fill_(torch.isinf(squares), 0.0) if torch.isinf(nearest).any() else weights
        total = weights.sum(2, keepdim=True)
        reach = nearest.amax((1, 2)) + 2 * LOST * self.bandwidth**2
        return self.scores(weights @ y / total.clamp(min=1.0), total), reach


@register_baseline("nearest-neighbour")
def _nearest(env: gym.Env[Any, Any], seed: int, **tuned: Any) -> NearestNeighbour:
    return NearestNeighbour(*input_form(env), objective=objective_of(env), **tuned)


@register_baseline("kernel")
def _kernel(env: gym.Env[Any, Any], seed: int, **tuned: Any) -> Kernel:
    return Kernel(*input_form(env), objective=objective_of(env), **tuned)
