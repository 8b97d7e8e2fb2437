"""What a cell's numbers depend on beside its name: source, weights, data and version.

Cells whose identities differ are different cells, and never stand in one table.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import gymnasium as gym

from flp_agents import plugins, registry
from flp_agents.benchmark.results import Cell, CellResult
from flp_agents.benchmark.source import source_digest, value_digest
from flp_agents.provenance import version_of
from flp_datasets.files import UnreadableContent, parse_json, read_bytes, write_atomically
from flp_envs.registration import resolved_options
from flp_envs.task import data_of

# The identities that were run last in a folder of results.
LATEST = "latest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Part:
    """One part of an identity.

    Attributes:
        words: what it is.
        among: fields of a cell: of all cells that share these, those with the latest value belong together.
    """

    words: str
    among: tuple[str, ...] = ()


_OF_ENV = ("env", "split", "env_options")
PARTS = {
    "version": Part("the version of flp-envs"),
    "env": Part("the environment's source or options", _OF_ENV),
    "data": Part("the environment's data", _OF_ENV),
    "learner": Part("the learner's source, parameters or weights", ("learner", "env")),
}


def identity_of_env(env: gym.Env[Any, Any]) -> dict[str, str]:
    """The parts of an identity that all learners in an environment share.

    Args:
        env: made as its cells make it.

    Returns:
        ``version`` of this package (empty if it is not installed), ``env`` (SHA-256 of the environment's options, all
        of them, and of its source where it is a user's) and ``data`` (SHA-256 of the data pack; empty where none is
        read).

    Raises:
        EditedSource: if its source was edited after this process imported it.
    """
    spec = env.spec
    entry_point = getattr(spec, "entry_point", None)
    classes = [type(layer) for layer in _layers(env)]
    task = getattr(env.unwrapped, "task", None)
    classes += [type(part) for part in (task, getattr(task, "classes", None)) if part is not None]
    classes = [cls for cls in classes if not cls.__module__.startswith("gymnasium.")]
    makers = [entry_point] if callable(entry_point) else []
    content = [
        value_digest(resolved_options(env)),
        source_digest(*makers, *classes),
        str(entry_point) if isinstance(entry_point, str) else "",
        [cls.__qualname__ for cls in classes],
    ]
    return {
        "version": version_of("flp-envs"),
        "env": hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        "data": data_of(env).get("sha256", ""),
    }


def identity_of_learner(name: str, env_id: str, described: Sequence[Mapping[str, Any]] | None = None) -> dict[str, str]:
    """The part of an identity that a learner has of its own, the same under every seed.

    Args:
        name: of a learner, or a checkpoint's folder.
        env_id: of the environment.
        described: what :func:`flp_agents.registry.described_checkpoints` said, if it was asked.

    Returns:
        ``learner``: SHA-256 of the source of a user's learner, with what it is made with; of the descriptions and
        weights of all checkpoints that a name stands for; empty for the package's own, which its version identifies.

    Raises:
        FLPError: if a checkpoint cannot be read, or its source was edited after this process imported it.
    """
    try:
        builder = plugins.registered_learner(name)
    except plugins.PluginError:
        return {"learner": ""}  # its cells will say what is wrong
    if builder is not None:
        return {"learner": source_digest(builder)}
    described = registry.described_checkpoints(name, env_id) if described is None else described
    if not described:
        return {"learner": ""}
    content = [
        [about["learner"], about["files"]["weights"]["sha256"], source_digest(*_users_classes(about["learner"]))]
        for about in described
    ]
    return {"learner": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def note_latest(folder: Path, cells: Iterable[Cell]) -> None:
    """Makes the identities of cells the latest ones of a folder; those of other learners and environments stay.

    Raises:
        OSError: if the folder cannot be written to.
    """
    latest = {**(read_latest(folder) or {}), **latest_of(cells)}
    content = {"format_version": FORMAT_VERSION, "latest": latest}
    write_atomically(folder / LATEST, (json.dumps(content, indent=1) + "\n").encode())


def read_latest(folder: Path) -> dict[str, str] | None:
    """What :func:`note_latest` wrote; none where it did not, or where it cannot be read."""
    try:
        content = parse_json(read_bytes(folder / LATEST))
    except (OSError, UnreadableContent):
        return None
    latest = content.get("latest") if isinstance(content, dict) else None
    fine = isinstance(latest, dict) and all(isinstance(value, str) for value in latest.values())
    return dict(latest) if isinstance(latest, dict) and fine else None


def latest_of(cells: Iterable[Cell]) -> dict[str, str]:
    """The identities of cells, of which later ones replace earlier ones."""
    return {key: cell.depends_on.get(part, "") for cell in cells for part, key in _keys(cell).items()}


def select_current(
    folder: Path, results: Iterable[CellResult], latest: Mapping[str, str] | None = None
) -> tuple[list[CellResult], list[str]]:
    """Those results that may stand in one table: of the sources, weights, data and version that were run last.

    Args:
        folder: that they are in, and that says what was run last; where it does not, they do, by when they finished.
        results: all of it.
        latest: further identities that come before those of the folder.

    Returns:
        Results, and a line for each kind of those that are left out.
    """
    results = list(results)
    known = read_latest(folder)
    if known is None:
        by_time = sorted(results, key=lambda result: str(result.stamp.get("finished", "")))
        known = latest_of(result.cell for result in by_time)
    known = {**known, **(latest or {})}
    current, left_out = [], Counter[str]()
    for result in results:
        cell = result.cell
        own = latest_of([cell])
        changed = [part for part, key in _keys(cell).items() if known.get(key, own[key]) != own[key]]
        if changed:
            left_out[_in_words(cell, changed[0])] += 1
        else:
            current.append(result)
    return current, [f"{count} {'cell' if count == 1 else 'cells'} {words}" for words, count in left_out.items()]


def _keys(cell: Cell) -> dict[str, str]:
    return {
        name: json.dumps([name, *(getattr(cell, field) for field in part.among)], sort_keys=True)
        for name, part in PARTS.items()
    }


def _in_words(cell: Cell, part: str) -> str:
    name = " ".join((PurePath(cell.learner).name if cell.checkpoint else cell.learner).split())
    version = cell.depends_on.get("version", "")
    return {
        "version": f"of {'flp-envs ' + version if version else 'an unknown version of flp-envs'}",
        "env": f"in {cell.env}, whose source or options have changed since",
        "data": f"in {cell.env}, whose data have been packed anew since",
        "learner": f"of {name}, whose source, parameters or weights have changed since",
    }[part]


def _users_classes(description: Any) -> list[type[Any]]:
    """The classes of a checkpoint's description that are not this package's, as far as they are known here."""
    if isinstance(description, list):
        return [cls for part in description for cls in _users_classes(part)]
    if not isinstance(description, dict):
        return []
    classes = [cls for part in description.values() for cls in _users_classes(part)]
    name = str(description.get("type", ""))
    with suppress(plugins.PluginError):  # building it will say what is wrong
        built = plugins.registered_class(name) if ":" in name else None
        classes += [] if built is None else [built]
    return classes


def _layers(env: gym.Env[Any, Any]) -> list[gym.Env[Any, Any]]:
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers
