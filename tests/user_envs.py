"""Environments that a user might bring: tasks of numbers and of labels, and one that only speaks the protocol.

Importing it registers them. None says how it is drawn, and one alone how its lifetimes can be made cheaper.
"""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from flp_envs import Episode, OnlineLearningEnv
from flp_envs.scoring import LabelError, SquaredError


class Lines:
    """Straight lines: one in each half of an episode, ``steps`` minibatches of ``batch`` pairs each."""

    scoring = SquaredError()
    minibatches = True

    def __init__(self, split="meta-train", *, steps=3, batch=4, outputs=1):
        self.split, self.steps, self.batch, self.outputs = split, steps, batch, outputs
        self.input_space = spaces.Box(-1, 1, (batch, 2), np.float32)
        self.target_space = spaces.Box(-4, 4, (batch, outputs), np.float32)
        self.answer_space = spaces.Box(-8, 8, (batch, outputs), np.float32)

    @property
    def support_steps(self):
        return 2 * self.steps

    query_steps = 2

    def sample(self, rng, n=1):
        rngs = [rng] * n if isinstance(rng, np.random.Generator) else rng
        support, total = self.support_steps, self.support_steps + self.query_steps
        task = np.tile(np.r_[np.repeat([0, 1], self.steps), [0, 1]], (len(rngs), 1))
        x = np.stack([r.uniform(-1, 1, (total, self.batch, 2)) for r in rngs]).astype(np.float32)
        x[..., 0] = task[..., None]
        slopes = np.stack([r.uniform(-2, 2, (2, self.outputs)) for r in rngs]).astype(np.float32)
        y = x[..., 1:] * slopes[np.arange(len(rngs))[:, None], task][:, :, None]
        return Episode(*(a[:, :support] for a in (x, y, task)), *(a[:, support:] for a in (x, y, task)))


class ShortLines(Lines):
    """The same, which says how it can be shortened."""

    def first_lifetimes(self, steps_per_task, num_classes):
        return {"steps": min(self.steps, steps_per_task)}


class Corners:
    """Labels of points: which of the corners a point lies near; no images."""

    minibatches = False
    query_steps = 4

    def __init__(self, split="meta-train", *, corners=4, steps=8):
        self.split, self.corners, self.support_steps = split, corners, steps
        self.input_space = spaces.Box(-2, 2, (2,), np.float32)
        self.target_space = self.answer_space = spaces.Discrete(corners)
        self.scoring = LabelError(corners)

    def sample(self, rng, n=1):
        rngs = [rng] * n if isinstance(rng, np.random.Generator) else rng
        support, total = self.support_steps, self.support_steps + self.query_steps
        y = np.stack([r.integers(0, self.corners, (total, 1)) for r in rngs])
        angles = 2 * np.pi * y / self.corners
        noise = np.stack([r.normal(0, 0.1, (total, 1, 2)) for r in rngs])
        x = (np.stack([np.cos(angles), np.sin(angles)], -1) + noise).astype(np.float32)
        task = np.zeros((len(rngs), total), np.int64)
        return Episode(*(a[:, :support] for a in (x, y, task)), *(a[:, support:] for a in (x, y, task)))


class SpeaksTheProtocol(gym.Env):
    """Means of constants, step by step, without a task and without pictures."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, split="meta-train", render_mode=None):
        number = spaces.Box(-5, 5, (2, 1), np.float32)
        flag = spaces.Discrete(2)
        self.observation_space = spaces.Dict({"x": number, "y": number, "has_target": flag, "phase": flag})
        self.action_space, self.render_mode = number, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.step_number = np.float32(self.np_random.uniform(-1, 1)), 0
        return self._observe(), {}

    def step(self, action):
        self.step_number += 1
        target = np.full((2, 1), self.level, np.float32)
        loss = float(np.mean((action - target) ** 2))
        reward = -loss if self.step_number == 5 else 0.0
        return self._observe(), reward, self.step_number == 5, False, {"loss": loss, "target": target, "task": 0}

    def _observe(self):
        told = 0 < self.step_number < 5
        y = np.full((2, 1), self.level if told else 0, np.float32)
        return {"x": np.ones((2, 1), np.float32), "y": y, "has_target": int(told), "phase": int(self.step_number >= 4)}


def make_env(task, render_mode=None, **options):
    return OnlineLearningEnv(
        {"lines": Lines, "short": ShortLines, "corners": Corners}[task](**options), render_mode=render_mode
    )


for name, task in (("UserLines", "lines"), ("UserShortLines", "short"), ("UserCorners", "corners")):
    if f"{name}-v0" not in gym.registry:
        gym.register(f"{name}-v0", "user_envs:make_env", kwargs={"task": task})
if "UserProtocol-v0" not in gym.registry:
    gym.register("UserProtocol-v0", "user_envs:SpeaksTheProtocol")
