"""What ``checkpoint.json`` holds, and the check that it does. What the learner in it is, its own classes say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from flp_agents.support.schema import WrongValue, fit
from flp_base.errors import FLPError, in_short

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"(weights|optimizer)-[0-9a-f]{1,64}\.safetensors")


# What weights in half precision may be expanded to.
EXPANDED_TYPES = {"float32": torch.float32, "float64": torch.float64}


class CheckpointError(FLPError, ValueError):
    """A checkpoint that cannot be read or written; of one with wrong content, the text names the field."""


class SavedResult(TypedDict, total=False):
    """A learner's score at the end of its meta-training: :meth:`flp_agents.training.run.TrainingRun.evaluate`."""

    split: str
    episodes: int
    seed: int
    metric: str
    mean: float | None
    standard_error: float | None


class SavedRounding(TypedDict):
    """What rounding to half precision changes on some episodes; the errors are of the mean and of the paired change."""

    split: str
    episodes: int
    seed: int
    mean: float
    standard_error: float
    change: float
    standard_error_of_change: float | None


class About(TypedDict, total=False):
    """What a checkpoint says of its learner; all of it may be missing, and more may be there.

    It is the plan of its run, see :class:`flp_agents.training.plan.Plan`, how far that came, and its result.
    """

    env: str
    env_options: Mapping[str, Any]
    learner: str
    preset: str
    settings: Mapping[str, Any]
    seed: int
    command: str
    train_on: str
    evaluate_on: str
    outer_steps_done: int
    cost_seconds: float
    threads: int
    meta_gradient: str
    data: Mapping[str, str] | None
    plugins: Sequence[str]
    result: SavedResult | None
    rounding: SavedRounding


class HalfPrecision(TypedDict):
    """How weights in half precision are stored, see :mod:`flp_agents.training.tensor_files`."""

    type: str
    sha256: str
    tensors: Sequence[str]


class _File(TypedDict):
    name: str
    sha256: str


class FileEntry(_File, total=False):
    """A file of tensors; in half precision only where it says so."""

    half: HalfPrecision


class Content(TypedDict):
    """The keys of ``checkpoint.json`` that must be there, besides its version and digest."""

    learner: Mapping[str, Any]
    about: About
    progress: Mapping[str, Any] | None
    files: Mapping[str, FileEntry]


def check_content(content: Mapping[str, Any], path: Path) -> None:
    """Makes sure that all parts are there and of the right type, the learner's arguments and tensors apart.

    Args:
        content: of ``checkpoint.json``.
        path: of that, for errors.

    Raises:
        CheckpointError: naming the field that is not.
    """
    for key in Content.__annotations__:
        if key not in content:
            raise CheckpointError(f"{path} lacks {key!r}: it was not saved by this package")
    if not isinstance(content["learner"], Mapping):
        raise CheckpointError(f"{path}: learner does not describe a learner: it was altered or is damaged")
    try:
        fit("", content, Content)
    except WrongValue as error:
        raise CheckpointError(f"{path}: {error}") from None
    for name in ("split", "env_id"):
        if name in content["about"].get("env_options", {}):
            raise CheckpointError(f"{path}: about.env_options: {name} is no option of the environment's own")
    for kind in ("weights", *([] if content["progress"] is None else ["optimizer"])):
        name = content["files"].get(kind, {}).get("name", "")
        if not name.startswith(kind) or not _FILE_NAME.fullmatch(name):
            raise CheckpointError(f"{path}: files.{kind}.name must be of a file of {kind}, got {in_short(name)}")
        if (half := content["files"][kind].get("half")) is not None:
            _check_half(half, f"{path}: files.{kind}.half", kind == "weights" and content["progress"] is None)


def _check_half(half: Mapping[str, Any], where: str, allowed: bool) -> None:
    if not allowed:
        raise CheckpointError(f"{where}: a run's own tensors are never in half precision: it was altered or is damaged")
    if half["type"] not in EXPANDED_TYPES:
        raise CheckpointError(f"{where}.type must be {' or '.join(EXPANDED_TYPES)}, got {in_short(half['type'])}")
    if not _SHA256.fullmatch(half["sha256"]):
        raise CheckpointError(f"{where}.sha256 must be 64 hexadecimal digits, got {in_short(half['sha256'])}")
