"""Carries a learner through any environment, with stable-baselines3's ``predict`` protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from flp_agents.learner import Learner
from flp_envs.errors import FLPError


class GymAgent:
    """A learner that lives in an env: it learns from what each observation tells, then answers.

    ``stable_baselines3.common.evaluation.evaluate_policy(GymAgent(learner, env), env)`` returns the paper's figure
    (minus the query's mean squared error).

    Args:
        learner: who lives. Its meta-parameters do not change.
        env: tells the shape of one observation; single or vector.
    """

    def __init__(self, learner: Learner[Any], env: Any) -> None:
        self.learner = learner.eval()
        space = getattr(env, "single_observation_space", env.observation_space)
        if not isinstance(space, gym.spaces.Dict) or "x" not in space.spaces:
            raise FLPError(f"expected an env that speaks the episode protocol, with x in its observations, got {space}")
        self._input_rank = len(space["x"].shape or ())

    @torch.no_grad()
    def predict(
        self,
        observation: Mapping[str, Any],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float32], Any]:
        """Learns from the target that the observation shows, if any, and answers its input.

        Args:
            observation: of one env, or of ``n`` with a leading axis.
            state: the fast weights, as returned by the last call; none: newborn.
            episode_start: ``(n,)`` true where an env's lifetime begins anew.
            deterministic: without effect; learners answer deterministically.

        Returns:
            The answers, shaped like the actions of the env, and the new state.
        """
        parameter = next(self.learner.parameters())
        x = torch.as_tensor(np.asarray(observation["x"])).to(parameter.device, parameter.dtype)
        single = x.ndim == self._input_rank
        if single:
            x = x.unsqueeze(0)
        y = torch.as_tensor(np.asarray(observation["y"])).to(parameter.device, parameter.dtype)
        y = y.unsqueeze(0) if single else y
        told = np.atleast_1d(observation["has_target"]).astype(bool).reshape(-1)
        if state is None:
            state = self.learner.init(len(x))
            told = np.zeros_like(told)
        elif episode_start is not None and np.any(episode_start):
            newborn = np.atleast_1d(episode_start).astype(bool)
            state = _choose(newborn, self._answered(self.learner.init(len(x)), x), state)
            told = told & ~newborn
        if told.any():
            learned = self.learner.update(state, y)
            state = learned if told.all() else _choose(told, learned, state)
        answers, state = self.learner.predict(state, self.learner.encode(x))
        action = answers.cpu().numpy()
        return (action[0] if single else action), state

    def _answered(self, state: Any, x: torch.Tensor) -> Any:
        """A newborn's state brought to the structure of one that has answered."""
        return self.learner.predict(state, self.learner.encode(x))[1]


def _choose(mask: NDArray[np.bool_], yes: Any, no: Any) -> Any:
    """Takes each lifetime's state from ``yes`` where the mask holds, else from ``no``."""
    chosen = torch.from_numpy(mask)

    def pick(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.where(chosen.to(a.device).reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return pytree.tree_map(pick, yes, no)
