"""Shows how meta-training goes: the outer loss, smoothed, after every outer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flp_agents.support.progress import show_steps
from flp_agents.training.outer_step import OuterStep


@contextmanager
def show_progress(total: int | None, done: int = 0, loss: str = "query loss") -> Iterator[Callable[[OuterStep], None]]:
    """Yields what to call after every outer step.

    Args:
        total: outer steps of the whole run, if that is known.
        done: of these, how many are done already.
        loss: what the outer loss is called.
    """
    average = _Average(loss)
    with show_steps("outer step", total, done) as show:

        def on_step(result: OuterStep) -> None:
            average.add(result)
            show(result.step, average.text(result))

        yield on_step


class _Average:
    """The outer loss: the mean of the first 50 outer steps, later smoothed over about so many."""

    def __init__(self, loss: str) -> None:
        self._loss, self._value, self._steps = loss, math.nan, 0

    def add(self, result: OuterStep) -> None:
        if not result.skipped:
            old = 0.0 if math.isnan(self._value) else self._value
            self._steps += 1
            self._value = old + (result.outer_loss - old) / min(self._steps, 50)

    def text(self, result: OuterStep) -> str:
        skipped = f"  {result.skipped_total} skipped, not finite" if result.skipped_total else ""
        return f"{self._loss} {self._value:.4f}{skipped}"
