"""Meta-trainers on disk: what a checkpoint holds of one, whether ``flp train`` made it or a program."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import flp_envs
from flp_agents import checkpoint, plugins
from flp_agents.checkpoint import Checkpoint, CheckpointError
from flp_agents.factory import learner_name
from flp_agents.learner import Learner
from flp_agents.meta_gradient import STRATEGIES, MetaGradient, describe
from flp_agents.meta_trainer import InvalidState, MetaTrainer
from flp_agents.network import Network
from flp_agents.objective import CrossEntropy
from flp_agents.outer_objectives import QueryLoss
from flp_agents.presets import CHOICES, Preset
from flp_agents.processes import Processes
from flp_agents.run_folder import RunFolder
from flp_agents.run_progress import RunProgress, checked_progress, random_state
from flp_agents.training_plan import NO_PRESET, Plan, split_to_evaluate_on
from flp_envs.task import data_of

# Where nobody says otherwise.
TRAINING_SPLIT, TEST_SPLIT = "meta-train", "meta-test"


def make_trainer(
    learner: Learner[Any],
    env: gym.Env[Any, Any],
    settings: Preset,
    seed: int,
    processes: Processes = Processes(),
    rates: Mapping[str, float] | None = None,
) -> MetaTrainer:
    """The outer loop that a preset describes.

    Args:
        learner: whose meta-parameters are trained, in place.
        env: draws the lifetimes.
        settings: its rates for kinds of meta-parameters that the learner has not are ignored.
        seed: of the stream of lifetimes.
        processes: with whom the meta-batch is shared.
        rates: for kinds of meta-parameters that no preset has a rate for.

    Raises:
        UntrainedParameters: if a kind of meta-parameter has no rate.
        InvalidChoice: if a rate is for no kind of meta-parameter.
    """
    of_preset = {
        name: getattr(settings, f"rate_{name}")
        for name in learner.parameter_groups()
        if hasattr(settings, f"rate_{name}")
    }
    return MetaTrainer(
        learner,
        env,
        rates={**of_preset, **(rates or {})},
        meta_batch=settings.meta_batch,
        gradient_clip=settings.gradient_clip,
        schedule=settings.schedule,
        outer_steps=settings.outer_steps,
        warm_up=settings.warm_up,
        restart_adam_every=settings.restart_adam_every,
        meta_gradient=STRATEGIES[settings.meta_gradient](settings.gradient_steps),
        processes=processes,
        device_data=settings.device_data,
        draw_ahead=isinstance(learner.objective, CrossEntropy),
        cuda_graph=settings.cuda_graph,
        seed=seed,
    )


def set_precision(learner: Learner[Any], precision: str) -> str:
    """Computes as a preset's ``precision`` says; returns the trunk's precision."""
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    of_trunk = "bfloat16" if precision == "bfloat16" else "float32"
    learner.set_precision(of_trunk)
    return of_trunk


def state_of(
    trainer: MetaTrainer, plan: Plan, seconds: float, run: str, of_run: Mapping[str, Any], *, full: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a checkpoint says of a trainer, and what it needs to go on.

    Args:
        trainer: it.
        plan: of its run.
        seconds: that it cost so far.
        run: tells it from other runs of the same plan.
        of_run: what else is to be known of it.
        full: whether it is past the lifetimes of the first outer steps.
    """
    about = {
        **plan.to_json(),
        "outer_steps_done": trainer.step_count,
        "cost_seconds": round(seconds, 3),
        "threads": torch.get_num_threads(),
        "meta_gradient": describe(trainer.learner),
        **of_run,
    }
    progress = {
        **trainer.progress(),
        "seconds": seconds,
        "full_lifetime": full,
        "torch_random_state": bytes(torch.get_rng_state().tolist()).hex(),
        "run": run,
    }
    return about, progress


def save_trainer(trainer: MetaTrainer, folder: Path, *, overwrite: bool = False) -> None:
    """See :meth:`flp_agents.meta_trainer.MetaTrainer.save`."""
    if overwrite or folder not in trainer.places:
        if not overwrite and (folder / checkpoint.DESCRIPTION).exists():
            raise CheckpointError(
                f"{folder} holds another checkpoint already: choose another folder, or overwrite=True"
            )
        trainer.places[folder] = RunFolder(folder)
    of_run = {"data": data_of(trainer.env) or None, "result": None}
    about, progress = state_of(trainer, trainer.plan or plan_of(trainer), trainer.seconds, trainer.run, of_run)
    trainer.places[folder].save(trainer.learner, about, progress=progress, optimizer=trainer.optimizer_tensors())


def load_resumable(folder: str | os.PathLike[str]) -> tuple[Checkpoint, Plan, RunProgress]:
    """A checkpoint that holds training state, with its plan and that state.

    Raises:
        CheckpointError: if there is none, if it was saved for inference only, or if that state is none.
    """
    saved = checkpoint.load(folder)
    if saved.progress is None:
        raise CheckpointError(f"checkpoint {folder} holds no training state: it can be evaluated, not resumed")
    plan = Plan.from_json(saved.about)
    return saved, plan, checked_progress(saved.progress, Path(folder))


def check_same_data(folder: str | os.PathLike[str], saved: Checkpoint, data: Mapping[str, str] | None) -> None:
    """Makes sure that a run goes on with the data that it began with.

    Raises:
        CheckpointError: if it would not.
    """
    if saved.about.get("data", data) != data:
        raise CheckpointError(
            f"checkpoint {folder} was meta-trained on other data, {saved.about['data']}, than {data}: "
            "name the data_root that holds them, or begin a new run"
        )


def restore(
    folder: str | os.PathLike[str],
    trainer: MetaTrainer,
    progress: RunProgress,
    optimizer: Mapping[str, torch.Tensor],
) -> float:
    """Continues where a checkpoint was saved, to the bit, with torch's random state; returns the seconds so far.

    Raises:
        CheckpointError: if it is another trainer's.
    """
    try:
        trainer.restore(progress, optimizer)
    except InvalidState as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from None
    torch.set_rng_state(random_state(progress))
    return float(progress["seconds"])


def resume_trainer(
    folder: str | os.PathLike[str],
    env: gym.Env[Any, Any] | None = None,
    *,
    device: str = "cpu",
    processes: Processes = Processes(),
) -> MetaTrainer:
    """See :meth:`flp_agents.meta_trainer.MetaTrainer.resume`."""
    saved, plan, progress = load_resumable(folder)
    if not progress["full_lifetime"]:
        raise CheckpointError(
            f"the run in {folder} has not come to its full lifetimes yet: resume it with flp train --resume {folder}"
        )
    used = plan.make_train_env() if env is None else env
    check_same_data(folder, saved, data_of(used) or None)
    learner = saved.learner.to(device)
    learner.ask_for(used)
    set_precision(learner, plan.settings.precision)
    trainer = make_trainer(learner, used, plan.settings, plan.seed, processes, plan.rates)
    trainer.seconds = restore(folder, trainer, progress, saved.optimizer)
    trainer.plan, trainer.run = plan if env is None else None, progress.get("run", trainer.run)
    trainer.places[Path(folder).resolve()] = RunFolder(Path(folder).resolve(), read=saved.digest)
    return trainer


def save_checkpoint(
    folder: str | os.PathLike[str],
    learner: Learner[Any],
    about: Mapping[str, Any] | None = None,
    *,
    env: gym.Env[Any, Any] | None = None,
) -> None:
    """Saves a learner for inference: ``flp evaluate`` takes the folder, and :func:`~flp_agents.load_checkpoint`.

    Args:
        folder: where to; created if need be. A checkpoint that is there is replaced, atomically.
        learner: of this package, or of a class that is registered.
        about: what else is to be known of it, plain values by name.
        env: that it was meta-trained on; its id and keyword arguments are recorded. Without it ``flp evaluate`` needs
            ``--env``.

    Raises:
        CheckpointError: if the folder cannot be written to, or the learner cannot be saved.
    """
    env_id, env_options, split = described_env(env) if env is not None else ("", {}, TRAINING_SPLIT)
    known = {
        "train_on": split,
        "env": env_id,
        "env_options": env_options,
        "learner": learner_name(learner),
        "plugins": [plugins.shareable(plugin) for plugin in plugins.loaded_plugins()],
        "data": (data_of(env) or None) if env is not None else None,
        "result": None,
    }
    checkpoint.save(folder, learner, {**known, **(about or {})})


def plan_of(trainer: MetaTrainer) -> Plan:
    """What ``flp train --resume`` needs to know of a trainer that a program made.

    The environment is described where its id and plain keyword arguments describe it: not if it has none, or is
    wrapped by more than Gymnasium's own.

    Raises:
        CheckpointError: if its meta-gradient is none that has a name, or its outer objective not the query's loss.
    """
    learner = trainer.learner
    if trainer.outer_objective != QueryLoss():
        raise CheckpointError(
            f"cannot save a trainer whose outer objective is {trainer.outer_objective}: expected QueryLoss(), with "
            "which it would be resumed; flp_agents.save_checkpoint saves its learner"
        )
    env_id, env_options, split = described_env(trainer.env)
    known = {field.name: field.default for field in fields(Preset)}
    strategy, gradient_steps = _strategy(trainer.meta_gradient)
    values = {
        **{name: getattr(trainer, name) for name in known if hasattr(trainer, name)},
        **{f"rate_{name}": rate for name, rate in trainer.rates.items()},
        **learner.settings,
        "meta_gradient": strategy,
        "gradient_steps": gradient_steps,
        "cuda_graph": trainer.cuda_graph,
        "precision": getattr(getattr(learner, "layers", None), "precision", known["precision"]),
    }
    network = learner.settings.get("network")
    if isinstance(network, Network):
        values["hidden_widths"] = network.widths[1:-1]
    fitting = {name: values[name] for name in known if name in values and _fits(name, values[name], known[name])}
    return Plan(
        env_id,
        env_options,
        learner_name(learner),
        NO_PRESET,
        Preset(**fitting),
        trainer.seed,
        "MetaTrainer.save",
        split,
        split_to_evaluate_on(env_id, env_options) if env_id else TEST_SPLIT,
        tuple(plugins.shareable(plugin) for plugin in plugins.loaded_plugins()),
        {name: rate for name, rate in trainer.rates.items() if f"rate_{name}" not in known},
    )


def _fits(name: str, value: Any, default: Any) -> bool:
    """Whether a value can be that of a preset's field; a user's learner may have another argument of that name."""
    number = isinstance(value, int | float) and isinstance(default, float) and not isinstance(value, bool)
    return (number or isinstance(value, type(default))) and (name not in CHOICES or value in CHOICES[name])


def _strategy(used: MetaGradient) -> tuple[str, int]:
    """The name of a strategy, and its number of inner steps."""
    steps = getattr(used, "every", None) or getattr(used, "steps", None) or 0
    for name, made in STRATEGIES.items():
        if made(steps) == used:
            return name, steps
    raise CheckpointError(
        f"cannot save a trainer whose meta-gradient is {used}: expected one of {', '.join(STRATEGIES)}; "
        "flp_agents.save_checkpoint saves its learner"
    )


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
