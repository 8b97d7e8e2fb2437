"""An environment as a checkpoint has it: id, keyword arguments and split."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym

import flp_envs

# Where nobody says otherwise.
TRAINING_SPLIT, TEST_SPLIT = "meta-train", "meta-test"


def described_env(env: gym.Env[Any, Any]) -> tuple[str, dict[str, Any], str]:
    """Id, keyword arguments and split of an environment; empty where these do not describe it."""
    spec = env.spec
    if spec is None or spec.additional_wrappers or spec.id not in gym.registry:
        return "", {}, TRAINING_SPLIT
    usual = gym.registry[spec.id].kwargs
    options = {name: value for name, value in spec.kwargs.items() if name not in usual or usual[name] != value}
    split = str(options.pop("split", TRAINING_SPLIT))
    for name in ("render_mode", "data_root"):
        options.pop(name, None)
    try:
        json.dumps(options, allow_nan=False)
    except (TypeError, ValueError):
        return "", {}, TRAINING_SPLIT
    module = str(spec.entry_point).partition(":")[0] if isinstance(spec.entry_point, str) else ""
    named = spec.id if spec.id in flp_envs.ENV_IDS or not module else f"{module}:{spec.id}"
    return named, options, split
