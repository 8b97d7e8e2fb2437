"""What a memory strategy is, and the registry of strategies.

A strategy runs through the support steps of a lifetime so that the outer loss can be differentiated. What it keeps of
them decides what the gradient costs in memory and time. To add one: write a frozen dataclass that inherits from
:class:`MemoryStrategy`, decorated with :func:`register_strategy`, in a plug-in or in a new file of this package.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.encoding import encode_episode
from flp_agents.lifetime.inner_loop import Rollout
from flp_base.errors import FLPError, InvalidSize, check_at_least
from flp_base.registry import Registry, RegistryError
from flp_base.renamed import Renamed

Made = TypeVar("Made", bound=Callable[..., Any])


class UnsupportedStrategy(FLPError, ValueError):
    """A strategy that this learner cannot be meta-trained with."""


class MetaGradient(Protocol):
    """A way to run through a lifetime so that what comes out can be differentiated.

    ``online`` says whether predictions along the way are wanted, and will be differentiated as well.
    """

    def check(self, learner: Learner[Any], steps: int) -> None:
        """Makes sure that it can be used on lifetimes of so many inner steps.

        Raises:
            UnsupportedStrategy: if the learner cannot be meta-trained in this way.
            InvalidSize: if the strategy does not fit the number of inner steps.
        """
        ...

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        """A lifetime's inputs ``(E, T, B, ...)`` and ``(E, Q, B, ...)`` encoded; without a query nothing for it."""
        ...

    def rollout(self, learner: Learner[Any], state: Any, features: Tensor, targets: Tensor, *, online: bool) -> Rollout:
        """Runs through the support steps, as :func:`inner_loop` does with the same arguments; checks first."""
        ...


@dataclass(frozen=True)
class MemoryStrategy:
    """What strategies have in common: they fit every lifetime, and encode inputs in one pass through the trunk."""

    live: ClassVar[Any] = Renamed("rollout")

    def check(self, learner: Learner[Any], steps: int) -> None:
        """Fits always."""

    def encode(
        self, learner: Learner[Any], support: Tensor, query: Tensor | None, *, online: bool
    ) -> tuple[Tensor, Tensor | None]:
        return encode_episode(learner, support, query, learner.encode, online)


def _check(name: str, build: Any) -> None:
    if not callable(build) or (isinstance(build, type) and not any(hasattr(build, of) for of in ("rollout", "live"))):
        raise RegistryError(f"expected the memory strategy {name!r} to be a class with rollout, got {build!r}")


#: Classes of memory strategies, or functions that make one; see :func:`make_strategy` for their arguments.
STRATEGIES: Registry[Callable[..., MetaGradient]] = Registry(
    "memory strategy", package="flp_agents.lifetime.strategies", entry_points="flp_envs.strategies", check=_check
)


def register_strategy(name: str) -> Callable[[Made], Made]:
    """Makes a memory strategy known by a name, as a decorator of its class: ``flp train --meta-gradient NAME``.

    All arguments of its constructor have defaults, but for one called ``steps`` or ``every``, see
    :func:`make_strategy`.

    Raises:
        RegistryError: if it is none, or if another strategy has this name.
    """
    return STRATEGIES.register(name)


def make_strategy(name: str, steps: int) -> MetaGradient:
    """The strategy of a name.

    Args:
        name: as registered.
        steps: what its constructor gets as ``steps``, or as ``every``, where 0 is none; it may have neither.

    Raises:
        InvalidChoice: for an unknown name, naming the nearest.
    """
    build = STRATEGIES[name]
    offered = {"steps": steps, "every": steps or None}
    return build(**{key: offered[key] for key in inspect.signature(build).parameters if key in offered})


def takes_steps(name: str) -> bool:
    """Whether :func:`make_strategy` gives ``steps`` to the strategy of a name."""
    return not {"steps", "every"}.isdisjoint(inspect.signature(STRATEGIES[name]).parameters)


def segment_length(strategy: Any, steps: int) -> int:
    """Inner steps in a segment of a strategy with ``every``: so many, or the square root of the lifetime.

    Raises:
        InvalidSize: if it does not fit a lifetime of so many steps.
    """
    every: int | None = strategy.every
    if every is None:
        return max(1, math.isqrt(steps))
    if check_at_least(f"every of {type(strategy).__name__}", every, 1) > steps:
        raise InvalidSize(f"{strategy}: a lifetime has {steps} inner steps: choose every of at most {steps}")
    return every
