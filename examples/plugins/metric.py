"""A metric of your own: the loss of the sub-task that is predicted worst at the end.

flp benchmark --plugin examples/plugins/metric.py --learners ridge sgd --seeds 1 --episodes 10 --output compared
"""

import numpy as np

from flp_agents import register_metric


@register_metric("worst_sub_task", "worst sub-task", of_sub_tasks=True)
def worst_sub_task(record):
    """``(E,)``, from the record of ``E`` lifetimes; none where sub-tasks do not follow one another."""
    if not record.task_ends:
        return None
    return np.nanmax(record.query_losses[:, -1], axis=1)
