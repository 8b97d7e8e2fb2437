"""A plug-in of everything: an environment, a plasticity rule, a subclass of FLP, a learner from scratch, a plain one.

Used by test_plugin_journey. It makes no import of the tests: it is copied to a folder of its own.
"""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from flp_agents import FLP, Learner, register_learner, register_rule
from flp_envs import OnlineLearningEnv, SineTask


def make_env(split="meta-train", render_mode=None, **options):
    sizes = {"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4, **options}
    return OnlineLearningEnv(SineTask(split, **sizes), render_mode=render_mode)


gym.register("PlugSine-v0", entry_point="plug_everything:make_env")


@register_rule("leaky-hebb")
@dataclass(frozen=True)
class LeakyHebb:
    """Hebb's rule, and every weight decays."""

    leak: float = 0.1

    def __call__(self, weight, pre, post, coefficient, unit=1.0):
        return weight + unit * coefficient * (post.transpose(1, 2) @ pre - self.leak * weight)


@register_learner("gained-flp")
class GainedFLP(FLP):
    """FLP with a meta-trained gain of all its updates: a kind of meta-parameter of its own."""

    def __init__(self, network, plastic_layers=2, *, first_gain=0.5, **flp):
        super().__init__(network, plastic_layers, **flp)
        self.settings = {**self.settings, "first_gain": first_gain}
        self.gain = torch.nn.Parameter(torch.tensor(first_gain))

    def update(self, state, y):
        after = super().update(state, y)
        return after._replace(
            weights=tuple(torch.lerp(a, b, self.gain) for a, b in zip(state.weights, after.weights, strict=True))
        )

    def parameter_groups(self):
        return {**super().parameter_groups(), "gains": [self.gain]}


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
