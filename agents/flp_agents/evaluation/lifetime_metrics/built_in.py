"""The metrics of this package; formulas and sources are in :mod:`flp_agents.evaluation.metrics`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flp_agents.evaluation import metrics
from flp_agents.evaluation.lifetime_metrics.metric import register_metric
from flp_agents.lifetime.recording import LifetimeRecord

Array = NDArray[np.float64]


def _follow_one_another(record: LifetimeRecord) -> bool:
    return record.task_ends and record.query_losses.shape[2] > 1


@register_metric("query_score", "query score", nonnegative=True)
def _query_score(record: LifetimeRecord) -> Array:
    return record.query_scores


@register_metric("prequential_score", "prequential score", nonnegative=True)
def _prequential_score(record: LifetimeRecord) -> Array:
    return metrics.prequential_score(record.support_losses)


@register_metric("prequential_area", "area under prequential curve", nonnegative=True)
def _prequential_area(record: LifetimeRecord) -> Array | None:
    steps = record.support_losses.shape[1]
    if steps < 2:
        return None
    return metrics.area_under_curve(metrics.prequential_curve(record.support_losses), np.arange(1, steps + 1))


@register_metric("learning_area", "area under learning curve", nonnegative=True)
def _learning_area(record: LifetimeRecord) -> Array | None:
    if len(record.queried_at) < 2:
        return None
    return metrics.area_under_curve(np.nanmean(record.query_losses, axis=2), record.queried_at)


@register_metric("average_final_score", "average final score", of_sub_tasks=True, nonnegative=True)
def _average_final_score(record: LifetimeRecord) -> Array | None:
    return metrics.average_final_score(record.query_losses) if _follow_one_another(record) else None


@register_metric("forgetting", "forgetting", of_sub_tasks=True)
def _forgetting(record: LifetimeRecord) -> Array | None:
    return metrics.forgetting(record.query_losses) if _follow_one_another(record) else None


@register_metric("backward_transfer", "backward transfer", higher_is_better=True, of_sub_tasks=True)
def _backward_transfer(record: LifetimeRecord) -> Array | None:
    return metrics.backward_transfer(record.query_losses) if _follow_one_another(record) else None


@register_metric("forward_transfer", "forward transfer", higher_is_better=True, of_sub_tasks=True)
def _forward_transfer(record: LifetimeRecord) -> Array | None:
    return metrics.forward_transfer(record.query_losses) if _follow_one_another(record) else None


@register_metric("interference", "interference", of_sub_tasks=True, nonnegative=True)
def _interference(record: LifetimeRecord) -> Array | None:
    if not _follow_one_another(record):
        return None
    mean: Array = metrics.interference(record.query_predictions, record.query_task).mean(1)
    return mean
