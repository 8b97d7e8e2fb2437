"""How much memory this machine has, asked before it is taken: what does not fit is refused with its estimate."""

from __future__ import annotations

import math
import os
from pathlib import Path

from flp_base.errors import InvalidSize

# Less is allocated without asking.
_SMALL = 2**24
# Where nothing is known of the machine: more than any has.
_BEYOND = 2**47
_GROUPS = Path("/sys/fs/cgroup")


class TooMuchMemory(InvalidSize, MemoryError):
    """Sizes that this machine's memory cannot hold."""


def check_fits(what: str, size: float, instead: str) -> None:
    """Makes sure that something fits into this machine's memory, before any of it is allocated.

    Args:
        what: it is, in the plural or the singular with an article, to begin the error with.
        size: bytes that it takes at least. Estimates leave out what is small beside the rest.
        instead: what to do if it does not fit.

    Raises:
        TooMuchMemory: with the estimate, what the machine has, and the advice.
    """
    if size <= _SMALL:
        return
    free = available_bytes()
    if size > (_BEYOND if free is None else free + _swap()):
        has = "more than any machine has" if free is None else f"of this machine's memory {readable(free)} are free"
        raise TooMuchMemory(f"{what} would take {readable(size)}, {has}: {instead}")


def available_bytes() -> int | None:
    """Memory that this process can still get, in a container too; none if that is not known."""
    known = [_available(), *_group_limits(), _address_space()]
    return min((b for b in known if b is not None), default=None)


def readable(size: float) -> str:
    """A number of bytes in words, such as "1.5 GiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"


def _available() -> int | None:
    free = _of_meminfo("MemAvailable")
    if free is not None:
        return free
    try:  # other Unix systems: all that there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _swap() -> int:
    return _of_meminfo("SwapFree") or 0


def _of_meminfo(name: str) -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _group_limits() -> list[int]:
    """What is left to a container, under either version of Linux's control groups."""
    left = []
    for folder, used, limit, cache in (
        (_GROUPS, "memory.current", "memory.max", "inactive_file"),
        (_GROUPS / "memory", "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
    ):
        try:
            in_use, most = (int((folder / name).read_text(encoding="utf-8")) for name in (used, limit))
            lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
            # Counted as used, but given up when it is wanted.
            given_up = int(dict(line.split() for line in lines).get(cache, 0))
        except (OSError, ValueError):
            continue
        left.append(max(0, most - in_use + given_up))
    return left


def _address_space() -> int | None:
    """A limit that ``ulimit -v`` set."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY or not math.isfinite(limit) else limit
