"""Section 7.1's second experiment: do Feature Reuse networks improve when more of their layers become plastic?

Each is meta-trained on with its initial weights frozen, with 1 plastic layer, the control, with 2 and with 3.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flp_agents.evaluation.uncertainty import compare
from flp_agents.experiments.analysis import Continued, continue_with_more_plasticity
from flp_agents.experiments.reproduction.files import read_record, write_record
from flp_agents.experiments.reproduction.networks import find_network, weights_digest
from flp_agents.experiments.reproduction.running import How, OnProgress, Work, work_at
from flp_agents.experiments.reproduction.tables import Network
from flp_agents.support.provenance import stamp
from flp_agents.training import checkpoint
from flp_agents.training.outer_step import MetaTrainingDiverged
from flp_agents.training.run_metrics import last_step
from flp_base.errors import check_at_least
from flp_base.files import finite_or_none

PLASTIC_LAYERS = (1, 2, 3)


@dataclass(frozen=True)
class Protocol:
    """How long, and how, meta-training goes on.

    Attributes:
        outer_steps: of full lifetimes.
        episodes: meta-test lifetimes of each evaluation.
        evaluations: on the way.
        settings: preset fields that differ from those that the network was meta-trained with.
    """

    outer_steps: int
    episodes: int = 200
    evaluations: int = 10
    settings: Mapping[str, Any] = field(default_factory=dict)


# A network of the cpu preset has ended after 350 outer steps of full lifetimes, so 500 more are many. With the preset's
# rate_coefficients, coefficients grow too fast for features as large as Feature Reuse's: docs/analysis.md.
PROTOCOLS = {
    "cpu": Protocol(500, settings={"rate_coefficients": 0.008}),
    "half": Protocol(5000),
    "paper": Protocol(5000),
}


@dataclass(frozen=True)
class ContinuedNetwork:
    """What came of one network with one number of plastic layers; scores are in the environment's metric.

    Attributes:
        network: its name.
        column: where it was meta-trained.
        seed: that it was meta-trained from.
        plastic_layers: from now on.
        outer_steps: done.
        protocol: how it was meta-trained on, the fields of :class:`Protocol`.
        weights: SHA-256 of the weights that it began with.
        before: mean score of the network as it was.
        after: mean score in the end; none after a failure.
        difference: after minus before, on average.
        difference_error: standard error of that, over episodes.
        judged_at: outer steps.
        means: mean scores then.
        stamp: versions, machine, time.
        failure: why there are no numbers; none if there are.
    """

    network: str
    column: str
    seed: int
    plastic_layers: int
    outer_steps: int
    protocol: Mapping[str, Any]
    weights: str
    before: float | None = None
    after: float | None = None
    difference: float | None = None
    difference_error: float | None = None
    judged_at: Sequence[int] = ()
    means: Sequence[float | None] = ()
    stamp: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None


def reproduce_section_7_1(
    networks: Sequence[Network],
    protocol: Protocol,
    how: How,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> list[ContinuedNetwork]:
    """Meta-trains on what is left to do; each run once, resumed where it was stopped.

    Args:
        networks: Feature Reuse, of columns whose data is here.
        protocol: how long.
        how: where, and in how many processes.
        overwrite: makes results anew, of runs that are there.
        on_progress: see :func:`flp_agents.experiments.reproduction.running.work_at`.

    Returns:
        What is there, by network and number of plastic layers.

    Raises:
        FLPError: if a folder holds another run, cannot be written, or a process dies.
    """
    work = Work(
        measure=partial(_go_on, protocol, how, overwrite),
        done=partial(_done, protocol, how, overwrite),
        steps=protocol.outer_steps * len(PLASTIC_LAYERS),
        steps_done=partial(_steps_done, protocol, how),
    )
    check_at_least("episodes", protocol.episodes, 2)
    work_at(networks, work, how, on_progress)
    places = {network.name: find_network(how.folder, network, here_only=how.retrain) for network in networks}
    found = [
        _result_of(protocol, how, network, places[network.name], layers)
        for network in networks
        for layers in PLASTIC_LAYERS
    ]
    return [result for result in found if result is not None]


def _go_on(
    protocol: Protocol, how: How, overwrite: bool, network: Network, place: Path, remaining: float | None
) -> None:
    saved = checkpoint.load(place)
    saved.learner.to(how.device)
    until = None if remaining is None else time.monotonic() + remaining
    for layers in PLASTIC_LAYERS:
        if not overwrite and _result_of(protocol, how, network, place, layers) is not None:
            continue
        shared: dict[str, Any] = {
            "network": network.name,
            "column": network.column.name,
            "seed": network.seed,
            "plastic_layers": layers,
            "protocol": asdict(protocol),
            "weights": weights_digest(place),
        }
        run = _run_folder(how, protocol, place, network, layers)
        try:
            found = continue_with_more_plasticity(
                saved,
                layers,
                outer_steps=protocol.outer_steps,
                evaluate_every=max(1, protocol.outer_steps // protocol.evaluations),
                episodes=protocol.episodes,
                seed=network.seed,
                settings=protocol.settings,
                folder=run,
                stop_after_seconds=None if until is None else max(0.0, until - time.monotonic()),
            )
        except MetaTrainingDiverged as error:
            result = ContinuedNetwork(**shared, outer_steps=last_step(run), stamp=stamp(), failure=str(error))
        else:
            if not found.finished:
                return
            result = ContinuedNetwork(**shared, outer_steps=protocol.outer_steps, stamp=stamp(), **_numbers(found))
        write_record(_result_path(how, network, layers), result)


def _numbers(found: Continued) -> dict[str, Any]:
    before, means = finite_or_none(float(found.before.mean())), [finite_or_none(float(m)) for m in found.scores.mean(1)]
    numbers = {"before": before, "judged_at": found.evaluated_at.tolist(), "means": means}
    if before is None or means[-1] is None:
        return {**numbers, "failure": "its predictions are not finite"}
    change = compare(found.scores[-1], found.before)
    return {
        **numbers,
        "after": means[-1],
        "difference": change.mean_difference,
        "difference_error": change.standard_error,
    }


def _done(protocol: Protocol, how: How, overwrite: bool, network: Network, place: Path | None) -> bool:
    return not overwrite and all(
        _result_of(protocol, how, network, place, layers) is not None for layers in PLASTIC_LAYERS
    )


def _result_of(
    protocol: Protocol, how: How, network: Network, place: Path | None, layers: int
) -> ContinuedNetwork | None:
    """What is there, of this network; what came with the repository counts where its network is not here."""
    result = read_record(_result_path(how, network, layers), ContinuedNetwork)
    if result is None:
        return None
    same = result.protocol == json.loads(json.dumps(asdict(protocol)))
    of_network = result.weights == weights_digest(place) if place is not None else not how.retrain
    return result if same and of_network else None


def _result_path(how: How, network: Network, layers: int) -> Path:
    return how.folder / network.scale / "section7.1" / f"{network.name}-plastic-{layers}.json"


def _run_folder(how: How, protocol: Protocol, place: Path, network: Network, layers: int) -> Path:
    """Of its own for each start and protocol: a run goes on as it was begun."""
    canonical = json.dumps([weights_digest(place), asdict(protocol)], sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    return how.folder / network.scale / "runs" / f"{network.name}-plastic-{layers}-{digest}"


def _steps_done(protocol: Protocol, how: How, network: Network) -> int:
    place = find_network(how.folder, network, here_only=how.retrain)
    if place is None:
        return 0
    return sum(last_step(_run_folder(how, protocol, place, network, layers)) for layers in PLASTIC_LAYERS)
