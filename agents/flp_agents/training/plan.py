"""What a meta-training run is, apart from how far it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

import gymnasium as gym

import flp_envs
from flp_agents.learners.objective import IncompatibleSpaces, in_words
from flp_agents.support.plugins import give_again, is_loaded, recorded_env, shareable, without_module
from flp_agents.support.schema import argument_types, fit
from flp_agents.training.checkpoint import CheckpointError
from flp_agents.training.factory import input_space, kind_of
from flp_agents.training.presets import (
    META_TRAINED_ON,
    OTHERS,
    PRESETS,
    get_preset,
    preset_env_options,
    preset_split_options,
    splits_of,
)
from flp_agents.training.settings import Settings
from flp_base.errors import FLPError, InvalidChoice, check_choice, check_learner_seed

# The preset of what a program meta-trained, whose hyperparameters are its own.
NO_PRESET = "none"


@dataclass(frozen=True)
class Plan:
    """What a run is: enough to begin it, and stored in its checkpoint, enough to resume it.

    Attributes:
        env: the environment's id, with its module before it if it was typed so and is not this package; empty if it has
            none.
        env_options: its keyword arguments, whatever the split.
        learner: its name.
        preset: its name.
        settings: the preset's, with what was overridden.
        seed: of initial meta-parameters and of the stream of lifetimes.
        command: that began it.
        train_on: the split that is meta-trained on.
        evaluate_on: the split that the finished learner is evaluated on.
        plugins: files and modules that were loaded for it, as they were named.
        rates: outer learning rates of kinds of meta-parameters that no preset has a rate for.
        split_options: keyword arguments of the environment on the splits that are meta-trained on, and on the others,
            by :func:`~flp_agents.training.presets.splits_of`; by default what the preset says.
    """

    env: str
    env_options: dict[str, Any]
    learner: str
    preset: str
    settings: Settings
    seed: int
    command: str
    train_on: str = "meta-train"
    evaluate_on: str = "meta-val"
    plugins: tuple[str, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)
    split_options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.split_options:
            splits = {META_TRAINED_ON: "meta-train", OTHERS: "meta-test"}
            env_id = without_module(self.env)
            options = {of: preset_split_options(self.preset, env_id, split) for of, split in splits.items()}
            object.__setattr__(self, "split_options", options)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(replace(self, settings=Settings())), "settings": self.settings.values()}

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
            if not values.get("split_options"):
                check_choice("about.preset", values["preset"], (*PRESETS, NO_PRESET))
            try:
                settings = Settings.of(values["settings"])
            except InvalidChoice as error:
                missing = [plugin for plugin in values.get("plugins", ()) if not is_loaded(plugin)]
                advice = f"; {give_again(missing)}" if missing else ""
                raise CheckpointError(
                    f"the checkpoint does not say how to go on: about.settings: {error}{advice}"
                ) from None
            return cls(**{**values, "settings": settings})
        except CheckpointError:
            raise
        except FLPError as error:
            raise CheckpointError(f"the checkpoint does not say how to go on: {error}") from None

    def make_train_env(self, **changes: Any) -> gym.Env[Any, Any]:
        """The environment that is meta-trained on, with some options changed."""
        return self.make_env(self.train_on, **changes)

    def make_env(self, split: str, **changes: Any) -> gym.Env[Any, Any]:
        """The run's environment on one split, with some options changed.

        Raises:
            PluginError: if a plug-in has to bring it first, which is named.
            CheckpointError: if it is not known, as a program trained on what has no id.
        """
        if not self.env:
            raise CheckpointError(
                "the checkpoint does not say its env: resume it in Python, MetaTrainer.resume(folder, env)"
            )
        env_id = recorded_env(self.env, self.plugins)
        of_split = self.split_options.get(splits_of(split), {})
        return flp_envs.make(env_id, split=split, **{**of_split, **self.env_options, **changes})


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
    plugins: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
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
        plugins: that were loaded for it, as they were named.
        rates: outer learning rates of kinds of meta-parameters that no preset has a rate for.

    Raises:
        InvalidChoice: for an unknown name.
        MissingPack: if the environment's data is not on this machine.
    """
    options = {**preset_env_options(preset, without_module(env_id)), **(env_options or {})}
    env = flp_envs.make(env_id, split=train_on, **options)
    full_id = env.spec.id if env.spec else env_id
    module = "" if full_id in flp_envs.ENV_IDS else env_id.rpartition(":")[0]
    settings = get_preset(preset, learner, overrides, kind=kind_of(env), env_id=full_id)
    plan = Plan(
        f"{module}:{full_id}" if module else full_id,
        options,
        learner,
        preset,
        settings,
        check_learner_seed(seed),
        command,
        train_on,
        split_to_evaluate_on(env_id, options, evaluate_on),
        tuple(shareable(plugin) for plugin in plugins),
        dict(rates or {}),
    )
    _check_splits(plan)
    return plan


def _check_splits(plan: Plan) -> None:
    """Makes sure that the learner that is meta-trained can be evaluated.

    Raises:
        IncompatibleSpaces: if inputs on one split are not those on the other.
    """
    trained, evaluated = (input_space(plan.make_env(split)) for split in (plan.train_on, plan.evaluate_on))
    if trained != evaluated:
        raise IncompatibleSpaces(
            f"the environment's inputs are {in_words(trained)} on {plan.train_on} and {in_words(evaluated)} on "
            f"{plan.evaluate_on}: options that a preset gives to some splits only must leave the inputs as they are"
        )


def split_trained_on(about: Mapping[str, Any]) -> str:
    """The split that a checkpoint's learner was meta-trained on, by what the checkpoint says of it."""
    # Before there was a choice it was meta-train, which for Omniglot was its whole background set.
    before = "meta-trainval" if str(about.get("env")).startswith("FLPOmniglot") else "meta-train"
    return str(about.get("train_on", before))


def options_on(about: Mapping[str, Any], env_id: str, split: str) -> dict[str, Any]:
    """Keyword arguments that an environment has on one split where a checkpoint's learner was meta-trained.

    Args:
        about: what the checkpoint says of it.
        env_id: of the environment; if it is of another family, it has those of the checkpoint's preset.
        split: the split.
    """
    families = {without_module(name).split("-")[0] for name in (env_id, str(about.get("env")))}
    if len(families) == 1 and about.get("split_options"):
        return dict(about["split_options"].get(splits_of(split), {}))
    return preset_split_options(str(about.get("preset")), without_module(env_id), split)


def split_to_evaluate_on(env_id: str, options: Mapping[str, Any], wanted: str | None = None) -> str:
    """The split to evaluate on when training is done.

    Args:
        env_id: of the environment.
        options: its keyword arguments.
        wanted: of the user; by default meta-val where the environment has one, so that nothing is chosen by a
            look at meta-test.

    Raises:
        InvalidChoice: if the environment has no split of the name asked for.
    """
    if wanted is not None:
        flp_envs.make(env_id, split=wanted, **options)
        return wanted
    try:
        flp_envs.make(env_id, split="meta-val", **options)
    except Exception:  # whatever somebody's own environment raises for a split that it has not
        return "meta-test"
    return "meta-val"
