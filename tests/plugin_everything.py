"""The rest of a plug-in of everything: a learner from scratch, and a plain one.

test_plugin_journey appends it to examples/plugin.py, which has an environment, a plasticity rule and a subclass of FLP.
"""

import numpy as np
import torch

from flp_agents import Learner, register_learner


@register_learner("running-mean")
class RunningMean(Learner):
    """Predicts a meta-trained multiple of the mean of all targets; holds statistics, as batch normalisation does."""

    def __init__(self, objective, seed=0):
        super().__init__()
        self.objective, self.settings = objective, {"objective": objective, "seed": seed}
        self.factor = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def init(self, n):
        zeros = self.factor.new_zeros(n)
        return zeros, zeros

    def predict(self, state, features):
        mean = self.factor * state[0] / state[1].clamp(min=1)
        return mean[:, None, None].expand(*features.shape[:2], 1), state

    def update(self, state, y):
        if self.training:
            self.updates += 1
        return state[0] + y.mean((1, 2)), state[1] + 1

    def parameter_groups(self):
        return {"factors": [self.factor]}


@register_learner("plain-mean")
class PlainMean:
    def reset(self):
        self.seen = [0.0]

    def predict(self, x):
        return np.full((len(x), 1), np.mean(self.seen))

    def update(self, x, y):
        self.seen.append(float(y.mean()))
