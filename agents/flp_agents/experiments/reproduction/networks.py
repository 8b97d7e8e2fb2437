"""Where the networks of a table are: bundled, meta-trained here, or still to be meta-trained.

A folder of results holds, for each scale, ``runs/NAME`` with all that resuming needs, and, when a run has ended,
``networks/NAME`` with the network alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flp_agents.experiments.reproduction.tables import Network
from flp_agents.training import bundled, checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.run import TrainingRun
from flp_agents.training.run_metrics import last_step
from flp_base.errors import FLPError

# In what a bundled network must be the one that is looked for. Fields that its learner does not read may have been
# others when it was made, and options of the environment may have become the preset's.
_TELLING = {*bundled.TELLING, "env", "learner", "preset", "seed", "train_on", "hidden_widths", "outer_steps"}


class OtherNetwork(FLPError, ValueError):
    """A folder that holds another network than its name says."""


def network_folder(folder: Path, network: Network) -> Path:
    """Where a network is kept once it is meta-trained."""
    return folder / network.scale / "networks" / network.name


def run_folder(folder: Path, network: Network) -> Path:
    """Where it is meta-trained."""
    return folder / network.scale / "runs" / network.name


def find_network(folder: Path, network: Network, *, here_only: bool = False) -> Path | None:
    """Its checkpoint: of ``folder``, else bundled; none if it is still to be meta-trained.

    Args:
        folder: of results.
        network: which.
        here_only: leaves out bundled ones.

    Raises:
        OtherNetwork: if its folder holds another one.
        MissingPack: if it is there, and the data of its environment is not.
    """
    here = network_folder(folder, network)
    if (here / checkpoint.DESCRIPTION).exists():
        _check_same(here, network)
        return here
    of_package = None if here_only else bundled.bundled_checkpoints().get(network.name)
    return of_package if of_package is not None and not _differing(of_package, network) & _TELLING else None


def outer_steps_done(folder: Path, network: Network) -> int:
    """How far its meta-training has come."""
    if (network_folder(folder, network) / checkpoint.DESCRIPTION).exists():
        return network.plan().settings.outer_loop.outer_steps
    return last_step(run_folder(folder, network))


def meta_train(
    folder: Path, network: Network, *, device: str = "cpu", stop_after_seconds: float | None = None
) -> Path | None:
    """Begins its meta-training, or goes on with it.

    Args:
        folder: of results.
        network: which.
        device: that it is meta-trained on.
        stop_after_seconds: pause after so long.

    Returns:
        Its checkpoint; none if it was paused.

    Raises:
        OtherNetwork: if its folder holds another one.
        MetaTrainingDiverged: the last checkpoint is from before.
        KeyboardInterrupt: after Ctrl-C, when the checkpoint is written.
        MissingPack: if the data of its environment is not on this machine.
    """
    place = run_folder(folder, network)
    if (place / checkpoint.DESCRIPTION).exists():
        _check_same(place, network)
        run = TrainingRun.resume(place, device=device)
    else:
        run = TrainingRun(network.plan(), place, device=device)
    if run.run(stop_after_seconds=stop_after_seconds):
        raise KeyboardInterrupt
    if not run.finished:
        return None
    here = network_folder(folder, network)
    saved = checkpoint.load(place)
    checkpoint.save(here, saved.learner, saved.about)
    return here


# Fields that presets did not have when the first networks were meta-trained, and what was so then.
_LATER_FIELDS = {
    "feedback_pathway": "direct",
    "estimator": "backpropagation",
    "window": 0,
    "outer_objective": "query",
    "lifetimes": "cheaper-first",
}


def plan_digest(network: Network) -> str:
    """Names how it is meta-trained: equal for equal plans only.

    Raises:
        MissingPack: if the data of its environment is not on this machine.
    """
    flat = _flat(network.plan())
    # What was measured before plans had these counts: a column's networks are all meta-trained on one split, and no
    # table has plug-ins or rates of its own.
    for name in ("train_on", "plugins", "rates", "split_options"):
        del flat[name]
    for name, before in _LATER_FIELDS.items():
        if flat[name] == before:
            del flat[name]
    canonical = json.dumps(flat, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def weights_digest(place: Path) -> str:
    """SHA-256 of a checkpoint's weights as they were meta-trained, as its description states it."""
    return checkpoint.trained_weights(checkpoint.read_description(place))


def _check_same(place: Path, network: Network) -> None:
    try:
        differing = sorted(_differing(place, network))
    except checkpoint.CheckpointError as error:
        raise OtherNetwork(f"{error}; remove {place}, and it is meta-trained again") from None
    if differing:
        raise OtherNetwork(
            f"{place} holds a network that differs in {', '.join(differing)}: remove it, or choose another --output"
        )


def _differing(place: Path, network: Network) -> set[str]:
    """In what a checkpoint was meta-trained otherwise than the network is to be."""
    ours = _flat(network.plan())
    theirs = _flat(Plan.from_json(checkpoint.read_description(place)["about"]))
    return {name for name, value in ours.items() if theirs[name] != value}


def _flat(plan: Plan) -> dict[str, Any]:
    """All that meta-training depends on."""
    others = ("settings", "command", "evaluate_on")
    named = {key: value for key, value in plan.to_json().items() if key not in others}
    return {**named, **plan.settings.values()}
