"""Checkpoints: a folder with a JSON description and safetensors files; no pickle anywhere.

``checkpoint.json`` is the commit point. It names the files that belong to it, with their SHA-256, and its own digest.
Saving writes the tensor files under new names, then replaces the JSON atomically, then removes what the old JSON
named: a crash at any moment leaves one whole checkpoint, the old or the new.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.learners.network_learner import NetworkLearner
from flp_agents.support import plugins
from flp_agents.support.bounded_allocations import BoundedAllocations, TooLarge
from flp_agents.training.checkpoint_content import CheckpointError as CheckpointError
from flp_agents.training.checkpoint_content import check_content
from flp_agents.training.described_learner import MissingClass, describe, rebuild
from flp_agents.training.tensor_files import read_tensors, write_half, write_tensors
from flp_base.errors import in_short
from flp_base.files import UnreadableContent, parse_json, read_bytes, read_versioned_json, write_atomically
from flp_base.machine_memory import TooMuchMemory

FORMAT_VERSION = 1
DESCRIPTION = "checkpoint.json"

# What weights may be made of.
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        learner: rebuilt, with its meta-parameters.
        about: what was said of it when it was saved: env, preset, command, seed, cost, result.
        progress: what the trainer needs besides tensors to go on; none if the checkpoint is inference-only.
        optimizer: the trainer's tensors.
        digest: of all of it, as ``checkpoint.json`` has it: another one for each checkpoint.
        rounded_from: SHA-256 of the weights that these were rounded from; empty if they are as they were meta-trained.
    """

    learner: Learner[Any]
    about: dict[str, Any]
    progress: dict[str, Any] | None
    optimizer: dict[str, Tensor]
    digest: str = ""
    rounded_from: str = ""


def save(
    folder: str | os.PathLike[str],
    learner: Learner[Any],
    about: Mapping[str, Any] | None = None,
    *,
    progress: Mapping[str, Any] | None = None,
    optimizer: Mapping[str, Tensor] | None = None,
    half: bool = False,
    rounded_from: str = "",
) -> str:
    """Writes a checkpoint atomically over the one that ``folder`` may hold.

    Args:
        folder: where to; created if need be.
        learner: of this package, or of a class that is registered.
        about: what is to be known of it, plain values.
        progress: what its trainer needs besides tensors to go on; none for inference only.
        optimizer: the trainer's tensors.
        half: in half precision, see :mod:`flp_agents.training.tensor_files`; for inference only.
        rounded_from: with ``half``, SHA-256 of the weights that the learner's were once rounded from; empty if they
            never were.

    Returns:
        The checkpoint's digest.

    Raises:
        CheckpointError: if the folder cannot be written to, or the disk is full; the earlier checkpoint stays intact.
            With ``half``, if there is progress, or no large tensor.
    """
    if half and progress is not None:
        raise CheckpointError("cannot save a run in half precision: it would not resume to the same bits")
    folder = Path(folder)
    description = describe(learner)
    if ":" in description["type"]:
        _check_rebuilt(learner, rebuild(description))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            weights = learner.state_dict()
            write = partial(write_half, rounded_from=rounded_from) if half else partial(write_tensors, kind="weights")
            files = {"weights": write(folder, tensors=weights)}
            if progress is not None:
                files["optimizer"] = write_tensors(folder, "optimizer", dict(optimizer or {}))
            content: dict[str, Any] = {
                "format_version": FORMAT_VERSION,
                "learner": description,
                "about": dict(about or {}),
                "progress": progress,
                "files": files,
            }
            content["digest"] = _digest(content)
            write_atomically(folder / DESCRIPTION, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
            return str(content["digest"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"cannot save what is no plain value in a checkpoint: {error}") from None
        finally:
            _remove_stale(folder)
    except OSError as error:
        raise CheckpointError(
            f"cannot write a checkpoint to {folder}: {error.strerror or error}; an earlier one there is untouched"
        ) from None


def _check_rebuilt(learner: Learner[Any], rebuilt: Learner[Any]) -> None:
    """Makes sure that what is saved of a user's learner can be loaded: its settings may not tell all of it."""
    shapes = [{name: value.shape for name, value in of.state_dict().items()} for of in (learner, rebuilt)]
    differing = [name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name)]
    if differing:
        raise CheckpointError(
            f"cannot save {type(learner).__name__}: built again from its settings, it has another {differing[0]}: all "
            "that its shape depends on must be an argument of its constructor"
        )


def load(folder: str | os.PathLike[str]) -> Checkpoint:
    """Reads and verifies a checkpoint; the learner is in evaluation mode.

    Raises:
        CheckpointError: if it is missing, truncated, tampered with, or of a newer version; or if a plug-in's class is
            missing, which is named then.
    """
    folder = Path(folder)
    content = read_description(folder)
    try:
        return _load(folder, content)
    except CheckpointError:
        # A run may have saved anew between the reading of its description and of its tensors.
        again = read_description(folder)
        if again == content:
            raise
        return _load(folder, again)


def _load(folder: Path, content: dict[str, Any]) -> Checkpoint:
    weights = read_tensors(folder, content, "weights")
    try:
        with BoundedAllocations(sum(tensor.numel() for tensor in weights.values())):
            learner = rebuild(content["learner"])
    except (TooLarge, TooMuchMemory):
        raise CheckpointError(
            f"checkpoint {folder}: learner: the description is of one far larger than its file of weights"
        ) from None
    except MissingClass as error:
        given = content["about"].get("plugins") or [error.module]
        raise MissingClass(f"{error}: {plugins.give_again(given)}", error.module) from None
    except CheckpointError as error:
        absent = [plugin for plugin in content["about"].get("plugins") or () if not plugins.is_loaded(plugin)]
        hint = f": if a plug-in brings it, {plugins.give_again(absent)}" if absent else ""
        raise CheckpointError(f"checkpoint {folder}: {error}{hint}") from None
    if not isinstance(learner, Learner):
        raise CheckpointError(f"checkpoint {folder} does not describe a learner: it was altered or is damaged")
    settings = content["about"].get("settings") if isinstance(content["about"], dict) else None
    if isinstance(learner, NetworkLearner) and isinstance(settings, dict) and settings.get("scale_inputs") is True:
        learner.recall_range()
    _load_weights(learner.eval(), weights, folder)
    progress = content["progress"]
    optimizer = read_tensors(folder, content, "optimizer") if progress is not None else {}
    rounded_from = content["files"]["weights"].get("half", {}).get("sha256", "")
    return Checkpoint(learner, content["about"], progress, optimizer, _digest(content), rounded_from)


def _load_weights(learner: Learner[Any], weights: Mapping[str, Tensor], folder: Path) -> None:
    wrong = f"the weights of checkpoint {folder} do not fit the learner that it describes"
    kinds = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if len(kinds) > 1 or not kinds <= {*_FLOATS}:
        raise CheckpointError(f"{wrong}: expected one type of numbers, got {', '.join(sorted(map(str, kinds)))}")
    for kind in kinds:
        learner.to(kind)
    expected, found = _forms(learner.state_dict()), _forms(weights)
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            form, right = found.get(name, "is missing"), expected.get(name, "no such tensor")
            raise CheckpointError(f"{wrong}: {in_short(name)} {form}, expected {right}")
    learner.load_state_dict(dict(weights))


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """``(3, 4) float32``, by name."""
    return {name: f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for name, t in tensors.items()}


def read_description(folder: Path) -> dict[str, Any]:
    """The verified JSON description of a checkpoint, without its tensors.

    Raises:
        CheckpointError: if it is missing, damaged, or of a newer version.
    """
    path = folder / DESCRIPTION
    content = read_versioned_json(
        path,
        FORMAT_VERSION,
        error=CheckpointError,
        missing=f"no checkpoint at {folder}: expected a folder that holds {DESCRIPTION}",
        damaged="use another checkpoint",
    )
    digest = content.pop("digest", None)
    if digest != _digest(content):
        raise CheckpointError(f"{path} was altered after it was saved: its digest does not match")
    check_content(content, path)
    return content


def trained_weights(description: Mapping[str, Any]) -> str:
    """SHA-256 of the weights as they were meta-trained, however they are stored, by what :func:`read_description` read.

    Results of a network keep it. What is measured anew names the file that it read.
    """
    entry = description["files"]["weights"]
    return str(entry.get("half", entry)["sha256"])


def digest_in(folder: Path) -> str | None:
    """The digest that the description in a folder gives; none without one, empty if it cannot be read."""
    try:
        return str(parse_json(read_bytes(folder / DESCRIPTION))["digest"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnreadableContent, KeyError, TypeError):
        return ""


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _remove_stale(folder: Path) -> None:
    """Removes what earlier saves, whole or broken off, left behind: all that the description does not name."""
    try:
        content = parse_json(read_bytes(folder / DESCRIPTION))
        named = {entry["name"] for entry in content["files"].values()}
    except FileNotFoundError:
        named = set()
    except (OSError, UnreadableContent, KeyError, TypeError, AttributeError):
        return  # A damaged description: nobody can say what belongs to it.
    for pattern in (
        "weights-*.safetensors",
        "optimizer-*.safetensors",
        f".{DESCRIPTION}.*.tmp",
        ".*.safetensors.*.tmp",
    ):
        for path in folder.glob(pattern):
            if path.name not in named:
                path.unlink(missing_ok=True)


def parameters_digest(learner: torch.nn.Module) -> str:
    """SHA-256 of all meta-parameters, to compare two trainings to the bit."""
    data = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in learner.named_parameters()})
    return hashlib.sha256(data).hexdigest()
