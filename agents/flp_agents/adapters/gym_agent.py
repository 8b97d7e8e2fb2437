"""Carries a learner through any environment, with stable-baselines3's ``predict`` protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from flp_agents.adapters.plain_learner import PlainLearner, as_learner
from flp_agents.learners.input_range import check_observed
from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import in_words
from flp_base.errors import FLPError
from flp_base.shown_options import ShowsOptions


class GymAgent(ShowsOptions):
    """A learner in an env: it learns from what each observation shows, then answers.

    ``stable_baselines3.common.evaluation.evaluate_policy(GymAgent(learner, env), env)`` returns the paper's figure
    (minus the query's mean squared error, or its accuracy).

    Args:
        learner: to act with. Its meta-parameters do not change.
        env: says the shape of one observation; single or vector.

    Raises:
        FLPError: if the env does not speak the episode protocol, or the learner does not fit it.
    """

    def __init__(self, learner: Learner[Any] | PlainLearner | Callable[[], PlainLearner], env: Any) -> None:
        space = getattr(env, "single_observation_space", env.observation_space)
        if not isinstance(space, gym.spaces.Dict) or not {"x", "y", "has_target"} <= space.spaces.keys():
            raise FLPError(
                "expected an env that speaks the episode protocol, with x, y and has_target in its observations, "
                f"got {in_words(space)}"
            )
        self.learner = as_learner(learner, env).eval()
        self._inputs = cast("spaces.Box", space["x"])
        self._input_rank = len(space["x"].shape or ())
        # One pair a step, without an axis for minibatches.
        self._single_pairs = isinstance(space["y"], gym.spaces.Discrete)

    @torch.no_grad()
    def predict(
        self,
        observation: Mapping[str, Any],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Learns from the target that the observation shows, if any, and predicts for its input.

        Args:
            observation: of one env, or of ``n`` with a leading axis.
            state: the fast weights, as returned by the last call; none: the initial one.
            episode_start: ``(n,)`` true where an env's lifetime begins anew.
            deterministic: without effect; learners predict deterministically.

        Returns:
            The answers, shaped like the actions of the env, and the new state.

        Raises:
            IncompatibleSpaces: for observations of another env, whose inputs have another size, or are bytes where they
                were numbers, or the other way round.
        """
        learner = self.learner
        check_observed(np.asarray(observation["x"]), self._inputs)
        x, y = learner.tensor(observation["x"]), learner.targets(observation["y"])
        single = x.ndim == self._input_rank
        if single:
            x, y = x.unsqueeze(0), y.unsqueeze(0)
        if self._single_pairs:
            x, y = x.unsqueeze(1), y.unsqueeze(1)
        received = torch.from_numpy(np.atleast_1d(observation["has_target"]).astype(bool))
        features = learner.encode(x)
        if state is None:
            state, received = learner.init(len(x)), torch.zeros_like(received)
        elif episode_start is not None and np.any(episode_start):
            begins = torch.from_numpy(np.atleast_1d(episode_start).astype(bool))
            # Brought to the structure of a state that has predicted, as the others' have.
            _, initial = learner.predict(learner.init(len(x)), features)
            state, received = learner.choose(begins, initial, state), received & ~begins
        if received.all():
            state = learner.update(state, y)
        elif received.any():
            state = learner.update_where(received, state, y)
        predictions, state = learner.predict(state, features)
        action = learner.objective.actions(predictions).cpu().numpy()
        if self._single_pairs:
            action = action[:, 0]
        return (action[0] if single else action), state
