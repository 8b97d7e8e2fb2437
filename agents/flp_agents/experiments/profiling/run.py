"""Times one outer step, strategy by strategy, beside autograd, JAX and the floor, interleaved in one run."""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import torch

import flp_envs
from flp_agents.experiments.profiling.lower_bound import ProductRate, operations
from flp_agents.learners.learner import Learner
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.lifetime.running import run_lifetime
from flp_agents.lifetime.strategies.autograd import Autograd
from flp_agents.lifetime.strategies.checkpointed import Checkpointed
from flp_agents.lifetime.strategies.reversible import Reversible
from flp_agents.lifetime.strategies.store_all import Full
from flp_agents.lifetime.strategies.strategy import MetaGradient
from flp_agents.lifetime.strategies.truncated import Truncated
from flp_agents.support.memory import measure_peak
from flp_agents.training.factory import build_learner
from flp_agents.training.presets import get_preset
from flp_base.errors import FLPError
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

ENV = "FLPSine-Continual-v0"
CONFIGURATIONS: dict[str, tuple[str, int]] = {
    "FLP (2)": ("flp", 2),
    "FLP (3)": ("flp", 3),
    "FLP (9)": ("flp", 9),
    "Gradient-based (3)": ("gradient-based", 3),
}
# No round begins later in a quick run, which ends after one or two of them.
QUICK_SECONDS = 55.0
# At the start of meta-training: lifetimes at the edge of stability would magnify rounding errors.
_SMALL_UPDATES = {"initial_coefficient": 1e-7, "initial_rate": 0.1}
# How far apart the same loss and gradient may be, computed in float32 in two ways.
_TOLERANCE = 2e-3


class Outcome(NamedTuple):
    """Of one outer step: the mean query loss, the norm of its gradient, and the time that it took."""

    loss: float
    norm: float
    seconds: float


@dataclass
class Subject:
    """One thing that is timed.

    Attributes:
        configuration: which learner.
        name: strategy, or peer.
        step: runs one outer step's loss and gradient.
        exact: whether they must be what autograd gets.
        outcome: of the first step.
        seconds: of the second step of every round.
        peak_bytes: that one step added to the memory in use.
    """

    configuration: str
    name: str
    step: Callable[[], Outcome]
    exact: bool
    outcome: Outcome | None = None
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def strategies(learner: str) -> dict[str, MetaGradient]:
    """What a learner is timed with."""
    exact: dict[str, MetaGradient] = {"full": Full(), "checkpointed": Checkpointed()}
    if learner == "flp":
        exact["reversible"] = Reversible()
    return {**exact, "truncated": Truncated(40), "autograd": Autograd()}


def setting(configuration: str, lifetimes: int = 1) -> tuple[NetworkLearner, Episode]:
    """The learner of a configuration, and the lifetimes that it is timed on."""
    name, plastic_layers = CONFIGURATIONS[configuration]
    env = flp_envs.make(ENV)
    preset = get_preset("paper", name, {"plastic_layers": plastic_layers, **_SMALL_UPDATES})
    learner = cast(NetworkLearner, build_learner(name, env, preset))
    seed_env(env, 0)
    return learner, draw_episodes(env, lifetimes)


def our_step(learner: Learner[Any], episode: Episode, strategy: MetaGradient) -> Outcome:
    """One outer step's loss and gradient."""
    started = time.perf_counter()
    learner.zero_grad(set_to_none=True)
    loss = run_lifetime(learner, episode, meta_gradient=strategy).query_loss.mean()
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in learner.parameters() if p.grad is not None]
    norm = float(torch.stack([g.norm() for g in grads]).norm())
    return Outcome(float(loss.detach()), norm, time.perf_counter() - started)


def _subjects(configuration: str, device: torch.device, peer: JaxProcess | None) -> tuple[list[Subject], int]:
    """Everything to be timed of one configuration, and the operations in one outer step of it."""
    learner, episode = setting(configuration)
    learner.to(device)
    subjects = [
        Subject(configuration, name, partial(our_step, learner, episode, strategy), exact=name != "truncated")
        for name, strategy in strategies(CONFIGURATIONS[configuration][0]).items()
    ]
    if peer is not None:
        subjects.append(Subject(configuration, "jax", partial(peer.step, configuration), exact=True))
    return subjects, operations(learner, episode)


class JaxProcess:
    """JAX in a process of its own, so that its threads and torch's do not wait for each other's cores."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve_jax, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def step(self, configuration: str) -> Outcome:
        """One outer step there."""
        self.connection.send(configuration)
        try:
            return Outcome(*self.connection.recv())
        except EOFError:
            raise FLPError("the JAX process ended: its error is printed above") from None

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()


def _serve_jax(connection: Any) -> None:
    from flp_agents.experiments.profiling.jax_reference import jax_peer

    steps: dict[str, Any] = {}
    while True:
        configuration = connection.recv()
        if configuration not in steps:
            learner, episode = setting(configuration)
            steps[configuration] = partial(jax_peer(learner), episode)
        started = time.perf_counter()
        loss, grads = steps[configuration]()
        seconds = time.perf_counter() - started
        connection.send((loss, sum(float((g**2).sum()) for g in grads.values()) ** 0.5, seconds))


def bench(
    *,
    seconds: float,
    device: str = "cpu",
    configurations: Iterable[str] = tuple(CONFIGURATIONS),
    most_rounds: int = 20,
    whole_round: bool = True,
    on_round: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Times all strategies of all configurations for about so long.

    Args:
        seconds: when to time nothing further, but for the first strategy.
        device: where.
        configurations: which.
        most_rounds: at most so many.
        whole_round: whether to finish the first round of two steps each, however long it takes; later rounds end when
            it is time. What was not reached is not in the results.
        on_round: receives what is under way.

    Returns:
        Configuration -> strategy -> ``seconds``, ``peak_bytes``, ``ratio_to_autograd``, ``ratio_to_jax`` and
        ``ratio_to_floor``, with none for a peer that is not there, or was not reached.
        JAX itself is listed with the strategies.

    Raises:
        FLPError: if an exact strategy or a peer finds another loss or gradient than autograd.
    """
    where = torch.device(device)
    started = time.monotonic()
    rate = ProductRate(where)
    subjects: list[Subject] = []
    counts: dict[str, int] = {}
    peer = JaxProcess() if importlib.util.find_spec("jax") is not None else None

    def first_round() -> Iterator[Subject]:
        # Made when it is their turn: there may be no time for all of them.
        for configuration in configurations:
            on_round(configuration)
            new, counts[configuration] = _subjects(configuration, where, peer)
            subjects.extend(new)
            yield from new

    def late(number: int) -> bool:
        finish = number == 1 and (whole_round or not any(subject.seconds for subject in subjects))
        return not finish and time.monotonic() - started > seconds

    try:
        for number in range(1, most_rounds + 1):
            for subject in first_round() if number == 1 else subjects:
                if late(number):
                    break
                on_round(f"round {number}: {subject.configuration}, {subject.name}")
                if number == 1:
                    _first_step(subject, where)
                else:
                    subject.step()
                rate.measure()
                # The step before has warmed up caches and memory, as in a run of many steps.
                subject.seconds.append(subject.step().seconds)
            if number == 1:
                _check_agreement(subjects)
            if time.monotonic() - started > seconds:
                break
    finally:
        if peer is not None:
            peer.close()
    timed = [subject for subject in subjects if subject.seconds]
    reached = [c for c in counts if any(subject.configuration == c for subject in timed)]
    return {c: _rows([s for s in timed if s.configuration == c], counts[c], rate) for c in reached}


def _first_step(subject: Subject, device: torch.device) -> None:
    """Runs a subject once, measuring memory."""
    with measure_peak(device) as peak:
        subject.outcome = subject.step()
    subject.peak_bytes = peak.added if subject.name != "jax" else None  # in another process


def _check_agreement(subjects: list[Subject]) -> None:
    """Makes sure that all that should have computed the same."""
    outcomes = {(s.configuration, s.name): s.outcome[:2] for s in subjects if s.outcome is not None}
    for subject in subjects:
        got, expected = (outcomes.get((subject.configuration, name)) for name in (subject.name, "autograd"))
        if got is None or expected is None:
            continue  # not reached
        if subject.exact and any(abs(a - b) > _TOLERANCE * abs(b) for a, b in zip(got, expected, strict=True)):
            raise FLPError(
                f"{subject.configuration}, {subject.name}: loss and gradient norm are {got}, autograd's {expected}"
            )


def _rows(subjects: list[Subject], count: int, rate: ProductRate) -> dict[str, dict[str, float | None]]:
    medians = {s.name: s.median for s in subjects}
    floor = count / rate.operations_per_second
    return {
        s.name: {
            "seconds": round(s.median, 4),
            "peak_bytes": s.peak_bytes,
            "ratio_to_autograd": round(s.median / medians["autograd"], 3) if "autograd" in medians else None,
            "ratio_to_jax": round(s.median / medians["jax"], 3) if "jax" in medians else None,
            "ratio_to_floor": round(s.median / floor, 3),
        }
        for s in subjects
    }
