"""Times one outer step, strategy by strategy, beside autograd, JAX and the floor, interleaved in one run."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch

import flp_envs
from flp_agents.bench.floor import ProductRate, operations
from flp_agents.factory import build_learner
from flp_agents.lifetime import run_lifetime
from flp_agents.memory import Borrowed, measure_peak
from flp_agents.meta_gradient import Autograd, Checkpointed, Full, MetaGradient, Reversible, Truncated
from flp_agents.network_learner import NetworkLearner
from flp_agents.presets import get_preset
from flp_envs.episode import Episode
from flp_envs.errors import FLPError
from flp_envs.recording import draw_episodes, seed_env

ENV = "FLPSine-Continual-v0"
CONFIGURATIONS: dict[str, tuple[str, int]] = {
    "FLP (2)": ("flp", 2),
    "FLP (3)": ("flp", 3),
    "FLP (9)": ("flp", 9),
    "Gradient-based (3)": ("gradient-based", 3),
}
# How far apart the same loss and gradient may be, computed in float32 in two ways.
_TOLERANCE = 2e-3


@dataclass
class Subject:
    """One thing that is timed.

    Attributes:
        configuration: which learner.
        name: strategy, or peer.
        step: runs one outer step's loss and gradient, and returns the loss and the gradient's norm.
        exact: whether they must be what autograd gets.
        seconds: of every round.
        peak_bytes: that one step added to the memory in use.
    """

    configuration: str
    name: str
    step: Callable[[], tuple[float, float]]
    exact: bool
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


def subjects_for(configuration: str, device: torch.device, *, lifetimes: int = 1) -> tuple[list[Subject], int]:
    """Everything to be timed of one configuration, and the operations in one outer step of it."""
    name, plastic_layers = CONFIGURATIONS[configuration]
    env = flp_envs.make(ENV)
    preset = get_preset("paper", name, {"plastic_layers": plastic_layers, "initial_coefficient": 1e-7})
    learner = cast(NetworkLearner, build_learner(name, env, preset)).to(device)
    seed_env(env, 0)
    episode = draw_episodes(env, lifetimes)

    def ours(strategy: MetaGradient) -> Callable[[], tuple[float, float]]:
        def step() -> tuple[float, float]:
            learner.zero_grad(set_to_none=True)
            loss = run_lifetime(learner, episode, meta_gradient=strategy).query_loss.mean()
            loss.backward()  # type: ignore[no-untyped-call]
            grads = [p.grad for p in learner.parameters() if p.grad is not None]
            return float(loss.detach()), float(torch.stack([g.norm() for g in grads]).norm())

        return step

    subjects = [
        Subject(configuration, strategy, ours(how), exact=strategy != "truncated")
        for strategy, how in strategies(name).items()
    ]
    peer = _jax_step(learner, episode)
    if peer is not None:
        subjects.append(Subject(configuration, "jax", peer, exact=True))
    return subjects, operations(learner, episode)


def bench(
    *,
    seconds: float,
    device: str = "cpu",
    configurations: Iterable[str] = tuple(CONFIGURATIONS),
    most_rounds: int = 20,
    on_round: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Times all strategies of all configurations for about so long, at least one round after warming up.

    Args:
        seconds: when to begin no further round.
        device: where.
        configurations: which.
        most_rounds: at most so many.
        on_round: told what is under way.

    Returns:
        Configuration -> strategy -> ``seconds``, ``peak_bytes``, ``ratio_to_autograd``, ``ratio_to_jax`` and
        ``ratio_to_floor``, with none for a peer that is not there. JAX itself is listed with the strategies.

    Raises:
        FLPError: if an exact strategy or a peer finds another loss or gradient than autograd.
    """
    where = torch.device(device)
    started = time.monotonic()
    rate = ProductRate(where)
    subjects: list[Subject] = []
    counts: dict[str, int] = {}
    for configuration in configurations:
        on_round(f"warming up {configuration}")
        new, counts[configuration] = subjects_for(configuration, where)
        _warm_up(new, where)
        subjects += new
    for number in itertools.count(1):
        for subject in subjects:
            on_round(f"round {number}: {subject.configuration}, {subject.name}")
            rate.measure()
            begun = time.perf_counter()
            subject.step()
            subject.seconds.append(time.perf_counter() - begun)
        if number >= most_rounds or time.monotonic() - started > seconds:
            break
    return {c: _rows([s for s in subjects if s.configuration == c], counts[c], rate) for c in counts}


def _warm_up(subjects: list[Subject], device: torch.device) -> None:
    """Runs everything once, measures memory, and checks that all compute the same."""
    results: dict[str, tuple[float, float]] = {}
    for subject in subjects:
        Borrowed.forget()
        gc.collect()
        _trim()
        with measure_peak(device) as peak:
            results[subject.name] = subject.step()
        subject.peak_bytes = peak.added if subject.name != "jax" else None  # compiling included, it would mean nothing
    for subject in subjects:
        for got, expected in zip(results[subject.name], results["autograd"], strict=True):
            if subject.exact and abs(got - expected) > _TOLERANCE * abs(expected):
                raise FLPError(
                    f"{subject.configuration}, {subject.name}: loss and gradient norm are {results[subject.name]}, "
                    f"autograd's are {results['autograd']}"
                )


def _rows(subjects: list[Subject], count: int, rate: ProductRate) -> dict[str, dict[str, float | None]]:
    medians = {s.name: s.median for s in subjects}
    floor = count / rate.operations_per_second
    return {
        s.name: {
            "seconds": round(s.median, 4),
            "peak_bytes": s.peak_bytes,
            "ratio_to_autograd": round(s.median / medians["autograd"], 3),
            "ratio_to_jax": round(s.median / medians["jax"], 3) if "jax" in medians else None,
            "ratio_to_floor": round(s.median / floor, 3),
        }
        for s in subjects
    }


def _jax_step(learner: NetworkLearner, episode: Episode) -> Callable[[], tuple[float, float]] | None:
    if importlib.util.find_spec("jax") is None:
        return None
    from flp_agents.bench.jax_peer import jax_peer

    peer = jax_peer(learner)
    if peer is None:
        return None
    run = peer

    def step() -> tuple[float, float]:
        loss, grads = run(episode)
        return loss, float(sum(float((g**2).sum()) for g in grads.values())) ** 0.5

    return step


def _trim() -> None:
    """Gives freed memory back to the system, where the C library can, so that the next peak is seen whole."""
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
