"""A checkpoint's files of tensors: safetensors, named by their digest, whole or in half precision.

In half precision, large tensors are rounded to 16 bits, see :mod:`flp_agents.support.half_precision`. A rounded tensor
is stored as bytes, ``(2, *shape)`` uint8: the low bytes of all its numbers, then the high ones. Signs and exponents lie
together then, and wheels pack them smaller.
The entry in ``checkpoint.json`` names the tensors, the type that they are expanded to, and the SHA-256 of the file that
they were rounded from, which identifies the network as it was meta-trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from flp_agents.support.half_precision import LEAST_NUMBERS, in_half
from flp_agents.training.checkpoint_content import EXPANDED_TYPES, CheckpointError
from flp_base.errors import in_short
from flp_base.files import write_atomically


def write_tensors(folder: Path, kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Writes a file of tensors.

    Args:
        folder: of the checkpoint.
        kind: "weights" or "optimizer".
        tensors: by name.

    Returns:
        Its entry in ``checkpoint.json``.
    """
    data = _bytes_of(tensors)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:12]}.safetensors"
    write_atomically(folder / name, data)
    return {"name": name, "sha256": digest}


def write_half(folder: Path, tensors: Mapping[str, Tensor], rounded_from: str = "") -> dict[str, Any]:
    """Writes a file of weights in half precision.

    Args:
        folder: of the checkpoint.
        tensors: in full precision, by name.
        rounded_from: SHA-256 of the file of weights that they were once rounded from; none: of these themselves.

    Returns:
        Its entry in ``checkpoint.json``.
    """
    rounded = in_half(tensors)
    types = {str(tensors[name].dtype).removeprefix("torch.") for name in rounded}
    if len(types) != 1:
        what = ", ".join(sorted(types)) if types else f"no tensor of {LEAST_NUMBERS} numbers that 16 bits can hold"
        raise CheckpointError(f"cannot save in half precision: expected large tensors of one type, got {what}")
    entry = write_tensors(folder, "weights", {**tensors, **{name: _split(half) for name, half in rounded.items()}})
    original = rounded_from or hashlib.sha256(_bytes_of(tensors)).hexdigest()
    return {**entry, "half": {"type": types.pop(), "sha256": original, "tensors": sorted(rounded)}}


def read_tensors(folder: Path, content: Mapping[str, Any], kind: str) -> dict[str, Tensor]:
    """Reads and verifies a file of tensors; those in half precision are expanded.

    Raises:
        CheckpointError: if it is missing, truncated, altered, or not what its entry says.
    """
    entry = content["files"][kind]
    path = folder / entry["name"]
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is not a file")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder} lacks its file {path.name}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path} is truncated or was altered: its SHA-256 does not match the description")
    try:
        tensors = dict(safetensors.torch.load(data))
    except Exception as error:  # whatever safetensors and torch raise on a type that they do not know
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is not a safetensors file of this package: {reason}") from None
    half = entry.get("half")
    return tensors if half is None else _expanded(path, tensors, half)


def _expanded(path: Path, tensors: Mapping[str, Tensor], half: Mapping[str, Any]) -> dict[str, Tensor]:
    expanded = dict(tensors)
    for name in half["tensors"]:
        tensor = tensors.get(name)
        if tensor is None or tensor.dtype != torch.uint8 or tensor.shape[:1] != (2,):
            found = "is missing" if tensor is None else f"is {tuple(tensor.shape)} {tensor.dtype}"
            raise CheckpointError(
                f"{path}: {in_short(name)} {found}, expected (2, ...) torch.uint8, as files.weights.half says"
            )
        joined = tensor.movedim(0, -1).contiguous().view(torch.float16).squeeze(-1)
        expanded[name] = joined.to(EXPANDED_TYPES[half["type"]])
    return expanded


def _split(half: Tensor) -> Tensor:
    return half.contiguous().view(torch.uint8).reshape(*half.shape, 2).movedim(-1, 0)


def _bytes_of(tensors: Mapping[str, Tensor]) -> bytes:
    # Copies: meta-parameters that share their memory cannot be written otherwise.
    return safetensors.torch.save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
