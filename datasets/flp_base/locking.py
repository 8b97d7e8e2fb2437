"""Locks on files, by which processes keep out of each other's way, and what to do where there are none."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flp_base.errors import FLPError, FLPWarning

# What a file system says that has no locks: some network disks, some containers. EACCES and EAGAIN mean "locked".
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class LockedElsewhere(FLPError):
    """Another process holds the lock."""


class NoFileLocks(FLPWarning):
    """The file system has no locks: nothing keeps a second process out."""


@contextmanager
def file_lock(path: Path, *, on_wait: Callable[[], None] | None = None, needed: bool = True) -> Iterator[bool]:
    """Lets one process, and one thread of it, into the block at a time.

    The lock ends with its process, however that ends. Where the file system has no locks, the block is entered
    without, after a warning.

    Args:
        path: of the lock's own file, which is made if need be and stays; its folder exists.
        on_wait: called once if another process holds the lock, before waiting for it. None: do not wait.
        needed: warn where there are no locks. If not, they only save work that would be done twice.

    Yields:
        Whether the lock is held; if not, another process may be in the block as well.

    Raises:
        LockedElsewhere: if another process holds the lock and ``on_wait`` is None.
        OSError: if the file cannot be made.
    """
    path.parent.stat()  # a missing folder is an error; FileLock would make one
    # A soft lock, filelock's replacement where there are no locks, would outlive a process that is killed.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    held = True
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is None:
                raise LockedElsewhere(f"another process holds {path}") from None
            on_wait()
            lock.acquire()
    except OSError as error:
        # Timeout is an OSError without a number.
        if error.errno not in _NO_LOCKS:
            raise
        held = False
        if needed:
            warnings.warn(
                f"files cannot be locked in {path.parent} ({os.strerror(error.errno)}), so nothing keeps a second "
                "process out of it: take care that there is none",
                NoFileLocks,
                stacklevel=3,
            )
    try:
        yield held
    finally:
        if held:
            lock.release()
