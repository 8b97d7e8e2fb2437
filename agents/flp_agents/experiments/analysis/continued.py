"""Can features that were meta-trained to be reused be learned with as well? Meta-training goes on with more plasticity.

Source: section 7.1 of Lindsey & Litwin-Kumar (2020): "This procedure failed to improve the performance of the network
beyond the performance of a feature reuse network."
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from flp_agents.experiments.analysis.evaluated import ScoresOnTheWay
from flp_agents.experiments.analysis.more_plasticity import with_more_plasticity
from flp_agents.learners.flp import FLP
from flp_agents.training import checkpoint
from flp_agents.training.checkpoint import Checkpoint, CheckpointError
from flp_agents.training.outer_step import OuterStep
from flp_agents.training.plan import Plan
from flp_agents.training.run import TrainingRun
from flp_agents.training.run_metrics import FILE as METRICS
from flp_base.errors import check_at_least, check_choice

Array = NDArray[np.float64]
# Where scores are kept by outer steps: those of the learner that was begun with.
BEFORE = -1
# What may be changed. The other preset fields make the network, which is given, or are what the experiment is.
OUTER_LOOP = (
    "meta_batch",
    "gradient_clip",
    "schedule",
    "warm_up",
    "restart_adam_every",
    "outer_objective",
    "estimator",
    "window",
    "meta_gradient",
    "gradient_steps",
    "precision",
    "device_data",
    "cuda_graph",
    "rate_feedback",
    "rate_coefficients",
    "rate_strengths",
)


@dataclass(frozen=True)
class Continued:
    """What came of meta-training with more plasticity; scores are in the learner's metric, on the same episodes.

    Attributes:
        learner: as it ended, or was when paused; computes in float32.
        metric: "mse" or "error_percent".
        before: ``(episodes,)`` meta-test scores of the learner that it began with.
        evaluated_at: ``(P,)`` numbers of outer steps, from 0 to the last.
        scores: ``(P, episodes)`` meta-test scores then.
        query_losses: ``(outer steps done,)`` mean loss of every meta-batch; NaN where it was not finite, or could not
            be written.
        finished: whether all outer steps are done; else it was paused.
    """

    learner: FLP
    metric: str
    before: Array
    evaluated_at: NDArray[np.int64]
    scores: Array
    query_losses: Array
    finished: bool = True


def continue_with_more_plasticity(
    saved: Checkpoint,
    plastic_layers: int,
    *,
    outer_steps: int,
    evaluate_every: int = 0,
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
        evaluate_every: outer steps between evaluations; 0: only before the first one and after the last one.
        episodes: of the meta-test split in each evaluation, always the same.
        seed: of new feedback weights, and of the streams of lifetimes.
        settings: preset fields of the outer loop to override, such as ``meta_batch`` or ``rate_coefficients``.
        initial_coefficient: see :func:`with_more_plasticity`.
        initial_strength: see :func:`with_more_plasticity`.
        folder: where the run is kept: called again with the same arguments, it goes on where it was. None: nothing is
            kept.
        stop_after_seconds: pause after so long.
        save_every_seconds: how often to write the checkpoint.
        on_step: receives every outer step.

    Returns:
        The learner, and how good it was before, on the way, and in the end.

    Raises:
        CheckpointError: if ``saved`` holds no FLP, or does not say how it was meta-trained, or if ``folder`` holds
            another run or cannot be written.
        InvalidChoice: for a preset field that is not in :data:`OUTER_LOOP`.
        InvalidSize: for sizes out of range.
        MetaTrainingDiverged: see :class:`flp_agents.training.meta_trainer.MetaTrainer`.
        KeyboardInterrupt: after Ctrl-C, when the checkpoint is written.
    """
    if not isinstance(saved.learner, FLP):
        raise CheckpointError(f"expected a checkpoint of FLP or Feature Reuse, got {type(saved.learner).__name__}")
    check_at_least("outer_steps", outer_steps, 0)
    every = check_at_least("judge_every", evaluate_every, 0) or max(1, outer_steps)
    begun = Plan.from_json(saved.about)
    for name in settings or {}:
        check_choice("preset field of the outer loop", name, OUTER_LOOP)
    fixed = {
        "plastic_layers": plastic_layers,
        "rate_weights": 0.0,
        "outer_steps": max(1, outer_steps),
        "short_outer_steps": 0,
    }
    # More layers than one are plastic in no Feature Reuse.
    plan = replace(
        begun, learner="flp", settings=begun.settings.replaced({**(settings or {}), **fixed}), seed=seed, command=""
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
    device = str(next(saved.learner.parameters()).device)
    with _place(folder) as place:
        scored = ScoresOnTheWay(place, about, plan.make_env("meta-test"), episodes=episodes, seed=seed)
        if (place / checkpoint.DESCRIPTION).exists():
            run = TrainingRun.resume(place, device=device)
        else:
            run = TrainingRun(plan, place, device=device)
            run.learner.load_state_dict(start.state_dict())
        learner = run.learner
        assert isinstance(learner, FLP)

        def evaluate_at(step: int) -> None:
            if (step % every == 0 or step == outer_steps) and step not in scored.scores:
                scored.add(step, learner)

        def evaluate_after(step: OuterStep) -> None:
            on_step(step)
            evaluate_at(step.step)

        scored.forget_after(run.trainer.step_count)
        if BEFORE not in scored.scores:
            scored.add(BEFORE, saved.learner)
        # Of a new run; or of one that was stopped between its last checkpoint and the scores that belong to it.
        evaluate_at(run.trainer.step_count)
        if run.trainer.step_count < outer_steps:
            with _frozen(learner.parameter_groups()["weights"]):
                if run.run(
                    save_every_seconds=save_every_seconds, stop_after_seconds=stop_after_seconds, on_step=evaluate_after
                ):
                    raise KeyboardInterrupt
        learner.set_precision("float32")
        return Continued(
            learner=learner.eval(),
            metric=learner.objective.metric,
            before=np.asarray(scored.scores[BEFORE]),
            evaluated_at=np.asarray([step for step in scored.scores if step != BEFORE]),
            scores=np.stack([np.asarray(scores) for step, scores in scored.scores.items() if step != BEFORE]),
            query_losses=_query_losses(place, run.trainer.step_count),
            finished=run.trainer.step_count >= outer_steps,
        )


def _query_losses(folder: Path, steps: int) -> Array:
    losses = np.full(steps, np.nan)
    if steps:
        with (folder / METRICS).open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                losses[int(row["step"]) - 1] = float(row["query_loss"])
    return losses


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
