"""A plug-in: an environment, a plasticity rule and a learner with a meta-parameter of its own, in one file.

Every command of flp takes it:

    flp check-learner gained-flp --plugin examples/plugin.py --envs ShortSine-v0
    flp train --plugin examples/plugin.py --env ShortSine-v0 --learner gained-flp --rule leaky-hebb --rate gains=0.01
"""

import tempfile
from dataclasses import dataclass

import gymnasium as gym
import torch

from flp_agents import FLP, MetaTrainer, Network, evaluate, register_learner, register_rule
from flp_envs import OnlineLearningEnv, SineTask


def make_env(split="meta-train", render_mode=None, **options):
    """Three functions, eight minibatches of each. Every environment of the suite takes split and render_mode."""
    return OnlineLearningEnv(
        SineTask(split, **{"num_functions": 3, "steps_per_function": 8, **options}), render_mode=render_mode
    )


gym.register("ShortSine-v0", entry_point=make_env)


@register_rule("leaky-hebb")
@dataclass(frozen=True)
class LeakyHebb:
    """Hebb's rule, and every weight decays a little."""

    leak: float = 0.1

    def __call__(self, weight, pre, post, coefficient, unit=1.0):
        return weight + unit * coefficient * (post.transpose(1, 2) @ pre - self.leak * weight)


@register_learner("gained-flp")
class GainedFLP(FLP):
    """FLP that goes a meta-trained part of each inner step."""

    def __init__(self, network, plastic_layers=2, *, first_gain=1.0, **flp):
        super().__init__(network, plastic_layers, **flp)
        self.settings = {**self.settings, "first_gain": first_gain}  # all of the constructor's arguments
        self.gain = torch.nn.Parameter(torch.tensor(first_gain))

    def update(self, state, y):
        after = super().update(state, y)
        pairs = zip(state.weights, after.weights, strict=True)
        return after._replace(weights=tuple(torch.lerp(before, now, self.gain) for before, now in pairs))

    def parameter_groups(self):
        return {**super().parameter_groups(), "gains": [self.gain]}


if __name__ == "__main__":
    train, test = (gym.make("ShortSine-v0", split=split) for split in ("meta-train", "meta-test"))
    learner = GainedFLP(Network((4, 32, 32, 1), input_scale=(1, 1, 1, 0.2)), rule=LeakyHebb(), coefficient_unit=1e-5)
    trainer = MetaTrainer(learner, train, rates=dict.fromkeys(learner.parameter_groups(), 1e-3), meta_batch=4)
    for _ in range(10):
        trainer.step()
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(folder)  # as flp train does
        trainer = MetaTrainer.resume(folder, train)
    for _ in range(10):
        trainer.step()
    print(f"after {trainer.step_count} outer steps: {evaluate(trainer.learner, test, episodes=20).mean:.2f}")
