"""What options say: environments, devices, and the command as it was typed."""

from __future__ import annotations

import argparse
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from flp_agents.support import plugins
from flp_agents.support.processes import choose_threads
from flp_base.errors import FLPError, InvalidSize, check_at_least
from flp_base.files import spelt
from flp_datasets import roots
from flp_envs.registration import check_options

DEFAULT_ENV = "FLPSine-Continual-v0"


MOST_THREADS = 1024


def typed_command(arguments: Sequence[str]) -> str:
    """What was typed, but for folders of this machine, which are nobody else's business; as text for any file."""
    kept: list[str] = []
    for argument in arguments:
        if kept and kept[-1] in ("--output", "--data-root"):
            kept.pop()
        elif kept and kept[-1] == "--plugin":
            kept.append(plugins.shareable(argument))
        elif argument.startswith("--plugin="):
            kept.append(f"--plugin={plugins.shareable(argument.partition('=')[2])}")
        elif not argument.startswith(("--output=", "--data-root=")):
            kept.append(argument)
    return spelt(shlex.join(["flp", *kept]))


def prepare_torch(device: str, threads: int | None, *, large: bool = False) -> str:
    """Chooses the thread count (see :func:`~flp_agents.support.processes.choose_threads`) and checks the device.

    Raises:
        FLPError: if the device is not there.
    """
    if threads is not None and check_at_least("threads", threads, 1) > MOST_THREADS:
        raise InvalidSize(f"threads must be at most {MOST_THREADS}, got {threads}")
    choose_threads(threads, large=large)
    try:
        kind = torch.device(device)
        if kind.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise FLPError(f"unknown device {device!r}: expected cpu, cuda or cuda:N") from None
    if kind.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (kind.index or 0) >= count:
            raise FLPError(f"device {device!r} is not there: this machine has {count} CUDA devices; use --device cpu")
    return device


def env_options(options: argparse.Namespace) -> dict[str, Any]:
    """``["name=value", ...]`` as keyword arguments: numbers, true and false where they read so, else text."""
    if options.data_root is not None:
        # Where the data lies is this machine's business: it does not become part of what is trained.
        os.environ[roots.VARIABLE] = str(roots.named_root(options.data_root))
    return named_values("--env-option", options.env_option)


def named_values(flag: str, pairs: Sequence[str]) -> dict[str, Any]:
    """``["name=value", ...]``, as a flag gave them, that are keyword arguments of environments."""
    named: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise FLPError(f"{flag}: expected NAME=VALUE, such as steps_per_function=8, got {pair!r}")
        named[name] = _value(text)
    check_options(flag, named)
    return named


def _value(text: str) -> int | float | bool | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def result_in_words(seconds: float, result: Mapping[str, Any]) -> str:
    """The cost and the result of training, in one line."""
    split = result["split"]
    return f"{seconds:.0f} s; {split} {result['metric']} over {result['episodes']} episodes: {score_in_words(result)}"


def score_in_words(result: Mapping[str, Any] | None) -> str:
    """``0.01230 (0.00040)``: mean and standard error."""
    if not result:
        return ""
    mean, error = (math.nan if result[key] is None else result[key] for key in ("mean", "standard_error"))
    return f"{mean:.5f} ({error:.5f})"
