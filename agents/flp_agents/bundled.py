"""The meta-trained checkpoints that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flp_agents import checkpoint
from flp_agents.learner import Learner
from flp_datasets.errors import InvalidChoice, check_choice

FOLDER = Path(__file__).parent / "checkpoints"
# Learners as the paper's tables write them, in their order.
TITLES = {"flp": "FLP", "feature-reuse": "Feature Reuse", "gradient-based": "Gradient-based", "oml": "Original OML"}


def bundled_checkpoints() -> dict[str, Path]:
    """Name to folder of every checkpoint that comes with the package."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob(f"*/{checkpoint.DESCRIPTION}"))}


def title(about: Mapping[str, Any]) -> str:
    """``FLP (2)``: a meta-trained learner and its number of plastic layers, by what its checkpoint says of itself."""
    name = str(about.get("learner", ""))
    layers = about.get("settings", {}).get("plastic_layers")
    return TITLES.get(name, name) + (f" ({layers})" if layers else "")


def describe_bundled() -> list[dict[str, Any]]:
    """Name, env, learner, preset, cost and result of each, as they were saved."""
    rows = []
    for name, folder in bundled_checkpoints().items():
        about = checkpoint.read_description(folder)["about"]
        keys = ("env", "learner", "preset", "command", "outer_steps_done", "cost_seconds", "threads", "result")
        rows.append({"name": name, **{key: about.get(key) for key in keys}})
    return rows


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
    if not path.exists():
        raise InvalidChoice("checkpoint (neither a folder nor a bundled one)", name, known)
    return path
