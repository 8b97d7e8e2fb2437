"""A baseline of your own: the mean of all targets so far.

flp benchmark --plugin examples/plugins/baseline.py --learners running-mean ridge --episodes 10 --output compared
"""

import numpy as np

from flp_agents import register_baseline


class RunningMean:
    """A learner of three methods; see docs/benchmarking.md."""

    def reset(self):
        """Forgets everything."""
        self.total, self.count = 0.0, 0

    def predict(self, x):
        """The mean for each of the inputs ``(B, *input)``."""
        return np.full((len(x), 1), self.total / max(self.count, 1))

    def update(self, x, y):
        """Adds the targets ``(B, 1)``."""
        self.total, self.count = self.total + y.sum(), self.count + len(y)


@register_baseline("running-mean")
def running_mean(env, seed):
    """Built anew for each environment and seed."""
    return RunningMean()
