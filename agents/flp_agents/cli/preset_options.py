"""Every field of a preset as an option, and what was given of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from flp_agents.training import presets
from flp_base.errors import FLPError


def add_preset_fields(parser: argparse.ArgumentParser) -> None:
    """Every field of a preset as an option, so that any of them can be overridden."""
    from flp_agents.training.presets import PRESETS, Preset

    group = parser.add_argument_group("preset fields", "override what the preset says (numbers / images)")
    for field in fields(Preset):
        flag = "--" + field.name.replace("_", "-")
        text = f"{field.metadata['help']} ({_values(field.name, PRESETS)})"
        if isinstance(field.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif isinstance(field.default, tuple):
            group.add_argument(flag, type=_widths, default=None, metavar="N,N,...", help=text)
        else:
            group.add_argument(flag, type=type(field.default), default=None, help=text)


def _values(name: str, presets: Mapping[str, Mapping[str, Any]]) -> str:
    """What a field is in every preset; one value where all kinds of environments have the same."""
    texts = []
    for preset, kinds in presets.items():
        values = {kind: _short(getattr(settings, name)) for kind, settings in kinds.items()}
        same = len(set(values.values())) == 1
        texts.append(f"{preset}: " + (next(iter(values.values())) if same else " / ".join(values.values())))
    return ", ".join(texts)


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers with commas between them, got {text!r}") from None


def preset_overrides(options: argparse.Namespace) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in fields(presets.Preset)}
    return {name: value for name, value in values.items() if value is not None}


def rates_given(pairs: Sequence[str]) -> dict[str, float]:
    """``["gains=1e-3", ...]`` as ``--rate`` gave them."""
    rates: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if hasattr(presets.Preset, f"rate_{name}"):
            raise FLPError(f"--rate {name}: use --rate-{name.replace('_', '-')}")
        try:
            rates[name] = float(text)
        except ValueError:
            raise FLPError(f"--rate: expected NAME=RATE, such as gains=1e-3, got {pair!r}") from None
    return rates
