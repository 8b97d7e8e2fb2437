"""The short way to plug in a learner: one lifetime, NumPy arrays, ``reset / predict / update``."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.learner import Learner
from flp_envs.errors import FLPError


class PlainLearner(Protocol):
    """A learner that knows of one lifetime only: any class with these three methods, or a subclass of this one.

    It is evaluated like every other learner, by :func:`flp_agents.evaluate` and
    :class:`flp_agents.gym_agent.GymAgent`, but not meta-trained.
    """

    def reset(self) -> None:
        """Forgets everything: a new lifetime begins."""
        ...

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Answers inputs ``(B, *input)`` with ``(B, *target)``, without learning from them."""
        ...

    def update(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Learns from the targets ``(B, *target)`` of inputs ``(B, *input)``."""
        ...


# One lifetime's learner, and the inputs that it answered last.
_Lives = tuple[tuple[PlainLearner, "NDArray[np.float32] | None"], ...]


class ManyPlainLearners(Learner[_Lives]):
    """Lets copies of a plain learner live side by side, as a :class:`flp_agents.learner.Learner`.

    Args:
        prototype: copied for every lifetime; it is never used itself.
    """

    def __init__(self, prototype: PlainLearner) -> None:
        super().__init__()
        self.prototype = prototype
        self.settings = {"prototype": prototype}

    def init(self, n: int) -> _Lives:
        learners = [copy.deepcopy(self.prototype) for _ in range(n)]
        with torch.enable_grad():  # a torch model may want to differentiate, whoever asks
            for learner in learners:
                learner.reset()
        return tuple((learner, None) for learner in learners)

    def predict(self, state: _Lives, features: Tensor) -> tuple[Tensor, _Lives]:
        inputs = features.numpy()
        answers = [_answer(learner, x) for (learner, _), x in zip(state, inputs, strict=True)]
        lives = tuple((learner, x) for (learner, _), x in zip(state, inputs, strict=True))
        return torch.from_numpy(np.stack(answers)), lives

    def answer_all(self, state: _Lives, features: Tensor) -> Tensor:
        # Minibatch by minibatch, as an environment asks.
        return torch.stack([self.predict(state, minibatch)[0] for minibatch in features.unbind(1)], 1)

    def update(self, state: _Lives, y: Tensor) -> _Lives:
        return self.update_where(torch.ones(len(state), dtype=torch.bool), state, y)

    def update_where(self, mask: Tensor, state: _Lives, y: Tensor) -> _Lives:
        for told, (learner, x), target in zip(mask.tolist(), state, y.numpy(), strict=True):
            if told and x is not None:
                with torch.enable_grad():
                    learner.update(x, target)
        return state

    def choose(self, mask: Tensor, yes: _Lives, no: _Lives) -> _Lives:
        return tuple(a if take else b for take, a, b in zip(mask.tolist(), yes, no, strict=True))


def _answer(learner: PlainLearner, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.enable_grad():
        answer: Any = learner.predict(x)
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
    values: NDArray[np.float32] = np.asarray(answer, np.float32)
    if values.ndim < 2 or len(values) != len(x):
        raise FLPError(
            f"{type(learner).__name__}.predict: expected answers of shape ({len(x)}, outputs), got {values.shape}"
        )
    return values


def as_learner(learner: Learner[Any] | PlainLearner) -> Learner[Any]:
    """Any learner as one that lives through many lifetimes at once."""
    return learner if isinstance(learner, Learner) else ManyPlainLearners(learner)
