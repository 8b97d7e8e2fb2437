"""What the networks of the tables do within a lifetime, measured once each: for figure 2 and the learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flp_agents.experiments.analysis import analyse
from flp_agents.experiments.analysis.stored import archive_of, read_analysis
from flp_agents.experiments.analysis.tables import Analysed
from flp_agents.experiments.reproduction.files import write_bytes
from flp_agents.experiments.reproduction.networks import find_network, weights_digest
from flp_agents.experiments.reproduction.running import How, OnProgress, Work, work_at
from flp_agents.experiments.reproduction.tables import Network
from flp_agents.training import checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.run import FINAL_SEED


@dataclass(frozen=True)
class AnalysedNetwork:
    """A network, and what was measured of it.

    Attributes:
        network: which.
        measured: on meta-test episodes.
        origin: command and cost of its meta-training, SHA-256 of its weights.
    """

    network: Network
    measured: Analysed
    origin: Mapping[str, Any]


def analyse_networks(
    networks: Sequence[Network],
    how: How,
    *,
    episodes: int,
    overwrite: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> list[AnalysedNetwork]:
    """Measures those that are meta-trained, each once: ``SCALE/analyses/NAME.npz`` keeps it.

    Args:
        networks: of columns whose data is here.
        how: where, and in how many processes.
        episodes: meta-test lifetimes of each.
        overwrite: measures anew what is there.
        on_progress: see :func:`flp_agents.experiments.reproduction.running.work_at`.

    Raises:
        FLPError: if a folder holds another network than its name says, cannot be written, or a process dies.
    """
    work = Work(
        measure=partial(_measure, how, episodes),
        done=partial(_done, how, episodes, overwrite),
    )
    work_at(networks, work, how, on_progress)
    found = []
    for network in networks:
        place = find_network(how.folder, network, here_only=how.retrain)
        analysis = None if place is None else read_analysis(_path(how, network), _about(place, episodes))
        if place is not None and analysis is not None:
            about = checkpoint.read_description(place)["about"]
            origin = {key: about[key] for key in ("command", "cost_seconds", "threads", "outer_steps_done")}
            measured = Analysed(network.name, network.method.learner, network.method.title, analysis)
            found.append(AnalysedNetwork(network, measured, {**origin, "weights": weights_digest(place)}))
    return found


def _path(how: How, network: Network) -> Path:
    return how.folder / network.scale / "analyses" / f"{network.name}.npz"


def _about(place: Path, episodes: int) -> dict[str, str | int]:
    return {"weights": weights_digest(place), "episodes": episodes, "seed": FINAL_SEED}


def _done(how: How, episodes: int, overwrite: bool, network: Network, place: Path | None) -> bool:
    if overwrite or place is None:
        return False
    return read_analysis(_path(how, network), _about(place, episodes)) is not None


def _measure(how: How, episodes: int, network: Network, place: Path, _remaining: float | None) -> None:
    saved, path = checkpoint.load(place), _path(how, network)
    env = Plan.from_json(saved.about).make_env("meta-test")
    analysis = analyse(saved.learner.to(how.device), env, episodes=episodes, seed=FINAL_SEED)
    write_bytes(path, archive_of(analysis, _about(place, episodes)))
