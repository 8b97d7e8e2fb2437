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
from flp_base.files import finite_or_none

# How far rounding may move a mean score, in standard errors of that mean.
TOLERANCE = 0.1
# It is measured on episodes of the split that the network was meta-trained on: nothing is chosen on meta-test.
EPISODES, SEED = 200, 30_000


def export_half(
    saved: checkpoint.Checkpoint, folder: Path, *, on_episodes: Callable[[int], object] = lambda done: None
) -> SavedRounding:
    """Writes a checkpoint for inference only in half precision, and what that changes, as ``about.rounding``.

    Args:
        saved: a checkpoint.
        folder: to write to.
        on_episodes: receives how many of twice :data:`EPISODES` are done, now and then.

    Returns:
        What rounding changes.

    Raises:
        CheckpointError: if the mean score moves by more than :data:`TOLERANCE` of its standard error; nothing is
            written then.
    """
    rounding = measure_rounding(saved, on_episodes)
    checkpoint.save(folder, saved.learner, {**saved.about, "rounding": rounding}, half=True)
    return rounding


def measure_rounding(saved: checkpoint.Checkpoint, on_episodes: Callable[[int], object]) -> SavedRounding:
    """Evaluates a learner as it is and rounded, on the same episodes: :func:`export_half` without the writing."""
    rounded = copy.deepcopy(saved.learner)
    rounded.load_state_dict(rounded_through_half(saved.learner.state_dict()))
    plan = Plan.from_json(saved.about)
    env = plan.make_train_env()
    before = evaluate(saved.learner, env, episodes=EPISODES, seed=SEED, on_episodes=on_episodes)
    after = evaluate(rounded, env, episodes=EPISODES, seed=SEED, on_episodes=lambda done: on_episodes(EPISODES + done))
    change, error = after.mean - before.mean, before.standard_error
    if not abs(change) <= TOLERANCE * error or not math.isfinite(change):
        raise CheckpointError(
            f"half precision moves the {before.metric} on {plan.train_on} from {before.mean:.6g} to {after.mean:.6g}, "
            f"by more than {TOLERANCE} of its standard error, {error:.2g}: export it as it is, without --half"
        )
    return {
        "split": plan.train_on,
        "episodes": EPISODES,
        "seed": SEED,
        "mean": after.mean,
        "standard_error": error,
        "change": change,
        "standard_error_of_change": finite_or_none(standard_error(after.scores - before.scores)),
    }
