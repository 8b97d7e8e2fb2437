"""What a metric of lifetimes is, and the registry of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from flp_agents.lifetime.recording import LifetimeRecord
from flp_base.registry import Registry, RegistryError

Measure = TypeVar("Measure", bound=Callable[[LifetimeRecord], Any])


@dataclass(frozen=True)
class Metric:
    """One number for each lifetime.

    Attributes:
        title: heading of tables and figures.
        measure: from the record of ``E`` lifetimes to ``(E,)`` numbers, in the environment's own metric (mean squared
            error, or per cent of wrong labels); or none, where it means nothing.
        higher_is_better: whether more is better; of a loss less is.
        of_sub_tasks: whether it means something only where sub-tasks follow one another.
        nonnegative: whether it is never below 0.
    """

    title: str
    measure: Callable[[LifetimeRecord], ArrayLike | None]
    higher_is_better: bool = False
    of_sub_tasks: bool = False
    nonnegative: bool = False


def _check(name: str, metric: Any) -> None:
    if not name.isidentifier():
        raise RegistryError(f"a metric's name is a column of tables, such as worst_step, got {name!r}")


#: By name, in the order in which tables show them.
METRICS: Registry[Metric] = Registry(
    "metric",
    package="flp_agents.evaluation.lifetime_metrics",
    entry_points="flp_envs.metrics",
    check=_check,
    made_by=lambda metric: metric.measure,
)


def register_metric(name: str, title: str, **attributes: bool) -> Callable[[Measure], Measure]:
    """Makes a metric known by a name, as a decorator of the function that measures it.

    Args:
        name: column of tables.
        title: heading of tables and figures.
        attributes: further ones of :class:`Metric`: ``higher_is_better``, ``of_sub_tasks``, ``nonnegative``.

    Raises:
        RegistryError: if another metric has this name, or if it is no name of a column.
    """

    def register(measure: Measure) -> Measure:
        METRICS.add(name, Metric(title, measure, **attributes))
        return measure

    return register
