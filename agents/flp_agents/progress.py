"""Shows how a training goes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flp_agents.meta_trainer import OuterStep

_LINE_EVERY_SECONDS = 10.0


@contextmanager
def show_progress(total: int | None, done: int = 0) -> Iterator[Callable[[OuterStep], None]]:
    """Yields what to call after every outer step.

    Args:
        total: outer steps of the whole run, if that is known.
        done: of these, how many are done already.
    """
    average = _Average()
    with show_steps("outer step", total, done) as show:

        def on_step(result: OuterStep) -> None:
            average.add(result)
            show(result.step, average.text(result))

        yield on_step


@contextmanager
def show_steps(
    name: str, total: int | None, done: int = 0, stream: TextIO | None = None
) -> Iterator[Callable[[int, str], None]]:
    """Yields what to call after every step, with its number and a few words.

    Args:
        name: of a step.
        total: number of the last one, if that is known.
        done: how many are done already.
        stream: where to; standard output, unless that is for results.
    """
    stream = stream or sys.stdout
    console = Console(file=stream)
    if not console.is_terminal:
        last = time.monotonic()

        def print_line(step: int, status: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY_SECONDS or (total is not None and step >= total):
                last = time.monotonic()
                print(f"{name} {step}{f'/{total}' if total else ''}  {status}", file=stream, flush=True)

        yield print_line
        return

    columns = (
        TextColumn(name),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, completed=done, status="")
        yield lambda step, status: progress.update(task, completed=step, status=status)


class _Average:
    """The query loss, smoothed over about 50 outer steps."""

    def __init__(self) -> None:
        self._value = math.nan

    def add(self, result: OuterStep) -> None:
        if not result.skipped:
            old = result.query_loss if math.isnan(self._value) else self._value
            self._value = old + (result.query_loss - old) / 50

    def text(self, result: OuterStep) -> str:
        skipped = f"  {result.skipped_total} skipped, not finite" if result.skipped_total else ""
        return f"query loss {self._value:.4f}{skipped}"
