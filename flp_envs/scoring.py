"""What an answer scores: the squared error of numbers, or whether a label is right."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flp_base.errors import FLPError
from flp_base.shown_options import ShowsOptions


class InvalidAction(FLPError, ValueError):
    """An action of the wrong shape, or one that is no answer."""


def plain_numbers(values: Any, kinds: str = "biuf") -> NDArray[Any]:
    """Values as an array of plain numbers.

    NumPy would also make numbers of what is none, and drop what they lack: dates, texts, imaginary parts, masks.

    Args:
        values: an array, a tensor, a number or a nest of them.
        kinds: of ``dtype.kind``, those that count as numbers.

    Raises:
        TypeError: for anything else; its text says what was found.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError("a masked array")
    try:
        array: NDArray[Any] = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: of torch's tensors that need a gradient
        raise TypeError(type(values).__name__) from None
    if array.dtype.kind not in kinds:
        scalar = array.dtype.kind in "OU" and not isinstance(values, np.ndarray)
        raise TypeError(type(values).__name__ if scalar else f"{type(values).__name__} of {array.dtype}")
    return array


class Scoring(Protocol):
    """Scores answers.

    Attributes:
        metric: what a query score means, "mse" or "error_percent".
    """

    metric: str

    def check(self, action: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Returns an action as an array of answers.

        Raises:
            InvalidAction: if its shape is not ``shape``, or if it holds what cannot be an answer.
        """
        ...

    def losses(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Of each row, ``(E, ...)`` and ``(E, ...)`` to ``(E,)``.

        Raises:
            InvalidAction: if a number in the answers is not finite.
        """
        ...

    def rewards(self, losses: NDArray[np.float64], query_steps: int) -> NDArray[np.float64]:
        """What query answers earn, so that those of all steps add up to the paper's figure."""
        ...


class SquaredError(ShowsOptions):
    """Answers are numbers; an episode's return is minus the query's mean squared error."""

    metric = "mse"

    def check(self, action: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Whether they are finite shows in :meth:`losses`."""
        try:
            numbers = plain_numbers(action)
        except TypeError as error:
            raise InvalidAction(
                f"expected an action of {shape} finite numbers, got {error}: "
                "answer every input of the step with a number"
            ) from None
        answer = numbers
        if numbers.dtype != np.float32:
            with np.errstate(over="ignore"):
                answer = numbers.astype(np.float32)
            if (np.isinf(answer) & np.isfinite(numbers)).any():
                raise InvalidAction(f"expected an action of {shape} finite numbers, got one that float32 cannot hold")
        if answer.shape != shape:
            raise InvalidAction(
                f"expected an action of shape {shape}, got {answer.shape}: answer every input of the step"
            )
        return answer

    def losses(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
        """The mean squared error of each row."""
        difference = (answers - targets).reshape(len(answers), -1)
        with np.errstate(over="ignore"):
            errors: NDArray[np.float64] = np.vecdot(difference, difference) / np.float64(difference.shape[1])
        if not np.isfinite(errors).all():
            if not np.isfinite(answers).all():
                raise InvalidAction("expected an action of finite numbers, got NaN or infinity in it")
            # Wild answers, whose squares are beyond float32.
            difference = np.subtract(answers, targets, dtype=np.float64).reshape(len(answers), -1)
            errors = np.vecdot(difference, difference) / difference.shape[1]
        return errors

    def rewards(self, losses: NDArray[np.float64], query_steps: int) -> NDArray[np.float64]:
        """Minus the loss, shared out over the query."""
        return losses / -query_steps


class LabelError(ShowsOptions):
    """Answers are labels; an episode's return is the query's accuracy, in [0, 1].

    Args:
        num_classes: labels are the whole numbers below.
    """

    metric = "error_percent"

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def check(self, action: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Labels, one for each env."""
        expected = f"expected a label, a whole number from 0 to {self.num_classes - 1}"
        expected += f", for each of {shape[0]} envs" if shape else ""
        try:
            answer = plain_numbers(action, "iu")
        except TypeError:
            raise InvalidAction(f"{expected}, got {type(action).__name__} {_in_short(action)}") from None
        if answer.shape != shape:
            raise InvalidAction(f"{expected}, got an array of shape {answer.shape}")
        if answer.size and not (answer.min() >= 0 and answer.max() < self.num_classes):
            raise InvalidAction(f"{expected}, got {_in_short(action)}")
        return answer

    def losses(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
        """0 where the label is right, else 1."""
        wrong: NDArray[np.float64] = np.not_equal(answers, targets).astype(np.float64)
        return wrong

    def rewards(self, losses: NDArray[np.float64], query_steps: int) -> NDArray[np.float64]:
        """1 for a right label, shared out over the query."""
        earned: NDArray[np.float64] = (1.0 - losses) / query_steps
        return earned


def _in_short(action: Any) -> str:
    """The beginning of what is printed of an action, on one line."""
    return " ".join(str(action).split())[:40]
