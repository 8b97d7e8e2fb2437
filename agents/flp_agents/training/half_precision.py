"""Networks in half precision: stored so only where the score was measured to stay what it is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

from flp_agents.evaluation.scoring import evaluate
from flp_agents.evaluation.uncertainty import standard_error
from flp_agents.support.half_precision import rounded_through_half
from flp_agents.training import checkpoint
from flp_agents.training.checkpoint_content import CheckpointError, SavedRounding
from flp_agents.training.plan import Plan
from flp_agents.training.run import finite_or_none

# How far rounding may move a mean score, in standard errors of the result.
TOLERANCE = 0.1


def export_half(
    saved: checkpoint.Checkpoint, folder: Path, *, on_episodes: Callable[[int], object] = lambda done: None
) -> SavedRounding:
    """Writes a checkpoint for inference only in half precision, and what that changes, as ``about.rounding``.

    Args:
        saved: a checkpoint that was evaluated.
        folder: to write to.
        on_episodes: told how many are done, now and then; there are twice as many as the result has.

    Returns:
        What rounding changes, on the episodes of its result.

    Raises:
        CheckpointError: if there is no result, or its mean moves by more than :data:`TOLERANCE` of its standard error;
            nothing is written then.
    """
    rounding = measure_rounding(saved, on_episodes)
    checkpoint.save(folder, saved.learner, {**saved.about, "rounding": rounding}, half=True)
    return rounding


def measure_rounding(saved: checkpoint.Checkpoint, on_episodes: Callable[[int], object]) -> SavedRounding:
    """Evaluates a learner as it is and rounded, on the same episodes: :func:`export_half` without the writing."""
    result = saved.about.get("result") or {}
    error = result.get("standard_error")
    if not error:
        raise CheckpointError(
            "half precision needs a result with a standard error to compare with: flp train --resume evaluates a run"
        )
    rounded = copy.deepcopy(saved.learner)
    rounded.load_state_dict(rounded_through_half(saved.learner.state_dict()))
    env = Plan.from_json(saved.about).make_env(result["split"])
    episodes, seed = result["episodes"], result["seed"]
    before = evaluate(saved.learner, env, episodes=episodes, seed=seed, on_episodes=on_episodes)
    after = evaluate(rounded, env, episodes=episodes, seed=seed, on_episodes=lambda done: on_episodes(episodes + done))
    change = after.mean - before.mean
    if not abs(change) <= TOLERANCE * error or not math.isfinite(change):
        raise CheckpointError(
            f"half precision moves the {result['metric']} from {before.mean:.6g} to {after.mean:.6g}, by more than "
            f"{TOLERANCE} of its standard error, {error:.2g}: export it as it is, without --half"
        )
    return {
        "mean": after.mean,
        "change": change,
        "standard_error_of_change": finite_or_none(standard_error(after.scores - before.scores)),
    }
