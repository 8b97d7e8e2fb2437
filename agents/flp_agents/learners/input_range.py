"""Between which values a learner's inputs lie, and whether an environment's lie between the same.

A wrapper that rescales inputs leaves their shape as it is; a network that was meta-trained without it then answers at
chance. What has to be the same, beside shapes:

- Images are bytes (uint8) from 0 to 255, whatever the learner: that is what networks divide by.
- Numbers have the bounds of the observation space that the learner was made for, input by input. Their dtype does not
  matter, nor how many pairs a step shows. Where either space names no bound, none is compared.

Targets are not compared: another ``max_amplitude`` or more classes are what learners are tried on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_agents.learners.objective import IncompatibleSpaces

# The smallest and the largest value of every input, none where there is no bound; one pair may stand for all.
Range = tuple[tuple[float | None, float | None], ...]
_TOLERANCE = 1e-5


def range_of(x: spaces.Space[Any]) -> Range | None:
    """The range of one step's inputs ``([B,] size)``; none of images, whose range is fixed, and without bounds."""
    if not isinstance(x, spaces.Box) or not 1 <= len(x.shape) <= 2:
        return None
    low, high = (bound.reshape(-1, x.shape[-1]).astype(np.float64) for bound in (x.low, x.high))
    pairs = [(_known(a), _known(b)) for a, b in zip(low.min(0).tolist(), high.max(0).tolist(), strict=True)]
    if all(pair == (None, None) for pair in pairs):
        return None
    return tuple(pairs[:1] if len(set(pairs)) == 1 else pairs)


def check_numbers(x: spaces.Space[Any], known: Range | None) -> None:
    """Makes sure that an environment's inputs lie between the bounds that a learner was made for.

    Raises:
        IncompatibleSpaces: naming the first input that does not, and what to undo.
    """
    shown = range_of(x)
    if known is None or shown is None:
        return
    for number in range(max(len(known), len(shown))):
        of_learner, of_env = (bounds[number if len(bounds) > 1 else 0] for bounds in (known, shown))
        if not all(_agree(a, b) for a, b in zip(of_learner, of_env, strict=True)):
            raise IncompatibleSpaces(
                f"input {number} of the environment lies {_between(of_env)}, where the learner was made it lay "
                f"{_between(of_learner)}: remove the wrapper that rescales it, or add the one that was there "
                "(flp: --transfer takes it as it is)"
            )


def check_images(x: spaces.Space[Any]) -> None:
    """Makes sure that an environment's images are bytes from 0 to 255.

    Raises:
        IncompatibleSpaces: naming what they are, and what to undo.
    """
    if not isinstance(x, spaces.Box):
        return
    low, high = float(np.min(x.low)), float(np.max(x.high))
    if x.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return
    rescaled = (low, high) != (0.0, 255.0)
    undo = "rescales them" if rescaled else f"makes {x.dtype} of them"
    raise IncompatibleSpaces(
        f"expected images of uint8 from 0 to 255, the environment shows {x.dtype} from {low:g} to {high:g}: remove the "
        f"wrapper that {undo}"
    )


def check_observed(values: NDArray[Any], x: spaces.Box) -> None:
    """Makes sure that observed inputs are of the kind and size that a space says.

    Args:
        values: ``([n,] [B,] *input)``.
        x: of one env.

    Raises:
        IncompatibleSpaces: naming what they are, and what to undo.
    """
    kept = slice(-len(x.shape), None) if len(x.shape) == 3 else slice(-1, None)
    if values.shape[kept] != x.shape[kept] or not 0 <= values.ndim - len(x.shape) <= 1:
        raise IncompatibleSpaces(
            f"expected x of shape {x.shape}, as in the environment that the agent was made for, with or without an "
            f"axis of envs before it, got {values.shape}: make an agent for this environment"
        )
    if (values.dtype == np.uint8) != (x.dtype == np.uint8):
        raise IncompatibleSpaces(
            f"expected x of {x.dtype}, as in the environment that the agent was made for, got {values.dtype}: remove "
            "the wrapper that rescales it, or make an agent for this environment"
        )


def _known(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None


def _agree(one: float | None, other: float | None) -> bool:
    return one is None or other is None or bool(np.isclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE))


def _between(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    if low is None:
        return f"at or below {high:g}"
    return f"at or above {low:g}" if high is None else f"between {low:g} and {high:g}"
