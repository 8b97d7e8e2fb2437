"""Presets: everything that ``flp train`` needs besides an environment's and a learner's name.

This package holds a TOML file for each preset and what reads them; it may import what `training` may. A preset sets
options of the sections of :mod:`flp_agents.support.settings`, and options of environments; what it does not set has the
section's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flp_agents.support.settings import option_fields, option_named
from flp_agents.training.presets.preset import ALL, META_TRAINED_ON, OTHERS, PRESETS, Preset, load_preset
from flp_agents.training.settings import Settings
from flp_base.errors import check_choice
from flp_datasets.sources import parts_of

__all__ = [
    "META_TRAINED_ON",
    "OTHERS",
    "PRESETS",
    "Preset",
    "get_preset",
    "load_preset",
    "preset_env_options",
    "preset_named",
    "preset_split_options",
    "splits_of",
]


def get_preset(
    name: str,
    learner: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    kind: str = "numbers",
    env_id: str = "",
) -> Settings:
    """A preset as it is for one learner, with some options overridden.

    Args:
        name: of the preset.
        learner: its name.
        overrides: options and their values.
        kind: of the environment, "numbers" or "images".
        env_id: its id, where the preset is to be the one that a search found for it.

    Raises:
        InvalidChoice: for an unknown preset or option.
        InvalidSize: for a value that an option cannot have.
    """
    preset, overrides = PRESETS[name], {option_named(key): value for key, value in (overrides or {}).items()}
    values = {**preset.values_for(kind), **overrides}
    known = {"kind": kind, "learner": learner, "env": env_id}
    defaults = {name: of.default for name, of in option_fields().items()}
    for case in preset.cases:
        if all({**defaults, **values, **known}[key] == value for key, value in case.when.items()):
            values = {**values, **case.values, **overrides}
    return Settings.of(values)


def preset_named(name: str) -> str:
    """A preset's name, of that or of a file of the user's, which is loaded: ``mine.toml``.

    Raises:
        InvalidChoice: for an unknown name.
        FLPError: if the file holds no preset.
    """
    return load_preset(name) if name.endswith(".toml") else check_choice("preset", name, PRESETS)


def preset_env_options(name: str, env_id: str) -> dict[str, Any]:
    """Keyword arguments of an environment that belong to a preset, whatever the split."""
    return _options(name, env_id, ALL)


def preset_split_options(name: str, env_id: str, split: str) -> dict[str, Any]:
    """Keyword arguments of an environment that belong to a preset on one split."""
    return _options(name, env_id, splits_of(split)) if name in PRESETS else {}


def splits_of(split: str) -> str:
    """Which of the splits a preset tells apart a split is: those that are meta-trained on, or the others."""
    return META_TRAINED_ON if "meta-train" in parts_of(split) else OTHERS


def _options(name: str, env_id: str, splits: str) -> dict[str, Any]:
    """Of the first entry that matches, the last one of the file first."""
    for entry in reversed(PRESETS[name].environments):
        if entry.splits == splits and env_id.startswith(entry.env):
            return dict(entry.options)
    return {}
