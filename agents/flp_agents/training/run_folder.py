"""The folder of a run: one process at a time writes to it, and never over a checkpoint that is not its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.training import checkpoint
from flp_agents.training.checkpoint import CheckpointError
from flp_base.errors import FLPError
from flp_base.locking import LockedElsewhere, file_lock

LOCK = "lock"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Makes a folder, and keeps a second process from training into it.

    Raises:
        FLPError: if one does already, or if the folder cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(file_lock(folder / LOCK))
        except LockedElsewhere:
            raise FLPError(
                f"another process is training into {folder}: wait for it, or choose another --output"
            ) from None
        except OSError as error:
            raise FLPError(f"cannot write to {folder}: {error.strerror or error}: choose another --output") from None
        yield


class HeldFolder:
    """A folder that one process at a time trains into.

    Args:
        path: of the folder; made when it is first held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes out until the block ends; it may be nested.

        Raises:
            FLPError: if another process is in it, if the folder cannot be written, or if what lies there was changed.
        """
        with ExitStack() as lock:
            if not self._depth:
                lock.enter_context(locked_folder(self.path))
                self.check_unchanged()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def check_unchanged(self) -> None:
        """Makes sure that nobody else has written what this process would replace; by default, nobody has."""


class RunFolder(HeldFolder):
    """Where a run's checkpoint lies. It remembers which one that is, and replaces no other.

    A lock keeps other processes out while this one writes. Before that, after it, and where the file system has no
    locks, another run may begin in the folder, or the same one go on elsewhere: then the digest differs.

    Args:
        path: of the folder.
        read: digest of the checkpoint that the run goes on from; none: it begins, in the place of what is there now.
    """

    def __init__(self, path: Path, *, read: str | None = None) -> None:
        super().__init__(path)
        self._known = checkpoint.digest_in(path) if read is None else read

    def save(
        self,
        learner: Learner[Any],
        about: Mapping[str, Any],
        *,
        progress: Mapping[str, Any],
        optimizer: Mapping[str, Tensor],
    ) -> None:
        """Replaces the run's own checkpoint.

        Raises:
            CheckpointError: if another one lies there, or it cannot be written; what lies there stays.
        """
        with self.held():
            self.check_unchanged()
            self._known = checkpoint.save(self.path, learner, about, progress=progress, optimizer=optimizer)

    def check_unchanged(self) -> None:
        """Makes sure that the checkpoint there is the run's own, or that there is none.

        Raises:
            CheckpointError: otherwise.
        """
        found = checkpoint.digest_in(self.path)
        if found is not None and found != self._known:
            raise CheckpointError(
                f"{self.path} holds another checkpoint than this run read or wrote: another process has trained into "
                "it, and what it wrote is kept: choose another --output, or --resume the folder"
            )
