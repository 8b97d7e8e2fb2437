"""Trained policies on disk: stable-baselines3's own ``model.zip`` beside a description in JSON."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flp_agents.support.half_precision import in_half, rounded_through_half
from flp_agents.support.schema import argument_types, fit
from flp_base.errors import FLPError, check_choice
from flp_base.files import read_versioned_json, remove_leftovers, write_atomically

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
class PolicyTask:
    """What a policy is trained on, and by which algorithm.

    Attributes:
        algorithm: one of :data:`ALGORITHMS`.
        env: id, any that speaks the episode protocol.
        env_options: keyword arguments of that environment, besides the split.
        train_options: others, in their place or besides, that hold while training only. Shorter lifetimes with a
            longer query are rewarded more often.
        env_steps: answers in all, over all environments; at least so many are given, in whole lifetimes.
        seed: of weights, exploration and episodes.
    """

    algorithm: str
    env: str
    env_options: Mapping[str, Any]
    train_options: Mapping[str, Any]
    env_steps: int
    seed: int


@dataclass(frozen=True)
class PolicyDescription(PolicyTask):
    """What is known of a trained policy, besides what it was trained on.

    Attributes:
        split: that its episodes came from.
        settings: of the algorithm.
        command: that trained it.
        cost_seconds: of training.
        threads: of the processor.
        versions: of what it was made with.
        result: its score, if it was evaluated, and on which split.
        sha256: of ``model.zip``.
        plugins: files and modules that were loaded for it, as they were named.
    """

    settings: Mapping[str, Any]
    command: str
    cost_seconds: float
    threads: int
    versions: Mapping[str, str]
    result: Mapping[str, Any] | None = None
    split: str = SPLIT
    sha256: str = ""
    plugins: Sequence[str] = ()


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


def save_policy(folder: Path, model: Any, about: PolicyDescription, *, half: bool = False) -> PolicyDescription:
    """Writes a model, then its description, each atomically: a folder with a description holds a whole policy.

    The optimizer's moments are left out: a model can be trained further, but its optimizer starts anew.

    Args:
        folder: to write to; made if need be.
        model: of stable-baselines3 or sb3-contrib.
        about: what is known of it.
        half: rounds its large tensors to half precision, here and on disk: what is evaluated later is what was saved.

    Returns:
        The description with the model's SHA-256, as it was written.

    Raises:
        PolicyError: if the folder cannot be written to.
    """
    model.policy.optimizer.state.clear()
    data = _archive_of(model, half)
    about = replace(about, sha256=hashlib.sha256(data).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (MODEL, DESCRIPTION):
            remove_leftovers(folder / name)
        (folder / DESCRIPTION).unlink(missing_ok=True)  # until the two belong together again
        write_atomically(folder / MODEL, data)
        _write_description(folder, about)
    except OSError as error:
        raise PolicyError(f"cannot write a policy to {folder}: {error.strerror or error}") from None
    return about


def _archive_of(model: Any, half: bool) -> bytes:
    parameters = model.get_parameters()
    if half:
        model.policy.load_state_dict(rounded_through_half(parameters["policy"]))
        parameters["policy"] = {**parameters["policy"], **in_half(parameters["policy"])}  # loading expands them
    buffer = io.BytesIO()
    model.get_parameters = lambda: parameters  # which saving asks for
    try:
        model.save(buffer, exclude=(*_OF_TRAINING, "get_parameters"))
    finally:
        del model.get_parameters
    return buffer.getvalue()


def describe_anew(folder: Path, known: PolicyDescription, about: PolicyDescription) -> PolicyDescription:
    """Writes what came to be known of a policy since it was saved; its model stays.

    Args:
        folder: of the policy.
        known: what :func:`save_policy` returned.
        about: what is known now.

    Raises:
        PolicyError: if another policy lies there, which is kept, or the folder cannot be written to.
    """
    if read_policy_description(folder).sha256 != known.sha256:
        raise PolicyError(f"{folder} holds another policy, which is kept: another process has trained into it")
    about = replace(about, sha256=known.sha256)
    try:
        _write_description(folder, about)
    except OSError as error:
        raise PolicyError(f"cannot write a policy's result to {folder}: {error.strerror or error}") from None
    return about


def _write_description(folder: Path, about: PolicyDescription) -> None:
    content = {"format_version": FORMAT_VERSION, **asdict(about)}
    write_atomically(folder / DESCRIPTION, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_policy_description(folder: Path) -> PolicyDescription:
    """What is known of the policy in a folder, without loading it.

    Raises:
        PolicyError: if there is none, or its description is damaged or of another version, or a field is missing or of
            the wrong type, which is named.
    """
    path = folder / DESCRIPTION
    content = read_versioned_json(
        path,
        FORMAT_VERSION,
        error=PolicyError,
        missing=f"no policy at {folder}: expected {DESCRIPTION} and {MODEL} in it, as flp train-sb3 writes",
        damaged="train the policy again",
    )
    content = {"plugins": (), **content}  # policies of before there were plug-ins have none
    kinds = argument_types(PolicyDescription)
    try:
        about = PolicyDescription(
            **{f.name: fit(f.name, content[f.name], kinds[f.name]) for f in fields(PolicyDescription)}
        )
        check_choice("algorithm", about.algorithm, ALGORITHMS)
    except KeyError as error:
        raise PolicyError(f"{path} lacks {error}: it was not saved by flp train-sb3") from None
    except FLPError as error:
        raise PolicyError(f"{path}: {error}") from None
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
        if (folder / MODEL).exists() and not (folder / MODEL).is_file():
            raise PolicyError(f"{folder / MODEL} is not a file")
        data = (folder / MODEL).read_bytes()
    except OSError as error:
        raise PolicyError(f"cannot read {folder / MODEL}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != about.sha256:
        raise PolicyError(f"{folder / MODEL} is truncated or was altered: its SHA-256 does not match {DESCRIPTION}")
    try:
        with _earlier_modules():
            model = algorithm_class(about.algorithm).load(io.BytesIO(data), device="cpu")
    except Exception as error:  # whatever stable-baselines3 and pickle raise on a model of something else
        reason = " ".join(str(error).split())
        raise PolicyError(f"{folder / MODEL} holds no policy of {about.algorithm}: {reason}") from None
    return SavedPolicy(model, about, {"policy": folder.name, "policy_command": about.command})


# Modules that policies of version 0.1 name, as stable-baselines3 pickled them, and where their content is now.
_MOVED = {
    "flp_agents.policy_networks": "flp_agents.adapters.policy_networks",
    "flp_agents.policy_training": "flp_agents.adapters.policy_rates",
}
_FINDING_EARLIER = threading.Lock()


@contextmanager
def _earlier_modules() -> Iterator[None]:
    """Lets pickled objects find what they name under its earlier name."""
    with _FINDING_EARLIER:
        for earlier, now in _MOVED.items():
            sys.modules[earlier] = importlib.import_module(now)
        try:
            yield
        finally:
            for earlier in _MOVED:
                sys.modules.pop(earlier, None)


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
