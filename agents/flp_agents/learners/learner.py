"""What a learner is: pure functions of a state, so that one lifetime or a thousand run through the same code.

A learner predicts before it receives the target. In one inner step, ``predict`` predicts an input's target and
``update`` learns from it. All that changes within a lifetime is in the state, with the lifetimes ``E`` as its
leading axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flp_agents.closed_form.description import ChainTensors, Form, NotCovered
from flp_agents.learners.input_range import Range, check_numbers
from flp_agents.learners.objective import Objective, SquaredError
from flp_base.renamed import Renamed, take_old_names
from flp_base.shown_options import as_call, options_of

State = TypeVar("State")


class Learner(nn.Module, Generic[State]):
    """Base of all meta-trainable learners; its parameters are the meta-parameters.

    Subclasses implement :meth:`init`, :meth:`predict`, :meth:`update`, :meth:`parameter_groups` and, if part of them
    is frozen within a lifetime, :meth:`encode`. A state is any nest of tuples of tensors whose leading axis is ``E``.
    A learner that is not meta-trained is easier to write as a :class:`flp_agents.adapters.plain_learner.PlainLearner`.

    Attributes:
        settings: the constructor's arguments by name, enough to build the learner again.
        objective: what it is to predict.
        first_order: whether the meta-gradient takes the gradients that the learner descends within a lifetime for
            constants. Its lifetimes need no graph, see :meth:`rollout_to_first_order`.
    """

    fitted_to: Any = Renamed("adapt_to")
    ask_for: Any = Renamed("set_task")
    fit_lifetime: Any = Renamed("scale_updates")
    answer_all: Any = Renamed("predict_all")
    live_to_first_order: Any = Renamed("rollout_to_first_order")

    settings: Mapping[str, Any]
    objective: Objective = SquaredError()
    first_order: bool = False
    # Whether its inputs must lie where those of its meta-training lay; flp's --transfer says that they need not.
    holds_to_range: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        take_old_names(cls)

    @property
    def input_range(self) -> Range | None:
        """Between which values its inputs lie, see :mod:`flp_agents.learners.input_range`; none: not known, or
        images.
        """
        return None

    def check_inputs(self, env: Any) -> None:
        """Makes sure that an environment's inputs mean what they did where the learner was made.

        By default they must lie in the same :attr:`input_range`.

        Raises:
            IncompatibleSpaces: if they do not, saying what to undo.
        """
        space = getattr(env, "single_observation_space", env.observation_space)
        if isinstance(space, spaces.Dict) and "x" in space.spaces and self.holds_to_range:
            check_numbers(space["x"], self.input_range)

    def __repr__(self) -> str:
        # Its parts, as torch prints them, say nothing of the options that it was made with.
        return as_call(self, getattr(self, "settings", None) or options_of(self))

    def tensor(self, array: Any) -> Tensor:
        """An array as a tensor of the meta-parameters' device and type; images, which are bytes, stay bytes."""
        parameter = next(self.parameters(), None)
        values = torch.as_tensor(np.asarray(array))
        if parameter is None:
            return values if values.dtype == torch.uint8 else values.float()
        return values.to(parameter.device, None if values.dtype == torch.uint8 else parameter.dtype)

    def targets(self, array: Any) -> Tensor:
        """An environment's targets ``(..., *target)`` as what the output units should be, ``(..., n_y)``."""
        return self.tensor(self.objective.targets(torch.as_tensor(np.asarray(array))))

    def adapt_to(self, env: Any) -> Learner[Any]:
        """The learner as it is used in an environment, single or vector: by default itself.

        Raises:
            IncompatibleSpaces: if it cannot be used there.
        """
        self.check_inputs(env)
        return self

    def set_task(self, env: Any) -> None:
        """Makes an environment's targets what it is to predict, without other output units; by default nothing.

        Raises:
            IncompatibleSpaces: if it has too few.
        """

    def init(self, n: int) -> State:
        """The initial state of ``n`` lifetimes."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The part of the prediction that no lifetime changes, ``(..., *input) -> (..., features)``.

        It depends on meta-parameters only, so that a whole lifetime's inputs are encoded at once. By default: the
        input itself.
        """
        return x

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, State]:
        """Predictions ``(E, B, n_y)`` for encoded inputs ``(E, B, features)``, without learning from them."""
        raise NotImplementedError

    def predict_all(self, state: State, features: Tensor) -> Tensor:
        """Predictions ``(E, Q, B, n_y)`` of minibatches ``(E, Q, B, features)`` from one state (by default at once)."""
        lifetimes, steps, batch = features.shape[:3]
        predictions, _ = self.predict(state, features.reshape(lifetimes, steps * batch, *features.shape[3:]))
        return predictions.reshape(lifetimes, steps, batch, *predictions.shape[2:])

    def update(self, state: State, y: Tensor) -> State:
        """Learns from the targets ``(E, B, n_y)`` of the inputs predicted last; keeps the state's structure."""
        raise NotImplementedError

    def choose(self, mask: Tensor, yes: State, no: State) -> State:
        """Takes each lifetime's state from ``yes`` where the mask ``(E,)`` holds, else from ``no``."""

        def pick(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(mask.to(a.device).reshape(-1, *[1] * (a.ndim - 1)), a, b)

        chosen: State = pytree.tree_map(pick, yes, no)
        return chosen

    def update_where(self, mask: Tensor, state: State, y: Tensor) -> State:
        """Learns only in the lifetimes where the mask ``(E,)`` holds."""
        return self.choose(mask, self.update(state, y), state)

    def scale_updates(self, factor: float) -> None:
        """Makes each update ``factor`` times larger, for lifetimes that many times as short; 1 undoes it.

        Meta-training may begin with short lifetimes, which cost less. A learner whose updates must add up to the same
        over a lifetime makes each of them larger here. By default: nothing.
        """

    def set_precision(self, precision: str) -> None:
        """Chooses how precisely what no lifetime changes is computed, for learners that have a choice.

        Args:
            precision: one of :data:`flp_agents.support.precision.PRECISIONS`.
        """

    def settle(self, state: State) -> State:
        """Forgets what only the inner step under way needs; called between steps (by default nothing).

        What remains has the structure of the initial state.
        """
        return state

    def plastic_chain(self, state: State) -> tuple[Form, ChainTensors]:
        """Describes the learner as a plastic chain, whose meta-gradient is known in closed form.

        Raises:
            NotCovered: if it is not one; by default it is not.
        """
        raise NotCovered(f"{type(self).__name__} has no closed form", surprising=False)

    def rollout_to_first_order(self, state: State, features: Tensor, targets: Tensor) -> State:
        """The state after a lifetime, differentiable in one step; learners that are :attr:`first_order` write it.

        Args:
            state: of ``E`` lifetimes.
            features: ``(E, T, B, ...)`` encoded inputs.
            targets: ``(E, T, B, n_y)``.
        """
        raise NotImplementedError

    def predict_to_first_order(self, state: State, features: Tensor, targets: Tensor) -> tuple[Tensor, State]:
        """The predictions along the way ``(E, T, B, n_y)`` and what :meth:`rollout_to_first_order` returns.

        Each prediction is differentiable in the weights that made it, whose updates so far count as constants. Learners
        that are :attr:`first_order` write it so that no graph of the lifetime is needed; without it autograd does the
        same with one.
        """
        raise NotImplementedError

    def with_weights(self, state: State, weights: tuple[Tensor, ...]) -> State:
        """The state with other weights in its plastic chain, for learners that are one."""
        raise NotImplementedError

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """The meta-parameters by kind, each kind with a learning rate of its own in the outer loop."""
        raise NotImplementedError
