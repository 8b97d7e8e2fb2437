"""Every setting of a run as an option, and what was given of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from flp_base.errors import FLPError


def add_setting_options(parser: argparse.ArgumentParser) -> None:
    """Every option of every section of settings, so that any of them can be overridden."""
    from flp_agents.support.settings import option_fields, option_names
    from flp_agents.training.presets import PRESETS
    from flp_agents.training.presets.preset import KINDS
    from flp_agents.training.settings import Settings

    known = {
        preset: {kind: Settings.of(PRESETS[preset].values_for(kind)) for kind in KINDS}
        for preset in PRESETS
        if PRESETS.is_built_in(preset)
    }
    groups: dict[str, Any] = {}
    fields, taken = option_fields(), set[str]()
    for name, (section, own) in option_names().items():
        if section not in groups:
            text = "override what the preset says (numbers / images)"
            groups[section] = parser.add_argument_group(f"settings of {section}", text)
        of = fields[name]
        values = {
            preset: {kind: getattr(of_kind[section], own) for kind, of_kind in kinds.items()}
            for preset, kinds in known.items()
        }
        choices = of.metadata["choices"]
        text = of.metadata["help"] + (f": {', '.join(choices)}" if choices is not None else "")
        add: dict[str, Any] = {"help": f"{text} ({_in_words(values)})", "dest": name, "default": None}
        if isinstance(of.default, bool):
            add["action"] = argparse.BooleanOptionalAction
        elif isinstance(of.default, tuple):
            add |= {"type": _widths, "metavar": "N,N,..."}
        else:
            add |= {"type": type(of.default), "metavar": own.upper()}
        short = [] if name == own or own in taken else [flag_of(own)]
        taken.add(own)
        groups[section].add_argument(flag_of(name), *short, **add)


def flag_of(name: str) -> str:
    """``--rate-weights`` of ``rate_weights``, and ``--bcm.threshold`` of ``bcm.threshold``."""
    return "--" + name.replace("_", "-")


def _in_words(values: dict[str, dict[str, Any]]) -> str:
    """What an option is in every preset; one value where all kinds of environments, or all presets, have the same."""
    texts = {}
    for preset, kinds in values.items():
        shown = [_short(value) for value in kinds.values()]
        texts[preset] = shown[0] if len(set(shown)) == 1 else " / ".join(shown)
    if len(set(texts.values())) == 1:
        return f"default: {next(iter(texts.values()))}"
    return ", ".join(f"{preset}: {text}" for preset, text in texts.items())


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers with commas between them, got {text!r}") from None


def settings_given(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of the settings, by their names."""
    from flp_agents.support.settings import option_names

    values = {name: getattr(options, name, None) for name in option_names()}
    return {name: value for name, value in values.items() if value is not None}


def rates_given(pairs: Sequence[str]) -> dict[str, float]:
    """``["gains=1e-3", ...]`` as ``--rate`` gave them."""
    from flp_agents.training.outer_loop_settings import OuterLoopSettings

    rates: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name in OuterLoopSettings().rates:
            raise FLPError(f"--rate {name}: use --rate-{name.replace('_', '-')}")
        try:
            rates[name] = float(text)
        except ValueError:
            raise FLPError(f"--rate: expected NAME=RATE, such as gains=1e-3, got {pair!r}") from None
    return rates
