"""A run's metrics on disk: one row for each outer step, in a CSV file and for TensorBoard."""

from __future__ import annotations

import csv
import io
import os
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from flp_agents.training.outer_step import OuterStep
from flp_base.errors import FLPError
from flp_base.files import remove_leftovers, write_atomically

FILE = "metrics.csv"
COLUMNS = ("step", "query_loss", "gradient_norm", "skipped_total", "seconds")
# Characters that surely hold a row.
_LONGEST_ROWS = 1000
_MOST_DIGITS = 16


class RunMetrics:
    """Appends outer steps to ``metrics.csv`` and to an event file in ``tensorboard/``.

    The events are written here and now: TensorBoard's own writer is a thread, whose errors (a full disk) reach nobody.

    Args:
        folder: of the run; it exists.
        step: how many outer steps are done: rows past it, written after the checkpoint that is resumed, are dropped.
        loss: what the outer loss is called.

    Raises:
        FLPError: if the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int, loss: str = "query loss") -> None:
        self._folder = folder
        self._columns = [loss.replace(" ", "_") if name == "query_loss" else name for name in COLUMNS]
        path = folder / FILE
        try:
            kept: list[list[str]] = []
            if step and path.exists():
                with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                    kept = [row for row in csv.reader(file) if row and 0 < _step_of(row[0]) <= step]
            text = io.StringIO()
            csv.writer(text).writerows([self._columns, *kept])
            remove_leftovers(path)
            write_atomically(path, text.getvalue().encode())
            self._file = path.open("a", newline="", encoding="utf-8")
            self._csv = csv.writer(self._file)
            leaderboard = folder / "tensorboard"
            leaderboard.mkdir(exist_ok=True)
            self._events = (leaderboard / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open("ab")
            self._records = RecordWriter(self._events)
            self._record(Event(wall_time=time.time(), file_version="brain.Event:2"))
            if step:  # tells TensorBoard to forget what was written past the checkpoint
                start = SessionLog(status=SessionLog.START)
                self._record(Event(wall_time=time.time(), step=step + 1, session_log=start))
        except OSError as error:
            raise self._failed(error) from None
        except csv.Error as error:
            raise FLPError(f"{path} is damaged ({error}): move it away to go on without") from None

    def write(self, result: OuterStep, seconds: float) -> None:
        """Adds one outer step.

        Raises:
            FLPError: if it cannot be written.
        """
        row = (result.step, result.outer_loss, result.gradient_norm, result.skipped_total, round(seconds, 3))
        values = [
            Summary.Value(tag=f"meta_train/{name}", simple_value=value)
            for name, value in zip(self._columns[1:4], row[1:4], strict=True)
        ]
        try:
            self._csv.writerow(row)
            self._file.flush()
            self._record(Event(wall_time=time.time(), step=result.step, summary=Summary(value=values)))
            self._events.flush()
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Closes the files; what could be said of a full disk was said when writing."""
        for file in (self._file, self._events):
            try:
                file.close()
            except OSError:
                continue

    def _record(self, event: Event) -> None:
        self._records.write(event.SerializeToString())

    def _failed(self, error: OSError) -> FLPError:
        return FLPError(f"cannot write metrics to {self._folder}: {error.strerror or error}")


def last_step(folder: Path) -> int:
    """The last outer step that a run's metrics know of; 0 where there are none.

    Cheap, and safe while another process is writing: it reads the end of the file.
    """
    try:
        with (folder / FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_ROWS))
            # The last line may be half written.
            lines = file.read().decode("ascii", errors="replace").split("\n")[:-1]
    except OSError:
        return 0
    return _step_of(lines[-1].partition(",")[0]) if lines else 0


def _step_of(text: str) -> int:
    """A row's outer step, 0 if it has none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0
