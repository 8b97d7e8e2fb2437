"""Learners on disk: saved for inference, and loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from flp_agents.learners.learner import Learner
from flp_agents.support import plugins
from flp_agents.training import checkpoint
from flp_agents.training.described_env import TRAINING_SPLIT, described_env
from flp_agents.training.factory import learner_name
from flp_envs.task import data_of


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


def load_checkpoint(folder: str | os.PathLike[str]) -> checkpoint.Checkpoint:
    """Reads and verifies a checkpoint of a run, of :func:`save_checkpoint` or of ``MetaTrainer.save``.

    Args:
        folder: that holds it.

    Returns:
        The checkpoint; its learner is in evaluation mode.

    Raises:
        CheckpointError: if it is missing, truncated, was altered, or is of a newer version; or if the class of a
            plug-in is missing, which is named then.
    """
    return checkpoint.load(folder)
