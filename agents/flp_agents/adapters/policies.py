"""Policies of stable-baselines3, and all that answer like them, as learners: the reverse of ``GymAgent``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.adapters.saved_policies import (
    ALGORITHMS,
    DESCRIPTION,
    SavedPolicy,
    load_policy,
    read_policy_description,
)
from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces, in_words, objective_of
from flp_agents.support.copying import copy_of
from flp_base.errors import FLPError, check_choice
from flp_envs.stream import QUERY, SUPPORT

# The trained policies that come with the package.
FOLDER = Path(__file__).parent.parent / "policy_checkpoints"


class Policy(Protocol):
    """Whatever has stable-baselines3's ``predict``: its models, a ``GymAgent``, any class of one's own.

    If it has an ``observation_space`` and an ``action_space``, as models do, it is held to them.
    """

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Answers observations with a leading axis of envs, here of one.

        Returns:
            The actions, with the same axis, and the state for the next call.
        """
        ...


class _Lifetime(NamedTuple):
    """One lifetime of a policy.

    Attributes:
        remembered: the state that ``predict`` returned last.
        begun: whether it has predicted anything.
        seen: the target of the last prediction, ``(*target)``, that the next observation shows; none if there is none.
    """

    remembered: Any = None
    begun: bool = False
    seen: NDArray[Any] | None = None


class PolicyLearner(Learner[tuple[_Lifetime, ...]]):
    """Lets a policy run through episodes as a :class:`flp_agents.learners.learner.Learner`.

    It is shown what an environment would show: inputs one after another, each with the target of the one before; the
    query with phase 1, its first input with the last support target. So it answers as it does in the environment, to
    every digit, and lifetimes in a batch answer as they do alone: each has calls of its own.

    It may be queried at any time, which leaves the state as it was. Like a :class:`~flp_agents.PlainLearner` it is
    not meta-trained here.

    Args:
        policy: gives the actions; shared by all lifetimes, whose states are kept apart.
        env: says what an observation looks like; single or vector.
        deterministic: given to ``predict``. A policy that draws its answers takes them from generators of its own.

    Raises:
        IncompatibleSpaces: if the env does not speak the episode protocol, or is not one that the policy was made for.
    """

    def __init__(self, policy: Policy, env: Any, *, deterministic: bool = True) -> None:
        super().__init__()
        self.objective = objective_of(env)
        space: spaces.Dict = getattr(env, "single_observation_space", env.observation_space)
        if not {"x", "y", "has_target", "phase"} <= space.spaces.keys():
            raise IncompatibleSpaces(
                f"expected an observation space with x, y, has_target and phase, got {in_words(space)}"
            )
        hold_to_spaces(policy, env)
        answers = getattr(env, "single_action_space", env.action_space)
        # Hidden from torch: a policy stays on its own device and in its own precision.
        self._hidden = (policy,)
        self.deterministic = deterministic
        self.settings = {"policy": policy, "deterministic": deterministic}
        self._space, self._answers = space, answers

    def tensor(self, array: Any) -> Tensor:
        """An array as a tensor; numbers in double precision, so that scores alone and in a batch are the same."""
        values = torch.as_tensor(np.asarray(array))
        return values if values.dtype == torch.uint8 else values.double()

    @property
    def policy(self) -> Policy:
        """That gives the actions."""
        return self._hidden[0]

    def adapt_to(self, env: Any) -> PolicyLearner:
        """Itself, or the same policy for another env.

        Raises:
            IncompatibleSpaces: if it does not fit it.
        """
        shown = getattr(env, "single_observation_space", env.observation_space)
        if shown == self._space and getattr(env, "single_action_space", env.action_space) == self._answers:
            return self
        return PolicyLearner(self.policy, env, deterministic=self.deterministic)

    def init(self, n: int) -> tuple[_Lifetime, ...]:
        return tuple(_Lifetime() for _ in range(n))

    def predict(self, state: tuple[_Lifetime, ...], features: Tensor) -> tuple[Tensor, tuple[_Lifetime, ...]]:
        pairs = [self._act(lifetime, x, SUPPORT) for lifetime, x in zip(state, features.cpu().numpy(), strict=True)]
        return torch.stack([answer for answer, _ in pairs]), tuple(lifetime for _, lifetime in pairs)

    def predict_all(self, state: tuple[_Lifetime, ...], features: Tensor) -> Tensor:
        answers, why = [], "it is queried in the middle of a lifetime, which must go on as it was"
        for lifetime, inputs in zip(state, features.cpu().numpy(), strict=True):
            # A policy may write on its state; this one is needed again.
            queried, predictions = copy_of(lifetime, why, name=f"what {type(self.policy).__name__} remembers"), []
            for x in inputs:
                answer, queried = self._act(queried, x, QUERY)
                predictions.append(answer)
            answers.append(torch.stack(predictions))
        return torch.stack(answers)

    def update(self, state: tuple[_Lifetime, ...], y: Tensor) -> tuple[_Lifetime, ...]:
        return self.update_where(torch.ones(len(state), dtype=torch.bool), state, y)

    def update_where(self, mask: Tensor, state: tuple[_Lifetime, ...], y: Tensor) -> tuple[_Lifetime, ...]:
        targets = self.objective.actions(y).cpu().numpy()
        return tuple(
            lifetime._replace(seen=self._unpaired(target)) if seen and lifetime.begun else lifetime
            for seen, lifetime, target in zip(mask.tolist(), state, targets, strict=True)
        )

    def choose(self, mask: Tensor, yes: tuple[_Lifetime, ...], no: tuple[_Lifetime, ...]) -> tuple[_Lifetime, ...]:
        return tuple(a if take else b for take, a, b in zip(mask.tolist(), yes, no, strict=True))

    def parameter_groups(self) -> Mapping[str, list[torch.nn.Parameter]]:
        return {}

    def _unpaired(self, pairs: NDArray[Any]) -> NDArray[Any]:
        """Of one step's pairs ``(B, ...)``, what an observation shows: labels come without an axis for them."""
        return np.asarray(pairs[0] if isinstance(self.objective, CrossEntropy) else pairs)

    def _act(self, lifetime: _Lifetime, x: NDArray[Any], phase: int) -> tuple[Tensor, _Lifetime]:
        """The answer to one step's inputs ``(B, *input)``, as ``(B, n_y)``."""
        target = np.zeros(self._space["y"].shape or ()) if lifetime.seen is None else lifetime.seen
        shown = {"x": self._unpaired(x), "y": target, "has_target": lifetime.seen is not None, "phase": phase}
        observation = {key: np.asarray(value, self._space[key].dtype)[None] for key, value in shown.items()}
        action, remembered = self.policy.predict(
            observation,
            state=lifetime.remembered,
            episode_start=np.array([not lifetime.begun]),
            deterministic=self.deterministic,
        )
        return self._as_outputs(action), _Lifetime(remembered, True)

    def _as_outputs(self, action: Any) -> Tensor:
        name, shape = type(self.policy).__name__, (1, *(self._answers.shape or ()))
        labels = isinstance(self.objective, CrossEntropy)
        expected = f"{name}.predict: expected {'labels, whole numbers,' if labels else 'numbers'} of shape {shape}"
        if isinstance(action, np.ma.MaskedArray):
            raise FLPError(f"{expected}, got a masked array")
        answer = np.asarray(action)
        if answer.shape != shape or answer.dtype.kind not in ("iu" if labels else "iuf"):
            raise FLPError(f"{expected}, got {answer.shape} {answer.dtype}")
        if not isinstance(self.objective, CrossEntropy):
            return torch.from_numpy(answer[0].astype(np.float64))
        if not 0 <= answer[0] < self.objective.classes:
            raise FLPError(f"{name}.predict: expected a label below {self.objective.classes}, got {answer[0]}")
        return torch.eye(self.objective.outputs, dtype=torch.float64)[torch.from_numpy(answer.astype(np.int64))]


def hold_to_spaces(made: Any, env: Any) -> None:
    """Makes sure that an environment has the spaces that a policy, or a plain learner, says that it was made for.

    Args:
        made: which; without an ``observation_space`` or an ``action_space`` it is taken at its word.
        env: single or vector.

    Raises:
        IncompatibleSpaces: naming those that differ.
    """
    for kind in ("observation", "action"):
        wanted = getattr(made, f"{kind}_space", None)
        shown = getattr(env, f"single_{kind}_space", getattr(env, f"{kind}_space"))
        if isinstance(wanted, spaces.Space) and wanted != shown:
            what = "policy" if not hasattr(made, "update") else "learner"
            raise IncompatibleSpaces(
                f"the {what} was made for an {kind} space {in_words(wanted, bounds=True)}, the environment has "
                f"{in_words(shown, bounds=True)}: use the env options that it was trained with, and its wrappers"
            )


def policy_names() -> list[str]:
    """Names of algorithms whose trained policies come with the package."""
    return list(ALGORITHMS)


def policy_folder(name: str, env_id: str) -> Path | None:
    """Where the policy lies that comes with the package, trained on an environment by an algorithm, if there is one.

    Raises:
        InvalidChoice: for an unknown algorithm, naming the nearest.
    """
    check_choice("policy", name, policy_names())
    for path in sorted(FOLDER.glob(f"{name}-*/{DESCRIPTION}")):
        about = read_policy_description(path.parent)
        if (about.algorithm, about.env) == (name, env_id):
            return path.parent
    return None


def find_policy(name: str, env_id: str, env_words: str = "") -> SavedPolicy:
    """The policy that comes with the package, trained on an environment by an algorithm.

    Args:
        name: of the algorithm.
        env_id: of the environment.
        env_words: how a command names the environment, for the error; none: its id.

    Raises:
        InvalidChoice: for an unknown algorithm, naming the nearest.
        FLPError: if there is none for that environment.
    """
    folder = policy_folder(name, env_id)
    if folder is not None:
        return load_policy(folder)
    raise FLPError(
        f"no bundled policy of {name} for {env_id}: train one with flp train-sb3 --algorithm {name} "
        f"{env_words or f'--env {env_id}'} --output FOLDER"
    )
