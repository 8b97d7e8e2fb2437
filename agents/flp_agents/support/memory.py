"""How much memory there is, and how much was used."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flp_base.errors import FLPError
from flp_base.machine_memory import available_bytes


class OutOfMemory(FLPError, MemoryError):
    """What was asked for does not fit; the message says what would."""


@contextmanager
def explaining_out_of_memory(strategy: object) -> Iterator[None]:
    """Turns what torch says when memory runs out in the block into advice.

    Raises:
        OutOfMemory: with the advice.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _speaks_of_memory(error):
            raise
        raise OutOfMemory(
            f"out of memory with {strategy}: use Checkpointed(), which keeps least, fewer lifetimes at once, or a "
            "narrower network"
        ) from None


def _speaks_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def free_bytes(device: torch.device) -> int | None:
    """Memory to be had on a device, or none if that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    return available_bytes()


@dataclass
class Peak:
    """What :func:`measure_peak` measured.

    Attributes:
        total: the process's largest resident memory, or the device's largest allocation, in bytes; none if unknown.
        added: how much of it was added in the meantime.
    """

    total: int | None = None
    added: int | None = None


@contextmanager
def measure_peak(device: torch.device) -> Iterator[Peak]:
    """Measures the largest memory in use while the block runs; on a CPU only where there is a /proc, as on Linux.

    What is idle is given back to the system first, so that the block's own use is seen whole.
    """
    peak = Peak()
    gc.collect()
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.total = torch.cuda.max_memory_allocated(device)
        peak.added = peak.total - before
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
        resident = _status("VmRSS")
    except OSError:
        yield peak
        return
    yield peak
    peak.total = _status("VmHWM")
    peak.added = peak.total - resident


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")
