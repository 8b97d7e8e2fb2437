"""Other processes save what they have and stop when the one that began them is stopped, whichever way.

On Ctrl-C or a request to end, that one leaves a file that they look for. When it is killed, they see that they have
another parent.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_LOOK_EVERY_SECONDS = 0.2


@dataclass
class Others:
    """Processes that this one begins. Sent to them.

    Attributes:
        stop: a file that is there once they are asked to stop.
        parent: id of the process that begins them.
    """

    stop: Path
    parent: int

    @property
    def asked_to_stop(self) -> bool:
        """Whether they are to stop."""
        return self.stop.exists() or os.getppid() != self.parent


@contextmanager
def others() -> Iterator[Others]:
    """In the process that begins others: while it lasts, the first Ctrl-C or request to end is passed on to them.

    The second one ends this process at once. Outside of the main thread signals do what they did.
    """
    with tempfile.TemporaryDirectory(prefix="flp-") as folder:
        begun = Others(Path(folder) / "stop", os.getpid())
        if threading.current_thread() is not threading.main_thread():
            yield begun
            return

        def stop(_number: int, _frame: FrameType | None) -> None:
            if begun.stop.exists():
                raise KeyboardInterrupt
            begun.stop.touch()

        with _handling(stop):
            yield begun


@contextmanager
def heeding(of: Others) -> Iterator[None]:
    """In one that was begun: while it lasts, being asked to stop interrupts it as Ctrl-C does.

    Raises:
        KeyboardInterrupt: when it is asked to.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_SECONDS):
            if of.asked_to_stop:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    watcher = threading.Thread(target=watch, daemon=True)
    with _handling(interrupt):
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            if os.getppid() != of.parent:
                # Nobody waits for what would come next.
                os._exit(1)


@contextmanager
def _handling(handler: signal._HANDLER) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
