"""Gradient descent on each minibatch together with one from a small memory of past pairs.

Sources: the memory is a reservoir, a uniform sample of all pairs met so far, Vitter (1985), "Random sampling with a
reservoir", algorithm R; replaying as many of its pairs as there are new ones is "ER-Reservoir" of Chaudhry et al.
(2019), "On Tiny Episodic Memories in Continual Learning", algorithms 1 and 2. Unlike there, replayed pairs are drawn
with replacement.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.baselines.building import network_at_random, register_baseline
from flp_agents.baselines.descent import Adam, Descent
from flp_agents.baselines.online_gradient import Descending, OnlineGradient
from flp_agents.baselines.whole_network import Parameters, WholeNetwork
from flp_agents.learners.objective import Objective, SquaredError, objective_of
from flp_base.errors import check_at_least, check_learner_seed
from flp_base.machine_memory import check_fits

# What the streams of random numbers are for.
_PLACES, _REPLAYED = 0, 1


class Reservoir(NamedTuple):
    """A uniform sample of the pairs that each of ``E`` lifetimes has met.

    Attributes:
        x: ``(E, M, *input)`` inputs; those of images remain bytes.
        y: ``(E, M, n_y)`` targets.
        met: ``(E,)`` int64, the number of pairs met. The first ``min(met, M)`` places are filled.
    """

    x: Tensor
    y: Tensor
    met: Tensor

    @classmethod
    def empty(cls, features: Tensor, y: Tensor, size: int) -> Reservoir:
        """With room for ``size`` pairs like ``(E, B, *input)`` and ``(E, B, n_y)``."""
        lifetimes = len(y)
        of_a_pair = features.element_size() * math.prod(features.shape[2:]) + y.element_size() * y.shape[2]
        check_fits(f"{lifetimes} memories of {size} pairs", lifetimes * size * of_a_pair, "lower memory_size")
        return cls(
            features.new_zeros(lifetimes, size, *features.shape[2:]),
            y.new_zeros(lifetimes, size, y.shape[2]),
            torch.zeros(lifetimes, dtype=torch.int64, device=y.device),
        )

    @property
    def filled(self) -> Tensor:
        """``(E,)`` pairs that are in memory."""
        return self.met.clamp(max=self.x.shape[1])

    def take(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs ``(E, R)`` by their places, as ``(E, R, *input)`` and ``(E, R, n_y)``."""
        return _gather(self.x, which), _gather(self.y, which)

    def add(self, x: Tensor, y: Tensor, seed: int) -> Reservoir:
        """Meets the pairs of a minibatch, ``(E, B, *input)`` and ``(E, B, n_y)``, one after another."""
        size, pairs = self.x.shape[1], x.shape[1]
        # Which of the new pairs comes to each place, or -1. It depends on the number of pairs met alone, which mostly
        # is the same in all lifetimes.
        newcomers = {met: _newcomers(met, pairs, size, seed) for met in set(self.met.tolist())}
        comes = torch.from_numpy(np.stack([newcomers[met] for met in self.met.tolist()])).to(y.device)
        stays, place = comes < 0, comes.clamp(min=0)

        def renew(old: Tensor, new: Tensor) -> Tensor:
            return torch.where(stays.reshape(*stays.shape, *[1] * (old.ndim - 2)), old, _gather(new, place))

        return Reservoir(renew(self.x, x), renew(self.y, y), self.met + pairs)


class ExperienceReplay(OnlineGradient):
    """One step on the mean loss of a minibatch and of as many replayed pairs.

    It draws places by seed and the number of pairs met, the same in every lifetime.

    Args:
        network: in its initial state.
        descent: how the gradient is followed.
        memory_size: M, pairs in memory; 0 replays nothing.
        replayed: pairs replayed in each step; none: as many as there are new ones.
        objective: whose loss is descended.
        seed: of what is kept and replayed.

    Raises:
        InvalidSize: if ``memory_size`` is negative, or ``replayed`` below 1.
    """

    def __init__(
        self,
        network: WholeNetwork,
        descent: Descent,
        *,
        memory_size: int = 500,
        replayed: int | None = None,
        objective: Objective = SquaredError(),
        seed: int = 0,
    ) -> None:
        super().__init__(network, descent, objective=objective)
        self.memory_size = check_at_least("memory_size", memory_size, 0)
        self.replayed = None if replayed is None else check_at_least("replayed", replayed, 1)
        self.seed = seed = check_learner_seed(seed)
        self.settings = {
            "network": network,
            "descent": descent,
            "memory_size": memory_size,
            "replayed": replayed,
            "objective": objective,
            "seed": seed,
        }

    def initial_memory(self, parameters: Parameters) -> Reservoir:
        like = parameters[0].new_zeros(len(parameters[0]), 1, self.outputs)
        kind = torch.uint8 if self.network.network.convolutions is not None else like.dtype
        features = like.new_zeros(len(like), 1, *self.input_shape, dtype=kind)
        return Reservoir.empty(features, like, self.memory_size)

    def update(self, state: Descending, y: Tensor) -> Descending:
        memory: Reservoir = state.kept.add(state.features[0], y, self.seed) if self.memory_size else state.kept
        return super().update(state, y)._replace(kept=memory)

    def gradients(self, state: Descending, y: Tensor) -> Parameters:
        if not self.memory_size:
            return super().gradients(state, y)
        features, memory = state.features[0], state.kept
        replayed = self.replayed or features.shape[1]
        old_x, old_y = memory.take(self._replay(memory, replayed))
        inputs, targets = torch.cat([features, old_x], 1), torch.cat([y, old_y], 1)
        new = features.shape[1]
        # Of the loss over all of them; where memory is empty, of the new ones alone.
        share = (memory.met > 0).to(y.dtype) * (replayed / (new + replayed))
        forward = self.network.run(state.parameters, inputs)
        of_new, of_old = (
            self.objective.gradient(forward.predictions[:, part], targets[:, part])
            for part in (slice(new), slice(new, None))
        )
        share = share.reshape(-1, 1, 1)
        mixed = torch.cat([(1 - share) * of_new, share * of_old], 1)
        return self.network.gradients(state.parameters, forward, mixed)

    def _replay(self, memory: Reservoir, number: int) -> Tensor:
        drawn = {met: _random(self.seed, _REPLAYED, met, number) for met in set(memory.met.tolist())}
        uniform = torch.from_numpy(np.stack([drawn[met] for met in memory.met.tolist()])).to(memory.met.device)
        which: Tensor = (uniform * memory.filled.unsqueeze(1)).long()
        return which


def _gather(values: Tensor, which: Tensor) -> Tensor:
    """``(E, N, ...)`` at places ``(E, R)``: ``(E, R, ...)``."""
    return values[torch.arange(len(values), device=which.device).unsqueeze(1), which]


def _newcomers(met: int, pairs: int, size: int, seed: int) -> NDArray[np.int64]:
    """Algorithm R: pair number ``n``, from 1, comes to one of the first ``n`` places, if there are so many."""
    number = met + np.arange(pairs)
    place = (_random(seed, _PLACES, met, pairs) * (number + 1)).astype(np.int64)
    place = np.where(number < size, number, place)
    comes = np.full(size, -1, np.int64)
    for pair in np.flatnonzero(place < size):
        comes[place[pair]] = pair  # one that comes later takes the place of one before it
    return comes


def _random(seed: int, purpose: int, met: int, number: int) -> NDArray[np.float64]:
    """Uniform numbers that depend on nothing else, so that a lifetime draws the same alone and beside others."""
    counter = np.array([0, 0, met, purpose], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter)).random(number)


@register_baseline("experience-replay")
def _replay(env: gym.Env[Any, Any], seed: int, *, rate: float, **tuned: Any) -> ExperienceReplay:
    network = network_at_random(env, seed)
    return ExperienceReplay(network, Adam(rate), objective=objective_of(env), seed=seed, **tuned)
