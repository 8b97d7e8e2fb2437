"""Trains policies of stable-baselines3 by reward alone, as rivals that learn in their activity or not at all.

The reward of a step depends on the answer to that step only, as the stream does not depend on actions. So the discount
is 0: advantages of other steps would add noise and nothing else. What a recurrent policy should remember for the query
is found by back-propagation through its own steps.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import flp_envs
from flp_agents.adapters.policies import PolicyLearner
from flp_agents.adapters.policy_networks import MemorylessPolicy, MemoryPolicy
from flp_agents.adapters.policy_rates import Falling
from flp_agents.adapters.saved_policies import (
    ALGORITHMS,
    DESCRIPTION,
    SPLIT,
    PolicyDescription,
    PolicyError,
    PolicyTask,
    algorithm_class,
    describe_anew,
    save_policy,
)
from flp_agents.evaluation.scoring import evaluate
from flp_agents.learners.objective import IncompatibleSpaces, objective_of
from flp_agents.support import provenance
from flp_agents.support.plugins import shareable
from flp_agents.training.run import interruptions
from flp_agents.training.run_folder import HeldFolder
from flp_base.errors import check_at_least, check_choice
from flp_base.renamed import Renamed
from flp_base.shown_options import ShowsOptions
from flp_envs.recording import draw_episodes

# Found on the meta-train split of the sine environments, see docs/policies.md. Learning rates fall to 0; what is not
# named is the library's default.
NUM_ENVS = 16
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"learning_rate": 3e-3, "n_epochs": 4, "clip_range": 0.5, "log_std_init": 0.7},
    "recurrent-ppo": {
        "learning_rate": 3e-3,
        "n_epochs": 4,
        "clip_range": 0.5,
        "log_std_init": 0.7,
        "lstm_hidden_size": 64,
    },
}
_OF_POLICY = ("log_std_init", "lstm_hidden_size")
_MINIBATCHES = 4
# Answers between two updates, at least.
_ROLLOUT = 1024


@dataclass(frozen=True)
class PolicyPlan(PolicyTask):
    """What is to be trained, and how it is evaluated.

    Attributes:
        command: that asks for it.
        evaluate_on: the split that the trained policy is evaluated on.
        plugins: files and modules that were loaded for it, as they were named.
    """

    command: str = ""
    evaluate_on: str = "meta-val"
    plugins: Sequence[str] = ()

    def make_env(self, split: str, *, training: bool = False) -> gym.Env[Any, Any]:
        """The environment on one split."""
        options = {**self.env_options, **(self.train_options if training else {})}
        return flp_envs.make(self.env, split=split, **options)


class _PolicyFolder(HeldFolder):
    """Where a policy is saved to; ``saved`` is its description when it is."""

    saved: PolicyDescription | None = None

    def check_unchanged(self) -> None:
        if self.saved is None and (self.path / DESCRIPTION).exists():
            raise PolicyError(f"{self.path} holds a policy already: choose another --output")


class PolicyTraining(ShowsOptions):
    """A policy, the environments that it trains in, and the folder that it is saved to.

    Args:
        plan: what to train.
        folder: where to; created if need be.

    Raises:
        InvalidChoice: for an unknown algorithm or environment.
        InvalidSize: for fewer than 1 step.
        PolicyError: if the folder holds a policy already.
        IncompatibleSpaces: if the environment does not speak the episode protocol, or training options change its
            spaces.
    """

    def __init__(self, plan: PolicyPlan, folder: Path) -> None:
        check_choice("algorithm", plan.algorithm, ALGORITHMS)
        check_at_least("env-steps", plan.env_steps, 1)
        self.plan, self.folder, self._place = plan, folder, _PolicyFolder(folder)
        self._place.check_unchanged()
        self.seconds, self.settings = 0.0, dict(SETTINGS[plan.algorithm])
        probe = plan.make_env(SPLIT, training=True)
        objective_of(probe)
        env = plan.make_env(SPLIT)
        if (probe.observation_space, probe.action_space) != (env.observation_space, env.action_space):
            raise IncompatibleSpaces(
                f"the training options {dict(plan.train_options)} change what a policy sees or answers: use only "
                "those that change how many steps there are"
            )
        episode = draw_episodes(probe, 1)
        lifetime = episode.support_steps + episode.query_steps
        self._steps = lifetime * math.ceil(_ROLLOUT / (lifetime * NUM_ENVS))
        self.model = self._build()

    @property
    def total(self) -> int:
        """Environment steps in the end: those of the plan, in whole rollouts."""
        rollout = self._steps * NUM_ENVS
        return rollout * math.ceil(self.plan.env_steps / rollout)

    @property
    def done(self) -> int:
        """Environment steps so far."""
        return int(self.model.num_timesteps)

    def run(self, on_steps: Callable[[int, float], None] = lambda *_: None) -> bool:
        """Trains until all steps are done or Ctrl-C; saves in both cases.

        Args:
            on_steps: receives the number of steps and the mean return of the last hundred lifetimes, once a rollout.

        Returns:
            Whether it was interrupted by a signal.

        Raises:
            FLPError: if the folder cannot be written to, if it holds a policy, or if another process is training into
                it.
        """
        started = time.monotonic()
        with interruptions() as interrupted, self.held():
            self.model.learn(self.plan.env_steps, callback=_Watch(interrupted, on_steps))
            self.seconds = time.monotonic() - started
            self._place.check_unchanged()
            self._place.saved = save_policy(self.folder, self.model, self._describe(), half=True)
        return bool(interrupted)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training into the folder until the block ends; :meth:`run` holds it by itself."""
        with self._place.held():
            yield

    judge: Any = Renamed("evaluate")

    def evaluate(self, *, episodes: int, seed: int) -> dict[str, Any]:
        """Evaluates it on the plan's split for that, without the options for training; writes the result.

        Raises:
            PolicyError: if it was not trained, or another process's policy lies in its place, which is kept.
        """
        if self._place.saved is None:
            raise PolicyError("train the policy before it is evaluated: call run()")
        env = self.plan.make_env(self.plan.evaluate_on)
        result = evaluate(PolicyLearner(self.model, env), env, episodes=episodes, seed=seed)
        content = {
            "split": self.plan.evaluate_on,
            "episodes": episodes,
            "seed": seed,
            **result.as_json(),
        }
        with self.held():
            self._place.saved = describe_anew(self.folder, self._place.saved, self._describe(content))
        return content

    def _build(self) -> Any:
        plan = self.plan
        envs = DummyVecEnv([lambda: Monitor(plan.make_env(SPLIT, training=True))] * NUM_ENVS)
        # Rewards of a deviation of 1; observations as they are, so that nothing is needed to use the policy.
        rewarded = VecNormalize(envs, norm_obs=False, norm_reward=True, gamma=0.0)
        of_policy = {name: self.settings[name] for name in _OF_POLICY if name in self.settings}
        return algorithm_class(plan.algorithm)(
            {"ppo": MemorylessPolicy, "recurrent-ppo": MemoryPolicy}[plan.algorithm],
            rewarded,
            n_steps=self._steps,  # whole lifetimes
            batch_size=self._steps * NUM_ENVS // _MINIBATCHES,
            gamma=0.0,
            gae_lambda=1.0,
            policy_kwargs=of_policy,
            seed=plan.seed,
            device="cpu",
            learning_rate=Falling(self.settings["learning_rate"]),
            **{name: self.settings[name] for name in ("n_epochs", "clip_range")},
        )

    def _describe(self, result: Mapping[str, Any] | None = None) -> PolicyDescription:
        plan = self.plan
        return PolicyDescription(
            algorithm=plan.algorithm,
            env=plan.env,
            env_options=dict(plan.env_options),
            train_options=dict(plan.train_options),
            env_steps=self.done,
            seed=plan.seed,
            settings={**self.settings, "gamma": 0.0, "num_envs": NUM_ENVS, "n_steps": self._steps},
            command=plan.command,
            cost_seconds=round(self.seconds, 1),
            threads=torch.get_num_threads(),
            versions={"python": platform.python_version(), **provenance.versions()},
            result=result,
            plugins=[shareable(plugin) for plugin in plan.plugins],
        )


class _Watch(BaseCallback):
    """Tells how far training is, and stops it when a signal has come."""

    def __init__(self, interrupted: list[int], on_steps: Callable[[int, float], None]) -> None:
        super().__init__()
        self._interrupted, self._on_steps = interrupted, on_steps

    def _on_step(self) -> bool:
        return not self._interrupted

    def _on_rollout_end(self) -> None:
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        self._on_steps(self.num_timesteps, float(np.mean(returns)))
