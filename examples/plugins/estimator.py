"""An estimator of the outer gradient of your own: evolution strategies, which differentiate nothing.

    flp train --plugin examples/plugins/estimator.py --estimator evolution --pairs 16 --output runs/evolution

Source: Salimans et al. (2017), "Evolution Strategies as a Scalable Alternative to Reinforcement Learning".
"""

from dataclasses import dataclass

import torch

from flp_agents import Estimate, Estimator, option, register_estimator, run_lifetime


@register_estimator("evolution")
@dataclass(frozen=True)
class Evolution(Estimator):
    """``1 / (2 s n) sum_i (L(p + s e_i) - L(p - s e_i)) e_i`` over ``n`` directions ``e_i``, on the same lifetimes."""

    pairs: int = option(8, "directions, each tried both ways", least=1)
    deviation: float = option(0.01, "of the steps in them", above=0)

    @torch.no_grad()
    def differentiate(self, learner, episodes, state, outer_objective):
        parameters, total = list(learner.parameters()), 0.0
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        for _ in range(self.pairs):
            noise = [torch.randn_like(parameter) for parameter in parameters]
            losses = []
            for sign in (1, -1):
                # The initial state is another one with other meta-parameters.
                step(parameters, noise, sign * self.deviation)
                losses.append(run_lifetime(learner, episodes, outer_objective=outer_objective).outer_loss.mean())
                step(parameters, noise, -sign * self.deviation)
            for parameter, direction in zip(parameters, noise, strict=True):
                parameter.grad += (losses[0] - losses[1]) / (2 * self.deviation * self.pairs) * direction
            total += (losses[0] + losses[1]) / 2
        return Estimate(total / self.pairs)


def step(parameters, directions, size):
    for parameter, direction in zip(parameters, directions, strict=True):
        parameter += size * direction
