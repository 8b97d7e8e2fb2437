"""What a meta-training run is, apart from how far it has come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym

import flp_envs
from flp_agents.checkpoint import CheckpointError
from flp_agents.presets import Preset, preset_split_options


@dataclass(frozen=True)
class Plan:
    """What a run is: enough to begin it, and stored in its checkpoint, enough to go on with it."""

    env: str
    env_options: dict[str, Any]
    learner: str
    preset: str
    settings: Preset
    seed: int
    command: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Plan:
        """The inverse of :meth:`to_json`.

        Raises:
            CheckpointError: if a field is missing or unknown.
        """
        try:
            settings = dict(content["settings"])
            settings["hidden_widths"] = tuple(settings["hidden_widths"])
            names = ("env", "env_options", "learner", "preset", "seed", "command")
            return cls(settings=Preset(**settings), **{name: content[name] for name in names})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint lacks what resuming needs: {error}") from None

    def make_env(self, split: str, **changes: Any) -> gym.Env[Any, Any]:
        """The run's environment on one split, with some options changed."""
        of_split = preset_split_options(self.preset, self.env, split)
        return flp_envs.make(self.env, split=split, **{**of_split, **self.env_options, **changes})
