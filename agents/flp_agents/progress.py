"""Shows how meta-training goes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        last = time.monotonic()

        def print_line(result: OuterStep) -> None:
            nonlocal last
            average.add(result)
            if time.monotonic() - last >= _LINE_EVERY_SECONDS or result.step == total:
                last = time.monotonic()
                print(f"outer step {result.step}{f'/{total}' if total else ''}  {average.text(result)}", flush=True)

        yield print_line
        return

    columns = (
        TextColumn("outer step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, completed=done, status="")

        def advance(result: OuterStep) -> None:
            average.add(result)
            progress.update(task, completed=result.step, status=average.text(result))

        yield advance


class _Average:
    """The query loss, smoothed over about 50 outer steps."""

    def __init__(self) -> None:
        self._value = math.nan

    def add(self, result: OuterStep) -> None:
        if not result.skipped:
            old = result.query_loss if math.isnan(self._value) else self._value
            self._value = old + (result.query_loss - old) / 50

    def text(self, result: OuterStep) -> str:
        skipped = f"  skipped {result.skipped_total}" if result.skipped_total else ""
        return f"query loss {self._value:.4f}{skipped}"
