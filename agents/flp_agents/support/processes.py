"""Meta-training in several processes, on one machine or many: each runs through its share of every meta-batch.

``torchrun --nproc-per-node 2 -m flp_agents train ...`` starts them. All draw the same episodes and hold the same
meta-parameters; what they exchange is the gradient. Process 0 alone writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import joblib
import torch
from torch import Tensor, distributed

from flp_base.errors import FLPError, InvalidSize

# How long to wait for a process that does not answer.
_PATIENCE = timedelta(minutes=30)


# By which users say how many threads numerical libraries are to use.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def set_threads(count: int) -> None:
    """Sets how many processor threads torch uses in this process: here and nowhere else, and before there is work."""
    torch.set_num_threads(count)


def usable_cores() -> int:
    """How many cores this process may use: a container, a batch system or ``taskset`` may leave it a part of them."""
    return int(joblib.cpu_count())


def choose_threads(wanted: int | None, *, large: bool = False) -> None:
    """How many processor threads a command uses: chosen once, when it begins. Importing this package changes nothing.

    What was asked for; else what ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` say, which torch has read; else one. Most
    products of a lifetime are small: a second thread gains little where a core is free, and where none is, each
    product waits for a thread that is not running.

    Args:
        wanted: by the user, or by the checkpoint of a run that is resumed: the last bits depend on it.
        large: the products are those of a network of the paper's size. By default, a thread for each core then.
    """
    if wanted is not None:
        set_threads(wanted)
    elif not large and not any(os.environ.get(name) for name in _VARIABLES):
        set_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """One processor thread in the block, whose results' last bits depend on that; then as many as before."""
    before = torch.get_num_threads()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


class LostProcess(FLPError, RuntimeError):
    """Another process of the run ended, or cannot be reached."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the one that writes checkpoints, metrics and messages."""
        return self.rank == 0

    def share(self, meta_batch: int) -> slice:
        """Which lifetimes of a meta-batch are this process's.

        Raises:
            InvalidSize: if they cannot be shared out evenly.
        """
        if meta_batch % self.world:
            raise InvalidSize(
                f"{self.world} processes cannot share a meta-batch of {meta_batch} evenly: choose a meta_batch that is "
                f"a multiple of {self.world}, or another number of processes"
            )
        size = meta_batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their mean over all processes, in one exchange.

        Raises:
            LostProcess: if one is gone.
        """
        if self.world == 1:
            return
        together = torch.cat([t.reshape(-1) for t in tensors])
        with _explained():
            distributed.all_reduce(together)
        together /= self.world
        for tensor, mean in zip(tensors, torch.split(together, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def average_gradients(self, loss: Tensor, parameters: Sequence[Tensor], *, fill: bool) -> None:
        """Replaces a loss and its gradients by their means over all processes, in one exchange.

        Args:
            loss: of this process.
            parameters: with the gradients; none counts as 0.
            fill: whether what has no gradient in any process gets one of 0; else none.

        Raises:
            LostProcess: if one is gone.
        """
        if self.world == 1:
            return
        used = [] if fill else [torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average([loss, *(p.grad for p in parameters if p.grad is not None), *used])
        for parameter, share in zip(parameters, used[0].tolist() if used else [], strict=False):
            if not share:
                parameter.grad = None

    def any(self, here: bool) -> bool:
        """Whether something holds in any process; all get the same answer."""
        if self.world == 1:
            return here
        flag = torch.tensor(float(here))
        with _explained():
            distributed.all_reduce(flag)
        return bool(flag > 0)

    def check_same(self, what: dict[str, Any]) -> None:
        """Makes sure that all processes were started with the same settings.

        Raises:
            FLPError: in every process, naming what differs.
        """
        if self.world == 1:
            return
        everybody: list[Any] = [None] * self.world
        with _explained():
            distributed.all_gather_object(everybody, json.dumps(what, sort_keys=True))
        for rank, other in enumerate(map(json.loads, everybody)):
            first = json.loads(everybody[0])
            differing = [key for key in first if first[key] != other.get(key)]
            if differing:
                raise FLPError(
                    f"process {rank} was started with another {', '.join(differing)} than process 0: start all "
                    "processes with the same command"
                )

    def leave(self) -> None:
        """Waits until all have come this far. The exchange itself ends with the process, see ``cli.run``."""
        if self.world > 1:
            with _explained():
                distributed.barrier()


def join_processes() -> Processes:
    """Meets the processes that ``torchrun`` started; alone if it did not.

    Raises:
        LostProcess: if they do not all come.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if world == 1:
        return Processes()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _explained():
        distributed.init_process_group(backend, rank=rank, world_size=world, timeout=_PATIENCE)
    return Processes(rank, world)


def own_device(device: str) -> str:
    """``cuda`` as the device of this process among those of its machine; other devices as they are."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LostProcess(
            f"another process of the run was lost ({first_line}): start all of them again with --resume, which goes on "
            "from the last checkpoint"
        ) from None
