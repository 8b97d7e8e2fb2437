"""Can features that were meta-trained to be reused be learned with as well? Meta-training goes on with more plasticity.

Source: section 7.1 of Lindsey & Litwin-Kumar (2020): "This procedure failed to improve the performance of the network
beyond the performance of a feature reuse network."
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from torch import nn

from flp_agents import checkpoint
from flp_agents.analysis.more_plasticity import with_more_plasticity
from flp_agents.checkpoint import Checkpoint, CheckpointError
from flp_agents.evaluation import evaluate
from flp_agents.flp import FLP
from flp_agents.meta_trainer import OuterStep
from flp_agents.presets import Preset
from flp_agents.run_metrics import FILE as METRICS
from flp_agents.training import TrainingRun
from flp_agents.training_plan import Plan
from flp_datasets.errors import check_at_least, check_choice
from flp_datasets.files import read_versioned_json, write_atomically

Array = NDArray[np.float64]
JUDGED = "judged.json"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Continued:
    """What came of meta-training with more plasticity; scores are in the learner's metric, on the same episodes.

    Attributes:
        learner: as it ended.
        metric: "mse" or "error_percent".
        before: ``(episodes,)`` meta-test scores of the learner that it began with.
        judged_at: ``(P,)`` numbers of outer steps, from 0 to the last.
        scores: ``(P, episodes)`` meta-test scores then.
        query_losses: ``(outer steps,)`` mean loss of every meta-batch; NaN where it was not finite.
        finished: whether all outer steps are done; else it was paused.
    """

    learner: FLP
    metric: str
    before: Array
    judged_at: NDArray[np.int64]
    scores: Array
    query_losses: Array
    finished: bool = True


def continue_with_more_plasticity(
    saved: Checkpoint,
    plastic_layers: int,
    *,
    outer_steps: int,
    judge_every: int = 0,
    episodes: int = 100,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    initial_coefficient: float = 0.0,
    initial_strength: float | None = None,
    folder: Path | None = None,
    stop_after_seconds: float | None = None,
    save_every_seconds: float = 60.0,
    on_step: Callable[[OuterStep], None] = lambda _: None,
) -> Continued:
    """Section 7.1's second experiment: goes on meta-training everything but the initial weights.

    Environment, rates and schedule are those that the checkpoint was meta-trained with, the rate of weights apart,
    which is 0. With ``plastic_layers=1`` it is the experiment's control: as much more meta-training of the output
    layer's feedback and plasticity alone.

    Args:
        saved: a Feature-Reuse checkpoint, or one of an FLP with few plastic layers.
        plastic_layers: N from now on.
        outer_steps: how many, full lifetimes all of them.
        judge_every: outer steps between evaluations; 0: only before the first one and after the last one.
        episodes: of the meta-test split in each evaluation, always the same.
        seed: of new feedback weights, and of the streams of lifetimes.
        settings: preset fields of the outer loop to override, such as ``meta_batch`` or ``rate_coefficients``.
        initial_coefficient: see :func:`with_more_plasticity`.
        initial_strength: see :func:`with_more_plasticity`.
        folder: where the run is kept: called again with the same arguments, it goes on where it was. None: nothing is
            kept.
        stop_after_seconds: pause after so long.
        save_every_seconds: how often to write the checkpoint.
        on_step: told of every outer step.

    Returns:
        The learner, and how good it was before, on the way, and in the end.

    Raises:
        CheckpointError: if ``saved`` holds no FLP, or does not say how it was meta-trained, or if ``folder`` holds
            another run.
        InvalidChoice: for an unknown preset field.
        InvalidSize: for sizes out of range.
        MetaTrainingDiverged: see :class:`flp_agents.meta_trainer.MetaTrainer`.
        KeyboardInterrupt: after Ctrl-C, when the checkpoint is written.
    """
    if not isinstance(saved.learner, FLP):
        raise CheckpointError(f"expected a checkpoint of FLP or Feature Reuse, got {type(saved.learner).__name__}")
    check_at_least("outer_steps", outer_steps, 0)
    every = check_at_least("judge_every", judge_every, 0) or max(1, outer_steps)
    begun = Plan.from_json(saved.about)
    for name in settings or {}:
        check_choice("preset field", name, [field.name for field in fields(Preset)])
    fixed = {
        "plastic_layers": plastic_layers,
        "rate_weights": 0.0,
        "outer_steps": max(1, outer_steps),
        "short_outer_steps": 0,
    }
    # More layers than one are plastic in no Feature Reuse.
    plan = replace(
        begun, learner="flp", settings=replace(begun.settings, **{**(settings or {}), **fixed}), seed=seed, command=""
    )
    start = with_more_plasticity(
        saved.learner,
        plastic_layers,
        initial_coefficient=initial_coefficient,
        initial_strength=initial_strength,
        seed=seed,
    )
    about = {
        **plan.to_json(),
        "start": checkpoint.parameters_digest(start),
        "outer_steps": outer_steps,
        "judge_every": every,
        "episodes": episodes,
    }
    with _place(folder) as place:
        if (place / checkpoint.DESCRIPTION).exists():
            run, judged = TrainingRun.resume(place), _Judged.read(place, about)
            judged.forget_after(run.trainer.step_count)
        else:
            run = TrainingRun(plan, place)
            run.learner.load_state_dict(start.state_dict())
            judged = _Judged(place, about, plan.make_env("meta-test"))
            judged.add(-1, saved.learner)
            judged.add(0, run.learner)
        learner = run.learner
        assert isinstance(learner, FLP)

        def judge(step: OuterStep) -> None:
            on_step(step)
            if step.step % every == 0 or step.step == outer_steps:
                judged.add(step.step, learner)

        if run.trainer.step_count < outer_steps:
            with _frozen(learner.parameter_groups()["weights"]):
                if run.run(save_every_seconds=save_every_seconds, stop_after_seconds=stop_after_seconds, on_step=judge):
                    raise KeyboardInterrupt
        return Continued(
            learner=learner.eval(),
            metric=learner.objective.metric,
            before=np.asarray(judged.scores[-1]),
            judged_at=np.asarray([step for step in judged.scores if step >= 0]),
            scores=np.stack([np.asarray(scores) for step, scores in judged.scores.items() if step >= 0]),
            query_losses=_query_losses(place),
            finished=run.trainer.step_count >= outer_steps,
        )


class _Judged:
    """Scores after some outer steps, kept beside the run's checkpoint; -1 stands for the learner that it began with."""

    def __init__(self, folder: Path, about: dict[str, Any], env: gym.Env[Any, Any]) -> None:
        self.folder, self.about, self.env = folder, about, env
        self.scores: dict[int, list[float]] = {}

    @classmethod
    def read(cls, folder: Path, about: dict[str, Any]) -> _Judged:
        content = read_versioned_json(
            folder / JUDGED,
            _FORMAT_VERSION,
            error=CheckpointError,
            missing=f"{folder} holds a run of another kind: choose another folder",
            damaged="remove its folder",
        )
        if content["about"] != json.loads(json.dumps(about)):
            raise CheckpointError(f"{folder} holds a run with other settings, or from another start: choose another")
        judged = cls(folder, about, Plan.from_json(about).make_env("meta-test"))
        judged.scores = {int(step): scores for step, scores in content["scores"].items()}
        return judged

    def add(self, step: int, learner: Any) -> None:
        found = evaluate(learner, self.env, episodes=self.about["episodes"], seed=self.about["seed"])
        self.scores[step] = found.scores.tolist()
        content = {"format_version": _FORMAT_VERSION, "about": self.about, "scores": self.scores}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / JUDGED, (json.dumps(content) + "\n").encode())

    def forget_after(self, step: int) -> None:
        """What was judged later than the checkpoint will be judged again."""
        self.scores = {of: scores for of, scores in self.scores.items() if of <= step}


def _query_losses(folder: Path) -> Array:
    path = folder / METRICS
    if not path.exists():
        return np.empty(0)
    with path.open(newline="") as file:
        return np.asarray([float(row["query_loss"]) for row in csv.DictReader(file)], dtype=np.float64)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """A folder for a run that is kept, or for one that is not."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@contextmanager
def _frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Spares the way back through the trunk. Their rate of 0 alone would hold them as well."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
