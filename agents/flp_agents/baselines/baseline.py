"""What all baselines have in common: they are built for one environment, and are not meta-trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from flp_agents.learners.input_range import Range, check_images
from flp_agents.learners.learner import Learner
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces, Objective, in_words, objective_of
from flp_base.errors import FLPError, check_number

State = TypeVar("State")


def check_above_zero(name: str, value: float) -> float:
    """Returns ``value`` if it is a number above 0.

    Raises:
        InvalidSize: otherwise.
    """
    return check_number(name, value, above=0)


class NotMetaTrained(FLPError):
    """A learner that has nothing to meta-train."""


class BaselineLearner(Learner[State]):
    """A learner whose initial state never changes.

    What it draws, it draws from generators of its own: the same seed gives the same learner, and all lifetimes of one
    learner draw the same.

    Args:
        input_shape: of one input.
        outputs: ``n_y``, numbers in one prediction.
        objective: what it is to predict.

    Attributes:
        made_for: the range of the inputs that it was built for, see :mod:`flp_agents.learners.input_range`; none: not
            known.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, objective: Objective) -> None:
        super().__init__()
        self.input_shape, self.outputs, self.objective = input_shape, outputs, objective
        self.made_for: Range | None = None

    @property
    def input_range(self) -> Range | None:
        return self.made_for

    def adapt_to(self, env: Any) -> Learner[Any]:
        """Itself.

        Raises:
            IncompatibleSpaces: if it was built for inputs or targets of another shape or kind.
        """
        space = getattr(env, "single_observation_space", env.observation_space)
        wanted = objective_of(env)
        labels = isinstance(wanted, CrossEntropy)
        shape = space["x"].shape if labels else space["x"].shape[-1:]
        outputs = wanted.outputs if isinstance(wanted, CrossEntropy) else space["y"].shape[-1]
        if (shape, outputs, wanted) != (self.input_shape, self.outputs, self.objective):
            kind = "labels" if isinstance(self.objective, CrossEntropy) else "numbers"
            raise IncompatibleSpaces(
                f"the learner takes inputs of shape {self.input_shape} and predicts {self.outputs} {kind}, the "
                f"environment shows x of {in_words(space['x'])} and y of {in_words(space['y'])}: build it for this "
                "environment"
            )
        if len(self.input_shape) == 3:
            check_images(space["x"])
        self.check_inputs(env)
        return self

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """None.

        Raises:
            NotMetaTrained: always.
        """
        raise NotMetaTrained(f"{type(self).__name__} is not meta-trained: use flp, gradient-based or oml")
