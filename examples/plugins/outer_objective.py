"""An outer objective of your own: the loss along the way, over the last part of the lifetime.

flp train --plugin examples/plugins/outer_objective.py --outer-objective late --share 0.25 --output runs/late
"""

from dataclasses import dataclass

from flp_agents import option, register_outer_objective


@register_outer_objective("late")
@dataclass(frozen=True)
class LateLoss:
    """The mean loss over the last support steps, of predictions that are made before their target is seen."""

    share: float = option(0.5, "of the support steps, the last ones", above=0, most=1)

    needs_support = True  # the predictions along the way
    needs_query = False

    def losses(self, outcome):
        by_step = outcome.support.losses_by_step  # (lifetimes, steps)
        steps = by_step.shape[1]
        return by_step[:, steps - max(1, round(self.share * steps)) :].mean(1)
