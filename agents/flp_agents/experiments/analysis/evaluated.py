"""Scores on the way of a meta-training run, kept beside its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from flp_agents.evaluation.scoring import evaluate
from flp_agents.learners.flp import FLP
from flp_agents.support.schema import fit
from flp_agents.training import checkpoint
from flp_agents.training.checkpoint import CheckpointError
from flp_base.files import read_versioned_json, remove_leftovers, write_atomically

FILE = "judged.json"
FORMAT_VERSION = 1


class ScoresOnTheWay:
    """Meta-test scores by the number of outer steps done, in ``judged.json``.

    Args:
        folder: of the run; created when the first scores are written.
        about: what the run is, fit for JSON.
        env: whose episodes it is evaluated on.
        episodes: of each evaluation.
        seed: of those episodes.

    Raises:
        CheckpointError: if the folder holds another run.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, Any], env: gym.Env[Any, Any], *, episodes: int, seed: int
    ) -> None:
        self._path, self._about = folder / FILE, json.loads(json.dumps(about))
        self._env, self._episodes, self._seed = env, episodes, seed
        self.scores: dict[int, list[float]] = {}
        if not self._path.exists() and not (folder / checkpoint.DESCRIPTION).exists():
            return
        content = read_versioned_json(
            self._path,
            FORMAT_VERSION,
            error=CheckpointError,
            missing=f"{folder} holds a run of another kind: choose another folder",
            damaged="remove its folder",
        )
        if content.get("about") != self._about:
            raise CheckpointError(f"{folder} holds a run with other settings, or from another start: choose another")
        try:
            found = fit("scores", content.get("scores"), dict[str, list[float]])
            self.scores = {int(step): scores for step, scores in found.items()}
        except ValueError as error:  # a WrongValue, or a step that is no number
            raise CheckpointError(f"{self._path} holds no scores ({error}): remove its folder") from None

    def add(self, step: int, learner: FLP) -> None:
        """Evaluates a learner, in float32 whatever it is trained in, and writes its scores.

        Raises:
            CheckpointError: if they cannot be written.
        """
        precision = learner.layers.precision
        learner.set_precision("float32")
        try:
            found = evaluate(learner, self._env, episodes=self._episodes, seed=self._seed)
        finally:
            learner.set_precision(precision)
        self.scores[step] = found.scores.tolist()
        content = {"format_version": FORMAT_VERSION, "about": self._about, "scores": self.scores}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._path)
            write_atomically(self._path, (json.dumps(content) + "\n").encode())
        except OSError as error:
            raise CheckpointError(f"cannot write scores to {self._path.parent}: {error.strerror or error}") from None

    def forget_after(self, step: int) -> None:
        """What was evaluated later than the checkpoint will be evaluated again."""
        self.scores = {of: scores for of, scores in self.scores.items() if of <= step}
