"""Trained policies on disk: stable-baselines3's own ``model.zip`` beside a description in JSON."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from flp_datasets.errors import FLPError, check_choice
from flp_datasets.files import read_versioned_json, write_atomically

FORMAT_VERSION = 1
DESCRIPTION, MODEL = "policy.json", "model.zip"
# Each learns from rewards alone; the second remembers.
ALGORITHMS = ("ppo", "recurrent-ppo")
SPLIT = "meta-train"
# What training leaves in a model and its use does not need: the last observations, and returns of the last episodes.
_OF_TRAINING = ("_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer")


class PolicyError(FLPError, ValueError):
    """A saved policy that cannot be read or written."""


@dataclass(frozen=True)
class PolicyDescription:
    """What is known of a trained policy.

    Attributes:
        algorithm: one of :data:`ALGORITHMS`.
        env: id that it was trained on.
        env_options: keyword arguments of that environment, besides the split.
        train_options: those that held while training only, such as shorter lifetimes.
        split: that its episodes came from.
        env_steps: how many it was trained for.
        seed: of its weights, its exploration and its episodes.
        settings: of the algorithm.
        command: that trained it.
        cost_seconds: of training.
        threads: of the processor.
        versions: of what it was made with.
        result: its score, if it was evaluated, and on which split.
        sha256: of ``model.zip``.
    """

    algorithm: str
    env: str
    env_options: Mapping[str, Any]
    train_options: Mapping[str, Any]
    env_steps: int
    seed: int
    settings: Mapping[str, Any]
    command: str
    cost_seconds: float
    threads: int
    versions: Mapping[str, str]
    result: Mapping[str, Any] | None = None
    split: str = SPLIT
    sha256: str = ""


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy, ready for ``predict``.

    Attributes:
        model: stable-baselines3's, or sb3-contrib's.
        about: what is known of it.
        origin: further facts of where it comes from, for tables.
    """

    model: Any
    about: PolicyDescription
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of ``model.zip``."""
        return self.about.sha256

    @property
    def trained_on(self) -> dict[str, Any]:
        """Environment and split of its training."""
        return {key: getattr(self.about, key) for key in ("env", "env_options", "split", "seed")}


def save_policy(folder: Path, model: Any, about: PolicyDescription) -> None:
    """Writes a model, then its description, each atomically: a folder with a description holds a whole policy.

    The optimizer's moments are left out: a model can be trained further, but its optimizer starts anew.

    Raises:
        PolicyError: if the folder cannot be written to.
    """
    model.policy.optimizer.state.clear()
    buffer = io.BytesIO()
    model.save(buffer, exclude=_OF_TRAINING)
    data = buffer.getvalue()
    content = {**asdict(about), "sha256": hashlib.sha256(data).hexdigest()}
    content = {"format_version": FORMAT_VERSION, **content}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).unlink(missing_ok=True)  # until the two belong together again
        write_atomically(folder / MODEL, data)
        write_atomically(folder / DESCRIPTION, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise PolicyError(f"cannot write a policy to {folder}: {error.strerror or error}") from None


def read_policy_description(folder: Path) -> PolicyDescription:
    """What is known of the policy in a folder, without loading it.

    Raises:
        PolicyError: if there is none, or its description is damaged or of another version.
    """
    path = folder / DESCRIPTION
    content = read_versioned_json(
        path,
        FORMAT_VERSION,
        error=PolicyError,
        missing=f"no policy at {folder}: expected {DESCRIPTION} and {MODEL} in it, as flp train-sb3 writes",
        damaged="train the policy again",
    )
    try:
        about = PolicyDescription(**{f.name: content[f.name] for f in fields(PolicyDescription)})
    except KeyError as error:
        raise PolicyError(f"{path} lacks {error}: it was not saved by flp train-sb3") from None
    check_choice("algorithm", about.algorithm, ALGORITHMS)
    return about


def load_policy(folder: Path) -> SavedPolicy:
    """Reads a policy that ``flp train-sb3`` saved.

    Load only what you trust: stable-baselines3's format holds pickled objects, which may run code. The checksum tells
    damage, not intent.

    Raises:
        PolicyError: if it is missing, damaged, or was altered.
    """
    about = read_policy_description(folder)
    try:
        data = (folder / MODEL).read_bytes()
    except OSError as error:
        raise PolicyError(f"cannot read {folder / MODEL}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != about.sha256:
        raise PolicyError(f"{folder / MODEL} is truncated or was altered: its SHA-256 does not match {DESCRIPTION}")
    model = algorithm_class(about.algorithm).load(io.BytesIO(data), device="cpu")
    return SavedPolicy(model, about, {"policy": folder.name, "policy_command": about.command})


def algorithm_class(name: str) -> Any:
    """stable-baselines3's PPO, or sb3-contrib's RecurrentPPO.

    Raises:
        InvalidChoice: for an unknown name, naming the nearest.
    """
    # Imported when needed: both take seconds.
    if check_choice("algorithm", name, ALGORITHMS) == "ppo":
        from stable_baselines3 import PPO

        return PPO
    from sb3_contrib import RecurrentPPO

    return RecurrentPPO
