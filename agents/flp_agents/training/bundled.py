"""The meta-trained checkpoints that come with the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flp_agents.learners.learner import Learner
from flp_agents.training import checkpoint
from flp_agents.training.presets import get_preset
from flp_base.errors import InvalidChoice, check_choice

FOLDER = Path(__file__).parent.parent / "checkpoints"
# Settings by which a checkpoint is another learner than its preset's.
TELLING = ("plastic_layers", "order", "redraw_output")
# Learners as the paper's tables write them, in their order.
TITLES = {"flp": "FLP", "feature-reuse": "Feature Reuse", "gradient-based": "Gradient-based", "oml": "Original OML"}


def bundled_checkpoints() -> dict[str, Path]:
    """Name to folder of every checkpoint that comes with the package."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob(f"*/{checkpoint.DESCRIPTION}"))}


def title(about: Mapping[str, Any]) -> str:
    """``FLP (2)``: a meta-trained learner and its number of plastic layers, by what its checkpoint says of itself.

    The gradient-based learner's forms are named as in :mod:`flp_agents.experiments.reproduction.tables`.
    """
    name, settings = str(about.get("learner", "")), about.get("settings", {})
    layers = settings.get("plastic_layers")
    form = ""
    if name == "gradient-based" and settings.get("order") == "first":
        form = ", as released" if settings.get("redraw_output") else ", first order"
    return TITLES.get(name, name) + (f" ({layers})" if layers else "") + form


def describe_bundled() -> list[dict[str, Any]]:
    """Name, env, learner, preset, cost and result of each, as they were saved."""
    rows = []
    for name, folder in bundled_checkpoints().items():
        about = checkpoint.read_description(folder)["about"]
        keys = ("env", "learner", "preset", "command", "outer_steps_done", "cost_seconds", "threads", "result")
        rows.append({"name": name, **{key: about.get(key) for key in keys}})
    return rows


def bundled_for(env_id: str, learner: str) -> list[str]:
    """Names of the checkpoints of a learner that were meta-trained on an environment, as its preset has it.

    Others, with more plastic layers or a meta-gradient of first order, are there to be named, and stand for no learner.
    """
    names = []
    for name, folder in bundled_checkpoints().items():
        description = checkpoint.read_description(folder)
        about, network = description["about"], description["learner"]["network"]
        if (about["env"], about["learner"]) == (env_id, learner):
            usual = get_preset(about["preset"], learner, kind="images" if network.get("convolutions") else "numbers")
            if all(about["settings"][key] == usual.get(key) for key in TELLING):
                names.append(name)
    return names


def bundled_envs(learner: str) -> list[str]:
    """Ids of the environments that some checkpoint stands for a learner in."""
    envs = dict.fromkeys(str(row["env"]) for row in describe_bundled())
    return [env for env in envs if bundled_for(env, learner)]


def load_bundled(name: str) -> Learner[Any]:
    """A meta-trained learner that comes with the package.

    Raises:
        InvalidChoice: for an unknown name, naming the nearest.
    """
    known = bundled_checkpoints()
    return checkpoint.load(known[check_choice("bundled checkpoint", name, known)]).learner


def find_checkpoint(name: str) -> Path:
    """The folder of a bundled checkpoint's name, or of a path.

    Raises:
        InvalidChoice: if it is neither, naming the nearest bundled ones.
    """
    known = bundled_checkpoints()
    if name in known:
        return known[name]
    path = Path(name)
    if path.name == checkpoint.DESCRIPTION:
        path = path.parent
    if not os.path.exists(path):  # a name that no file can have is none
        raise InvalidChoice("checkpoint (neither a folder nor a bundled one)", name, known)
    return path
