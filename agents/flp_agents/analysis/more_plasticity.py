"""Can features that were meta-trained to be reused be learned with as well? Plasticity is enabled in more layers.

Source: section 7.1 of Lindsey & Litwin-Kumar (2020): "we took a network that had been meta-optimized in the feature
reuse regime. Then we enabled feedback and plasticity in upstream layers while freezing the feedforward weight
initialization, and continued meta-optimizing."
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flp_agents.checkpoint import Checkpoint, CheckpointError
from flp_agents.evaluation import evaluate
from flp_agents.flp import FLP
from flp_agents.meta_trainer import OuterStep
from flp_agents.presets import Preset
from flp_agents.training import make_trainer
from flp_agents.training_plan import Plan
from flp_datasets.errors import InvalidSize, check_at_least, check_choice

Array = NDArray[np.float64]


def with_more_plasticity(
    learner: FLP,
    plastic_layers: int,
    *,
    initial_coefficient: float = 0.0,
    initial_strength: float | None = None,
    seed: int = 0,
) -> FLP:
    """The same network, with the same initial weights, more of whose layers are plastic and receive feedback.

    Layers that were plastic keep their feedback, coefficients and strength. As long as the others' plasticity
    coefficients are 0, they do not change within a lifetime, and it answers as the learner did, but for rounding.

    Args:
        learner: FLP(1), say, which is Feature Reuse; it is left as it is.
        plastic_layers: N, at least as many as it has.
        initial_coefficient: of layers that become plastic, in units of the learner's ``coefficient_unit``.
        initial_strength: of their feedback; none: what the learner began with.
        seed: of their feedback weights.

    Raises:
        InvalidSize: if ``plastic_layers`` lies outside the learner's own number and L.
    """
    has = int(learner.settings["plastic_layers"])
    if plastic_layers < has:
        raise InvalidSize(f"plastic_layers must be at least the {has} that the learner has, got {plastic_layers}")
    strength = learner.settings["initial_strength"] if initial_strength is None else initial_strength
    changes = {"initial_coefficient": initial_coefficient, "initial_strength": strength, "seed": seed}
    more = FLP(**{**learner.settings, "plastic_layers": plastic_layers, **changes})
    parameter = next(learner.parameters())
    more.to(parameter.device, parameter.dtype).train(learner.training)
    more.layers.load_state_dict(learner.layers.state_dict())
    more.layers.precision = learner.layers.precision
    # Plastic layers are counted from the output, so the learner's own are the last ones.
    new = plastic_layers - has
    with torch.no_grad():
        for name in ("pathways", "coefficients", "strengths"):
            kept: Any = getattr(more, name)[new:]
            for to, of in zip(kept.parameters(), getattr(learner, name).parameters(), strict=True):
                to.copy_(of)
    return more


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
    """

    learner: FLP
    metric: str
    before: Array
    judged_at: NDArray[np.int64]
    scores: Array
    query_losses: Array


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
        on_step: told of every outer step.

    Returns:
        The learner, and how good it was before, on the way, and in the end.

    Raises:
        CheckpointError: if it holds no FLP, or does not say how it was meta-trained.
        InvalidChoice: for an unknown preset field.
        InvalidSize: for sizes out of range.
        MetaTrainingDiverged: see :class:`flp_agents.meta_trainer.MetaTrainer`.
    """
    if not isinstance(saved.learner, FLP):
        raise CheckpointError(f"expected a checkpoint of FLP or Feature Reuse, got {type(saved.learner).__name__}")
    check_at_least("outer_steps", outer_steps, 0)
    plan = Plan.from_json(saved.about)
    for name in settings or {}:
        check_choice("preset field", name, [field.name for field in fields(Preset)])
    fixed = {"plastic_layers": plastic_layers, "rate_weights": 0.0, "outer_steps": max(1, outer_steps)}
    continued = replace(plan.settings, **{**(settings or {}), **fixed})
    learner = with_more_plasticity(
        saved.learner,
        plastic_layers,
        initial_coefficient=initial_coefficient,
        initial_strength=initial_strength,
        seed=seed,
    )
    test = plan.make_env("meta-test")

    def judge(of: FLP) -> Array:
        return evaluate(of, test, episodes=episodes, seed=seed).scores

    trainer = make_trainer(learner, plan.make_env("meta-train"), continued, seed)
    before = judge(saved.learner)
    every = check_at_least("judge_every", judge_every, 0) or max(1, outer_steps)
    judged_at, scores, losses = [0], [judge(learner)], []
    try:
        with _frozen(learner.parameter_groups()["weights"]):
            while trainer.step_count < outer_steps:
                step = trainer.step()
                losses.append(step.query_loss)
                on_step(step)
                if step.step % every == 0 or step.step == outer_steps:
                    judged_at.append(step.step)
                    scores.append(judge(learner))
    finally:
        trainer.pause()
    return Continued(
        learner=learner.eval(),
        metric=learner.objective.metric,
        before=before,
        judged_at=np.asarray(judged_at),
        scores=np.stack(scores),
        query_losses=np.asarray(losses, dtype=np.float64),
    )


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
