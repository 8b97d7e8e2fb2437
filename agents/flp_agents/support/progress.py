"""Shows how a training goes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_SECONDS = 10.0


@contextmanager
def show_steps(
    name: str, total: int | None, done: int = 0, stream: TextIO | None = None, *, at_once: bool = True
) -> Iterator[Callable[[int, str], None]]:
    """Yields what to call after every step, with its number and a few words.

    Args:
        name: of a step.
        total: number of the last one, if that is known.
        done: how many are done already.
        stream: where to; standard output, unless that is for results.
        at_once: whether something is shown even of what takes no time, or is not begun because of bad input.
    """
    stream = stream or sys.stdout
    console = Console(file=stream)
    if not console.is_terminal:
        last = time.monotonic()

        def print_line(step: int, status: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY_SECONDS or (at_once and total is not None and step >= total):
                last = time.monotonic()
                print(f"{name} {step}{f'/{total}' if total else ''}  {status}".rstrip(), file=stream, flush=True)

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
    progress = Progress(*columns, console=console)
    task = progress.add_task("", total=total, completed=done, status="")

    def update(step: int, status: str) -> None:
        progress.start()  # where it is started already, nothing happens
        progress.update(task, completed=step, status=status)

    if at_once:
        progress.start()
    try:
        yield update
    finally:
        if progress.live.is_started:
            progress.stop()
