"""Elastic weight consolidation: weights that mattered to what was learned before are held back.

Sources: the penalty is that of Kirkpatrick et al. (2017), "Overcoming catastrophic forgetting in neural networks",
equation 3, with a single anchor and a decaying Fisher information, the "online EWC" of Schwarz et al. (2018),
"Progress & Compress", section 4. Both consolidate when a task ends, which a learner here is not shown. So it needs
no boundaries: the Fisher information is a running mean over minibatches, as in "EWC++" of Chaudhry et al. (2018),
"Riemannian Walk for Incremental Learning", equation 5, and it consolidates every so many steps, whatever is learned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor

from flp_agents.baselines.building import network_at_random, register_baseline
from flp_agents.baselines.descent import Adam, Descent, for_each
from flp_agents.baselines.online_gradient import Descending, OnlineGradient
from flp_agents.baselines.whole_network import Parameters, WholeNetwork
from flp_agents.learners.objective import Objective, SquaredError, objective_of
from flp_base.errors import check_at_least, check_number


class Consolidated(NamedTuple):
    """What ``E`` lifetimes hold on to.

    Attributes:
        running: of each parameter the running mean of the squared gradient, the diagonal of the empirical Fisher
            information.
        anchor: the parameters when they were last consolidated.
        importance: the Fisher information that the penalty goes by, from all consolidations.
        steps: ``(E,)`` taken.
    """

    running: Parameters
    anchor: Parameters
    importance: Parameters
    steps: Tensor


class ElasticWeights(OnlineGradient):
    """Descent on the loss plus ``strength / 2 sum_i importance_i (w_i - anchor_i)^2``.

    The penalty is taken implicitly, after the loss's own step: ``w <- (w + c anchor) / (1 + c)`` with
    ``c = rate strength importance``, the exact minimum of both, which no strength makes unstable.

    Args:
        network: in its initial state.
        descent: how the gradient is followed.
        strength: of the penalty; 0 is plain descent.
        every: steps between consolidations.
        keeps: share of the earlier importance that a consolidation keeps, ``gamma``.
        decay: of the running mean, for each step.
        objective: whose loss is descended.

    Raises:
        InvalidSize: for a negative strength, ``every`` below 1, or shares outside 0..1.
    """

    def __init__(
        self,
        network: WholeNetwork,
        descent: Descent,
        *,
        strength: float = 1.0,
        every: int = 40,
        keeps: float = 0.95,
        decay: float = 0.95,
        objective: Objective = SquaredError(),
    ) -> None:
        super().__init__(network, descent, objective=objective)
        check_number("strength", strength, least=0)
        for name, share in (("keeps", keeps), ("decay", decay)):
            check_number(name, share, least=0, most=1)
        self.strength, self.every, self.keeps, self.decay = strength, check_at_least("every", every, 1), keeps, decay
        self.settings = {
            "network": network,
            "descent": descent,
            "strength": strength,
            "every": every,
            "keeps": keeps,
            "decay": decay,
            "objective": objective,
        }

    def initial_memory(self, parameters: Parameters) -> Consolidated:
        nothing = tuple(torch.zeros_like(p, memory_format=torch.contiguous_format) for p in parameters)
        return Consolidated(nothing, parameters, nothing, parameters[0].new_zeros(len(parameters[0])))

    def update(self, state: Descending, y: Tensor) -> Descending:
        kept: Consolidated = state.kept
        gradients = self.gradients(state, y)
        after = self.descend(state, gradients)
        strength = self.descent.rate * self.strength
        held = []
        for parameter, anchor, importance in zip(after.parameters, kept.anchor, kept.importance, strict=True):
            pull = importance * strength
            held.append(torch.addcmul(parameter, pull, anchor).div_(pull + 1))
        running = tuple(torch.lerp(g.square(), old, self.decay) for g, old in zip(gradients, kept.running, strict=True))
        return after._replace(parameters=tuple(held), kept=self._consolidate(kept, tuple(held), running))

    def _consolidate(self, kept: Consolidated, parameters: Parameters, running: Parameters) -> Consolidated:
        steps = kept.steps + 1
        now = steps % self.every == 0
        if not now.any():
            return kept._replace(running=running, steps=steps)

        def where(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(for_each(now, old), new, old)

        return Consolidated(
            running,
            tuple(where(new, old) for new, old in zip(parameters, kept.anchor, strict=True)),
            tuple(where(old * self.keeps + new, old) for new, old in zip(running, kept.importance, strict=True)),
            steps,
        )


@register_baseline("ewc")
def _elastic(env: gym.Env[Any, Any], seed: int, *, rate: float, **tuned: Any) -> ElasticWeights:
    return ElasticWeights(network_at_random(env, seed), Adam(rate), objective=objective_of(env), **tuned)
