"""What a meta-training run is, apart from how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import gymnasium as gym

import flp_envs
from flp_agents.checkpoint import CheckpointError
from flp_agents.factory import kind_of
from flp_agents.presets import PRESETS, Preset, get_preset, preset_env_options, preset_split_options
from flp_agents.schema import argument_types, fit
from flp_datasets.errors import FLPError, check_choice, check_learner_seed


@dataclass(frozen=True)
class Plan:
    """What a run is: enough to begin it, and stored in its checkpoint, enough to resume it.

    Attributes:
        env: the environment's id.
        env_options: its keyword arguments, whatever the split.
        learner: its name.
        preset: its name.
        settings: the preset's values, with what was overridden.
        seed: of initial meta-parameters and of the stream of lifetimes.
        command: that began it.
        train_on: the split that is meta-trained on.
        evaluate_on: the split that the finished learner is evaluated on.
    """

    env: str
    env_options: dict[str, Any]
    learner: str
    preset: str
    settings: Preset
    seed: int
    command: str
    train_on: str = "meta-train"
    evaluate_on: str = "meta-val"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Plan:
        """The inverse of :meth:`to_json`.

        Raises:
            CheckpointError: if a field is missing or unknown, or of the wrong type or out of its range, naming it.
        """
        kinds = {**argument_types(cls), "settings": Mapping[str, Any]}
        values = {}
        try:
            # Runs of earlier versions had no choice of splits.
            content = {"train_on": split_trained_on(content), "evaluate_on": "meta-test", **content}
            for of in fields(cls):
                if of.name in content:
                    values[of.name] = fit(f"about.{of.name}", content[of.name], kinds[of.name])
                elif of.default is MISSING and of.default_factory is MISSING:
                    raise CheckpointError(f"the checkpoint lacks what resuming needs: about.{of.name}")
            check_learner_seed(values["seed"])
            check_choice("about.preset", values["preset"], PRESETS)
            for name in values["settings"]:
                check_choice("about.settings, preset field", name, [of.name for of in fields(Preset)])
            return cls(**{**values, "settings": Preset(**values["settings"])})
        except CheckpointError:
            raise
        except FLPError as error:
            raise CheckpointError(f"the checkpoint does not say how to go on: {error}") from None

    def make_train_env(self, **changes: Any) -> gym.Env[Any, Any]:
        """The environment that is meta-trained on, with some options changed."""
        return self.make_env(self.train_on, **changes)

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
    train_on: str = "meta-train",
    evaluate_on: str | None = None,
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
        train_on: the split to meta-train on.
        evaluate_on: the split to evaluate on when that is done; by default meta-val, or meta-test where the environment
            has no meta-val.

    Raises:
        InvalidChoice: for an unknown name.
        MissingPack: if the environment's data is not on this machine.
    """
    options = {**preset_env_options(preset, env_id), **(env_options or {})}
    env = flp_envs.make(env_id, split=train_on, **options)
    full_id = env.spec.id if env.spec else env_id
    settings = get_preset(preset, learner, overrides, kind=kind_of(env), env_id=full_id)
    evaluate_on = split_to_evaluate_on(env_id, options, evaluate_on)
    return Plan(full_id, options, learner, preset, settings, check_learner_seed(seed), command, train_on, evaluate_on)


def split_trained_on(about: Mapping[str, Any]) -> str:
    """The split that a checkpoint's learner was meta-trained on, by what the checkpoint says of it."""
    # Before there was a choice it was meta-train, which for Omniglot was its whole background set.
    before = "meta-trainval" if str(about.get("env")).startswith("FLPOmniglot") else "meta-train"
    return str(about.get("train_on", before))


def split_to_evaluate_on(env_id: str, options: Mapping[str, Any], asked: str | None = None) -> str:
    """The split to evaluate on when training is done.

    Args:
        env_id: of the environment.
        options: its keyword arguments.
        asked: what was asked for; by default meta-val where the environment has one, so that nothing is chosen by a
            look at meta-test.

    Raises:
        InvalidChoice: if the environment has no split of the name asked for.
    """
    if asked is not None:
        flp_envs.make(env_id, split=asked, **options)
        return asked
    try:
        flp_envs.make(env_id, split="meta-val", **options)
    except Exception:  # whatever somebody's own environment raises for a split that it has not
        return "meta-test"
    return "meta-val"
