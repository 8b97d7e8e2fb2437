"""What an estimator of the outer gradient is, and the registry of estimators.

An estimator takes lifetimes and an outer objective, and leaves the gradient of the mean outer loss in the learner's
parameters. How it finds it is its own affair: by back-propagation, or by none. To add one: write a class with the
members of :class:`Estimator`, decorated with :func:`register_estimator`, in a plug-in or in a new file of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.outer_objectives.outer_objective import OuterObjective
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError, in_short
from flp_base.registry import Registry, RegistryError

Made = TypeVar("Made", bound=Callable[..., Any])


class UnsupportedEstimator(FLPError, ValueError):
    """An estimator that is none, or that a learner or a trainer cannot be used with."""


class Estimate(NamedTuple):
    """What an outer step's lifetimes came to; the gradient is in the parameters.

    Attributes:
        loss: ``()`` mean outer loss, without a graph.
        state: of the lifetimes after the support steps that were taken, for the next window; none: all were taken.
    """

    loss: Tensor
    state: Any = None


class Estimator(Protocol):
    """How the gradient of the outer loss is found. A subclass inherits the members that have a body here."""

    @property
    def window(self) -> int | None:
        """How many inner steps an outer step takes; none: whole lifetimes."""
        return None

    def check(self, learner: Learner[Any], steps: int) -> None:
        """Makes sure that it can be used on lifetimes of so many inner steps; by default it can.

        Raises:
            FLPError: if the learner cannot be meta-trained in this way, or not on lifetimes of this length.
        """

    def init(self, learner: Learner[Any], n: int) -> Any:
        """What is carried through ``n`` lifetimes, at their beginning: a nest of tensors, lifetimes first.

        By default the learner's initial state.
        """
        return learner.init(n)

    def differentiate(
        self, learner: Learner[Any], episodes: EpisodeTensors, state: Any, outer_objective: OuterObjective
    ) -> Estimate:
        """Runs through lifetimes, or one window of each, and adds to every parameter's ``grad``, which is none before.

        Args:
            learner: whose meta-parameters are trained.
            episodes: of ``E`` lifetimes, or of their next windows.
            state: what :meth:`init` returned, or the estimate of the window before.
            outer_objective: what the outer loss is.

        Returns:
            The mean outer loss, and the state that is carried on.
        """
        ...


def _check(name: str, build: Any) -> None:
    if not callable(build) or (isinstance(build, type) and not hasattr(build, "differentiate")):
        raise RegistryError(f"expected the estimator {name!r} to be a class with differentiate, got {build!r}")


#: Classes, or functions, that make an estimator. They are called with those of ``strategy``, a memory strategy, and
#: ``steps``, the inner steps of a window, that they have parameters for.
ESTIMATORS: Registry[Callable[..., Estimator]] = Registry(
    "estimator", package="flp_agents.lifetime.estimators", entry_points="flp_envs.estimators", check=_check
)


def register_estimator(name: str) -> Callable[[Made], Made]:
    """Makes an estimator known by a name, as a decorator of its class: ``flp train --estimator NAME --plugin FILE``.

    All arguments of its constructor have defaults, but for those called ``strategy`` and ``steps``.

    Raises:
        RegistryError: if it is none, or if another estimator has this name.
    """
    return ESTIMATORS.register(name)


def check_estimator(given: Any, **whole: bool) -> Estimator:
    """Returns ``given`` if it is an estimator.

    Args:
        given: it.
        whole: by its name, whether something is used that takes whole lifetimes.

    Raises:
        UnsupportedEstimator: if it is none, or the class of one, or a memory strategy alone; or if it takes lifetimes
            window by window, and something is used that takes whole ones.
    """
    parts = ("window", "check", "init", "differentiate")
    if isinstance(given, type) or (missing := [name for name in parts if not hasattr(given, name)]):
        lacks = "is a class" if isinstance(given, type) else f"has no {missing[0]}"
        raise UnsupportedEstimator(
            "expected an estimator such as Backpropagation(Full()) or Windows(50, Full()), got "
            f"{in_short(given)}, which {lacks}"
        )
    for name in (name for name, used in whole.items() if used and given.window is not None):
        raise UnsupportedEstimator(
            f"{given} takes lifetimes window by window, and {name} takes whole ones: use one of the two"
        )
    return cast("Estimator", given)
