"""One cell of a benchmark: a learner runs through its episodes, and what is worth knowing of them is kept."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.benchmark.identity import PARTS, identity_of_env, identity_of_learner, identity_of_metrics
from flp_agents.benchmark.results import Cell, CellResult
from flp_agents.evaluation.scoring import measure, record_on_episodes
from flp_agents.lifetime.recording import LifetimeRecord
from flp_agents.support.provenance import stamp
from flp_base.errors import FLPError

# In double precision, lifetimes that run alone and lifetimes that run in a batch agree in every digit that is shown.
PRECISION = torch.float64


class OutOfTime(FLPError):
    """A cell that took too long."""


def run_cell(
    cell: Cell, *, minutes: float = 60.0, lifetimes_at_once: int | None = None, sent: Collection[str] = ()
) -> CellResult:
    """Runs through a cell's episodes. Whatever the learner does wrong becomes the result's failure.

    Args:
        cell: which.
        minutes: after which it has failed.
        lifetimes_at_once: in a batch; none: as many as memory is there for. Makes no difference in the numbers.
        sent: learners and environments that came to this process with their code, and so cannot have changed.
    """
    try:
        with _time_limit(minutes * 60):
            return _run(cell, lifetimes_at_once, sent)
    except FLPError as error:
        return failed(cell, str(error))
    except MemoryError:
        return failed(cell, "out of memory")
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = os.path.basename(where.filename)
        return failed(cell, f"{type(error).__name__}: {_said(error)} ({name}, line {where.lineno})")


def _run(cell: Cell, lifetimes_at_once: int | None, sent: Collection[str]) -> CellResult:
    def make_env() -> gym.Env[Any, Any]:
        return flp_envs.make(cell.env, split=cell.split, **cell.env_options)

    env = make_env()
    _check_unchanged(cell, env, sent)
    entry = entries.build_entry(cell.learner, env, cell.seed)
    entries.refuse_leak(cell.learner, entry.meta_trained_on, cell.env, cell.split)
    learner = entry.learner.to(PRECISION).eval()
    records = record_on_episodes(learner, make_env, episodes=cell.episodes, seed=cell.seed, at_once=lifetimes_at_once)
    return CellResult(
        cell,
        title=entry.title,
        network=entry.network,
        metric=learner.objective.metric,
        scores=measure(records),
        curves=_curves(records),
        task_ends=records[0].task_ends,
        seconds=float(np.average([r.seconds for r in records], weights=[len(r.support_losses) for r in records])),
        state_bytes=max(record.state_bytes for record in records),
        stamp={**_stamp(), **_origin(entry)},
    )


def _check_unchanged(cell: Cell, env: gym.Env[Any, Any], sent: Collection[str]) -> None:
    """Makes sure that a cell is still the one that it was when the benchmark began.

    Raises:
        FLPError: if a file was edited, data were packed or a checkpoint was saved in the meantime.
    """
    of_env = {} if cell.env in sent else identity_of_env(env)
    of_learner = {} if cell.learner in sent else identity_of_learner(cell.learner, cell.env)
    now = {**of_env, **of_learner, **identity_of_metrics()}
    for part, before in cell.depends_on.items():
        if now.get(part, before) != before:
            raise FLPError(f"{PARTS[part].words} changed after the benchmark began: run it again")


def _curves(records: Sequence[LifetimeRecord]) -> dict[str, Any]:
    by_task = np.concatenate([record.query_losses for record in records])
    curves: dict[str, Any] = {"query_at": records[0].queried_at.tolist()}
    for name, values in (
        ("prequential", np.concatenate([record.support_losses for record in records])),
        ("query", np.nanmean(by_task, axis=2)),
        ("query_by_task", by_task),
    ):
        curves[name] = np.nanmean(values, axis=0).tolist()
        curves[f"{name}_error"] = _standard_error(values).tolist()
    return curves


def _standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    number = np.isfinite(values).sum(axis=0)
    deviation: NDArray[np.float64] = np.nanstd(values, axis=0, ddof=1 if len(values) > 1 else 0)
    error: NDArray[np.float64] = deviation / np.sqrt(number)
    return error


def _stamp() -> dict[str, str]:
    return {**stamp(), "precision": str(PRECISION).removeprefix("torch.")}


def _origin(entry: entries.BenchmarkEntry) -> dict[str, str]:
    trained = entry.meta_trained_on
    return {
        "meta_trained_on": f"{trained['env']} {trained['split']}" if trained else "",
        **{key: str(value) for key, value in entry.origin.items()},
    }


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupts what runs for too long; ends the process if it does not let itself be interrupted.

    Only a process's main thread can be interrupted, and only where there are signals.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"took more than {seconds / 60:g} minutes (--cell-minutes)")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be printed)"


def _one_line(text: str) -> str:
    line = " ".join(text.encode(errors="backslashreplace").decode().split())
    return line if len(line) <= 300 else line[:297] + "..."


def failed(cell: Cell, reason: str) -> CellResult:
    """A cell without numbers."""
    return CellResult(cell, cell.learner, stamp=_stamp(), failure=_one_line(reason))
