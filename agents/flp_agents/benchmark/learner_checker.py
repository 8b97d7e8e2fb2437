"""Whether a learner plays by the rules of the episode protocol, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.benchmark.protocol_rules import SEED, Examination, Finding
from flp_agents.support.plugins import without_module
from flp_base.errors import FLPError
from flp_envs.families.family import FAMILIES

# Where a learner is tried if nobody says otherwise: the first of these that it fits, numbers before labels.
DEFAULT_ENVS = (
    ("FLPSine-Continual-v0", "FLPSine-IID-v0"),
    ("FLPGlyph-Continual-v0", "FLPGlyph-IID-v0"),
    ("FLPOmniglot-Continual-v0", "FLPOmniglot-IID-v0"),
)


def check_learner(name: str, envs: Sequence[str] | None = None) -> list[Finding]:
    """Tries a learner against every rule, in short lifetimes.

    Args:
        name: as on the command line.
        envs: ids, as ``flp benchmark`` takes them; none: the sine environments, or if it does not fit these, glyphs.

    Returns:
        A finding for each rule and environment.

    Raises:
        FLPError: if the learner is unknown, or fits none of the environments.
    """
    entries.check_name(name)
    reasons: list[str] = []
    for group in [tuple(envs)] if envs else DEFAULT_ENVS:
        findings: list[Finding] = []
        for env_id in group:
            try:
                env = _fitting_env(name, env_id)
            except FLPError as error:
                if envs:
                    raise
                reasons.append(f"{env_id}: {error}")
                continue
            findings += Examination(name, env_id, env).findings()
        if findings:
            return findings
    raise FLPError(f"{name} fits no environment: {'; '.join(reasons)}")


def _fitting_env(name: str, env_id: str) -> gym.Env[Any, Any]:
    """Short lifetimes if the learner fits them, else those that the id has by itself."""
    family = FAMILIES.get(without_module(env_id).split("-")[0])
    short = dict(family.short) if family is not None else {}
    for options in ([short] if short else []) + [{}]:
        env = flp_envs.make(env_id, split="meta-test", **options)
        try:
            entries.build_entry(name, env, SEED)
            return env
        except FLPError as error:
            reason = error
        except (Exception, SystemExit):
            return env  # A fault of the learner's own: the examination will say so.
    raise reason
