"""Meta-trains and measures networks in parallel processes, each at most once, and shows how far all of it is."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from flp_agents.experiments.reproduction.networks import (
    find_network,
    meta_train,
    network_folder,
    plan_digest,
    run_folder,
    weights_digest,
)
from flp_agents.experiments.reproduction.stopping import Others, heeding, others
from flp_agents.experiments.reproduction.tables import Network
from flp_agents.support.processes import set_threads
from flp_agents.training.outer_step import MetaTrainingDiverged
from flp_agents.training.run_metrics import last_step
from flp_base.errors import FLPError, check_at_least
from flp_datasets.pack import MissingPack

# Told of how many outer steps are done, of how many, and how many networks are.
OnProgress = Callable[[int, int, str], None]


def leave_out(_network: Network, _reason: str, _outer_steps: int) -> None:
    """Of a network that diverged there is nothing to measure: its table says so."""


@dataclass(frozen=True)
class Work:
    """What is done with each network, once it is meta-trained. Sent to other processes.

    Attributes:
        measure: of a network, its checkpoint, and the seconds that are left, if there is a limit; writes what it finds.
        done: whether nothing is left to do for a network, whose checkpoint is given, if there is one.
        diverged: writes that a network's meta-training diverged, and why, after so many outer steps.
        steps: outer steps that measuring a network takes.
        steps_done: how many of them are done.
    """

    measure: Callable[[Network, Path, float | None], None]
    done: Callable[[Network, Path | None], bool]
    diverged: Callable[[Network, str, int], None] = leave_out
    steps: int = 0
    steps_done: Callable[[Network], int] = lambda _: 0


@dataclass(frozen=True)
class How:
    """How networks are worked at.

    Attributes:
        folder: of results.
        retrain: whether to meta-train all that are not in the folder; else bundled ones, and results that are there
            without their networks, serve.
        complete: whether to meta-train those that are in no way there; else they are left.
        jobs: processes, of one thread each.
        device: cpu, cuda or cuda:N.
        stop_after_seconds: pause after so long.
    """

    folder: Path
    retrain: bool = False
    complete: bool = False
    jobs: int = 1
    device: str = "cpu"
    stop_after_seconds: float | None = None

    @property
    def meta_trains(self) -> bool:
        """Whether anything is meta-trained."""
        return self.retrain or self.complete


def counts(how: How, network: Network, *, plan: str, weights: str) -> bool:
    """Whether what was once found of a network is of the one that is to be meta-trained today, and is here if one is.

    Args:
        how: where, and whether what was found elsewhere serves.
        network: which.
        plan: names how the one that was measured was to be meta-trained.
        weights: SHA-256 of its weights; empty if its meta-training failed.

    Raises:
        MissingPack: if the data of its environment is not on this machine.
    """
    if plan != plan_digest(network):
        return False
    place = find_network(how.folder, network, here_only=how.retrain)
    if place is not None:
        return weights == weights_digest(place)
    return not how.retrain or not weights


def missing_data(networks: Sequence[Network]) -> set[str]:
    """Names of columns whose data is not on this machine."""
    missing = set()
    for network in {network.column.name: network for network in networks}.values():
        try:
            network.plan()
        except MissingPack:
            missing.add(network.column.name)
    return missing


def work_at(networks: Sequence[Network], work: Work, how: How, on_progress: OnProgress = lambda *_: None) -> None:
    """Does what is left to do, in the order given. What is stopped goes on where it was when it is called again.

    A network that fails, or that another process is meta-training, does not keep the others from being worked at.

    Args:
        networks: of columns whose data is here.
        work: what to do with each.
        how: where, and in how many processes.
        on_progress: receives twice a second how far all of it is.

    Raises:
        FLPError: if a network's folder holds another one; or, when all that can be done is done, if a network failed
            or a process died.
        KeyboardInterrupt: after Ctrl-C or a request to end, when all checkpoints are written.
    """
    check_at_least("jobs", how.jobs, 1)
    until = None if how.stop_after_seconds is None else time.time() + how.stop_after_seconds
    todo, to_train = list[Network](), dict[str, int]()
    for network in networks:
        place = find_network(how.folder, network, here_only=how.retrain)
        if work.done(network, place):
            continue
        if place is None and how.meta_trains:
            to_train[network.name] = network.plan().settings.outer_loop.outer_steps
        if place is not None or how.meta_trains:
            todo.append(network)
    failures = []
    alone = how.jobs == 1
    with (
        _watching(todo, to_train, work, how.folder, on_progress) as finished,
        nullcontext() if alone else others() as of,
    ):
        calls = (joblib.delayed(_work)(network, work, how, until, of) for network in todo)
        try:
            for failure in joblib.Parallel(n_jobs=how.jobs, return_as="generator_unordered")(calls):
                finished()
                failures += [failure] if failure else []
        except TerminatedWorkerError:
            raise FLPError(
                "a process died, for want of memory or by a crash outside Python: the same command goes on; with "
                "--jobs 1 there is more memory for each"
            ) from None
        if of is not None and of.stop.exists():
            raise KeyboardInterrupt
    if failures:
        raise FLPError("; ".join(failures))


def _work(network: Network, work: Work, how: How, until: float | None, of: Others | None) -> str:
    """Works at one network, in a process of its own if there are others; returns what went wrong, if anything did."""
    try:
        if of is None:
            _work_here(network, work, how, until)
        elif not of.asked_to_stop:
            with heeding(of):
                _work_here(network, work, how, until)
    except KeyboardInterrupt:
        if of is None:
            raise
        of.stop.touch()  # Ctrl-C reaches all processes of a terminal
    except FLPError as error:
        return f"{network.name}: {error}"
    return ""


def _work_here(network: Network, work: Work, how: How, until: float | None) -> None:
    def remaining() -> float | None:
        return None if until is None else max(0.0, until - time.time())

    if how.device == "cpu":
        set_threads(1)
    warnings.filterwarnings("ignore", message="the meta-gradient is found by autograd", category=UserWarning)
    place = find_network(how.folder, network, here_only=how.retrain)
    if place is None and remaining() != 0:
        try:
            place = meta_train(how.folder, network, device=how.device, stop_after_seconds=remaining())
        except MetaTrainingDiverged as error:
            work.diverged(network, str(error), last_step(run_folder(how.folder, network)))
            return
    if place is not None and remaining() != 0:
        work.measure(network, place, remaining())


@contextmanager
def _watching(
    todo: Sequence[Network], to_train: Mapping[str, int], work: Work, folder: Path, on_progress: OnProgress
) -> Iterator[Callable[[], None]]:
    """Tells, twice a second, what other processes have written; yields what to call when one more network is done."""
    done = 0
    over = threading.Event()

    total = sum(to_train.values()) + work.steps * len(todo)

    def steps_of(network: Network) -> int:
        steps = to_train.get(network.name, 0)
        if steps and not network_folder(folder, network).exists():
            return last_step(run_folder(folder, network))
        return steps + work.steps_done(network)

    def tell() -> None:
        on_progress(sum(map(steps_of, todo)), total, f"{done} of {len(todo)} networks")

    def watch() -> None:
        while not over.wait(0.5):
            tell()

    def finished() -> None:
        nonlocal done
        done += 1

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield finished
    finally:
        over.set()
        watcher.join()
        tell()
