"""The short way to plug in a learner: one lifetime, NumPy arrays, ``reset / predict / update``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.adapters.policies import Policy, PolicyLearner, hold_to_spaces
from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import CrossEntropy, Objective, SquaredError, objective_of
from flp_agents.support.copying import copy_of, made_by
from flp_base.errors import FLPError
from flp_base.shown_options import as_call, options_of
from flp_envs.scoring import plain_numbers


class PlainLearner(Protocol):
    """A learner that knows of one lifetime only: any class with these three methods, or a subclass of this one.

    If it has an ``observation_space`` or an ``action_space``, as policies do, it is held to them.

    It is evaluated like every other learner, by :func:`flp_agents.evaluate` and
    :class:`flp_agents.adapters.gym_agent.GymAgent`, but not meta-trained.

    Every lifetime has a learner of its own, as many of them run side by side: a deep copy, made when the lifetime
    begins, of the one that was given, which is never used itself. What cannot be copied (a lock, an open file, a tensor
    that is no leaf) is best made in :meth:`reset`; or give a factory instead of a learner, see :func:`as_learner` and
    :mod:`flp_agents.support.copying`.
    """

    def __repr__(self) -> str:
        return as_call(self, options_of(self))

    def reset(self) -> None:
        """Forgets everything: a new lifetime begins."""
        ...

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """Predicts the targets of inputs ``(B, *input)`` without learning from them.

        Returns:
            Where targets are numbers: ``(B, *target)``. Where they are labels: labels ``(B,)``, whole numbers, or a
            score for each class, ``(B, classes)``, the largest of which is the prediction.
        """
        ...

    def update(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Learns from the targets ``(B, *target)``, or labels ``(B,)``, of inputs ``(B, *input)``."""
        ...


# One lifetime's learner, and the inputs that it predicted last.
_Lifetimes = tuple[tuple[PlainLearner, "NDArray[Any] | None"], ...]


class ManyPlainLearners(Learner[_Lifetimes]):
    """Lets copies of a plain learner run side by side, as a :class:`flp_agents.learners.learner.Learner`.

    Args:
        prototype: copied for every lifetime; it is never used itself.
        objective: what it is to predict.
        factory: makes the learner of every lifetime, in the place of copies; it must make the same one each time.
    """

    def __init__(
        self,
        prototype: PlainLearner,
        objective: Objective = SquaredError(),
        factory: Callable[[], PlainLearner] | None = None,
    ) -> None:
        super().__init__()
        self.prototype, self.objective, self.factory = prototype, objective, factory
        self.settings = {"prototype": prototype}

    def adapt_to(self, env: Any) -> ManyPlainLearners:
        """Itself, or the same learner for another kind of targets.

        Raises:
            IncompatibleSpaces: if the learner says for which spaces it was made, and they are others.
        """
        hold_to_spaces(self.prototype, env)
        wanted = objective_of(env)
        return self if wanted == self.objective else ManyPlainLearners(self.prototype, wanted, self.factory)

    def _new(self) -> PlainLearner:
        if self.factory is not None:
            return cast("PlainLearner", made_by(self.factory))
        name = type(self.prototype).__name__
        return copy_of(
            self.prototype,
            "every lifetime has a copy of its own",
            f", make it in reset(), or give a factory that makes the learner: lambda: {name}()",
        )

    def init(self, n: int) -> _Lifetimes:
        learners = [self._new() for _ in range(n)]
        with torch.enable_grad():  # a torch model may want to differentiate
            for learner in learners:
                learner.reset()
        return tuple((learner, None) for learner in learners)

    def predict(self, state: _Lifetimes, features: Tensor) -> tuple[Tensor, _Lifetimes]:
        inputs = features.numpy()
        predictions = [self._predict(learner, x) for (learner, _), x in zip(state, inputs, strict=True)]
        lifetimes = tuple((learner, x) for (learner, _), x in zip(state, inputs, strict=True))
        return torch.from_numpy(np.stack(predictions)), lifetimes

    def predict_all(self, state: _Lifetimes, features: Tensor) -> Tensor:
        # Minibatch by minibatch, as an environment shows them.
        return torch.stack([self.predict(state, minibatch)[0] for minibatch in features.unbind(1)], 1)

    def update(self, state: _Lifetimes, y: Tensor) -> _Lifetimes:
        return self.update_where(torch.ones(len(state), dtype=torch.bool), state, y)

    def update_where(self, mask: Tensor, state: _Lifetimes, y: Tensor) -> _Lifetimes:
        # As the environment gave them: labels, or numbers.
        targets = self.objective.actions(y).numpy()
        for received, (learner, x), target in zip(mask.tolist(), state, targets, strict=True):
            if received and x is not None:
                with torch.enable_grad():
                    learner.update(x, target)
        return state

    def choose(self, mask: Tensor, yes: _Lifetimes, no: _Lifetimes) -> _Lifetimes:
        return tuple(a if take else b for take, a, b in zip(mask.tolist(), yes, no, strict=True))

    def _predict(self, learner: PlainLearner, x: NDArray[Any]) -> NDArray[np.float64]:
        with torch.enable_grad():
            prediction: Any = learner.predict(x)
        if isinstance(prediction, Tensor):
            prediction = prediction.detach().cpu()
        try:
            values = plain_numbers(prediction)
        except TypeError as error:
            raise FLPError(f"{type(learner).__name__}.predict: expected an array of numbers, got {error}") from None
        outputs = self.objective.outputs if isinstance(self.objective, CrossEntropy) else None
        if outputs is not None and values.dtype.kind in "iu" and values.shape == (len(x),):
            if values.min() < 0 or values.max() >= outputs:
                raise FLPError(f"{type(learner).__name__}.predict: expected labels below {outputs}, got {values}")
            values = np.eye(outputs)[values]
        shape = (len(x), *(("outputs",) if outputs is None else (outputs,)))
        if values.ndim < 2 or len(values) != len(x) or (outputs is not None and values.shape != shape):
            what = "predictions" if outputs is None else f"labels of shape ({len(x)},), whole numbers, or scores"
            raise FLPError(
                f"{type(learner).__name__}.predict: expected {what} of shape ({shape[0]}, {shape[1]}), "
                f"got {values.shape} {values.dtype}"
            )
        return values.astype(np.float64)


def as_learner(learner: Learner[Any] | PlainLearner | Policy | Callable[[], PlainLearner], env: Any) -> Learner[Any]:
    """Any learner as one that runs many lifetimes at once, adapted to an environment.

    Args:
        learner: which. A plain learner is copied for every lifetime; a factory, a class or function without arguments
            that makes one, is called for every lifetime instead.
        env: single or vector.

    Raises:
        IncompatibleSpaces: if it does not fit it.
        FLPError: if it is no learner at all.
    """
    if isinstance(learner, Learner):
        return learner.adapt_to(env)
    factory: Any = None
    if isinstance(learner, type) or (callable(learner) and not hasattr(learner, "predict")):
        factory, learner = learner, made_by(learner)
        if isinstance(learner, Learner):
            return learner.adapt_to(env)
    if all(callable(getattr(learner, name, None)) for name in ("reset", "predict", "update")):
        return ManyPlainLearners(cast("PlainLearner", learner), objective_of(env), factory).adapt_to(env)
    if callable(getattr(learner, "predict", None)):
        return PolicyLearner(cast("Policy", learner), env)
    raise FLPError(
        "expected a learner with reset, predict and update, or a policy with predict(observation, state, "
        f"episode_start, deterministic), got {type(learner).__name__}"
    )
