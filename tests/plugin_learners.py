"""Learners that a user might bring, most with a fault, for ``--plugin``; see test_conformance, test_benchmark."""

import os
import time

import numpy as np

from flp_agents import register_learner


@register_learner("mean")
class Mean:
    """Answers the mean of all targets: keeps every rule."""

    def reset(self):
        self.total, self.count = 0.0, 0

    def predict(self, x):
        return np.full((len(x), 1), self.total / max(1, self.count))

    def update(self, x, y):
        self.total += float(y.sum())
        self.count += len(y)


@register_learner("seeded")
class Seeded(Mean):
    """Random from its own seed: keeps every rule."""

    def __init__(self, seed):
        self.noise = np.random.default_rng(seed).normal()

    def predict(self, x):
        return super().predict(x) + self.noise


@register_learner("never-forgets")
class NeverForgets(Mean):
    memory = [0.0, 0]  # noqa: RUF012 (the fault that is to be found)

    def predict(self, x):
        return super().predict(x) + self.memory[0] / max(1, self.memory[1])

    def update(self, x, y):
        super().update(x, y)
        self.memory[0] += float(y.sum())
        self.memory[1] += len(y)


@register_learner("global-noise")
class GlobalNoise(Mean):
    def predict(self, x):
        return super().predict(x) + np.random.normal()


@register_learner("peeks")
class Peeks(Mean):
    """Looks up the task behind the spaces."""

    def __init__(self, env):
        self.looked = env.unwrapped is not None


@register_learner("wrong-shape")
class WrongShape(Mean):
    def predict(self, x):
        return np.zeros(len(x))


@register_learner("not-a-number")
class NotANumber(Mean):
    """Diverges after some steps."""

    def predict(self, x):
        return super().predict(x) * (np.nan if self.count > 64 else 1.0)


@register_learner("learns-when-asked")
class LearnsWhenAsked(Mean):
    def predict(self, x):
        answer = super().predict(x)
        self.count += 1
        return answer


@register_learner("raises")
class Raises(Mean):
    def update(self, x, y):
        raise ZeroDivisionError("cannot [be] learned")


@register_learner("sleeps")
class Sleeps(Mean):
    def update(self, x, y):
        time.sleep(1000)


@register_learner("hangs")
class Hangs(Mean):
    """Does not let itself be interrupted."""

    def update(self, x, y):
        while True:
            try:
                time.sleep(1)
            except Exception:
                continue


@register_learner("dies")
class Dies(Mean):
    def update(self, x, y):
        os._exit(3)


@register_learner("slow")
class Slow(Mean):
    def update(self, x, y):
        time.sleep(0.02)
        super().update(x, y)


@register_learner("policy")
class Policy:
    """Answers as stable-baselines3's models do, and learns nothing."""

    def __init__(self, env):
        self.space = env.action_space

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        batch = np.asarray(observation["has_target"]).shape
        return np.zeros((*batch, *self.space.shape), self.space.dtype), state
