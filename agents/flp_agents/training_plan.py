"""What a meta-training run is, apart from how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym

import flp_envs
from flp_agents.checkpoint import CheckpointError
from flp_agents.factory import kind_of
from flp_agents.presets import Preset, get_preset, preset_env_options, preset_split_options
from flp_datasets.errors import check_learner_seed


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


def make_plan(
    env_id: str,
    learner: str,
    *,
    preset: str = "cpu",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    env_options: Mapping[str, Any] | None = None,
    command: str = "",
) -> Plan:
    """A run that has not begun.

    Args:
        env_id: of the environment.
        learner: its name.
        preset: its name.
        seed: of initial meta-parameters and of the stream of lifetimes.
        overrides: preset fields and their values.
        env_options: keyword arguments of the environment, beside those that the preset brings.
        command: that began it.

    Raises:
        InvalidChoice: for an unknown name.
        MissingPack: if the environment's data is not on this machine.
    """
    options = {**preset_env_options(preset, env_id), **(env_options or {})}
    env = flp_envs.make(env_id, **options)
    full_id = env.spec.id if env.spec else env_id
    settings = get_preset(preset, learner, overrides, kind=kind_of(env), env_id=full_id)
    return Plan(full_id, options, learner, preset, settings, check_learner_seed(seed), command)
