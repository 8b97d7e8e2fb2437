"""The simplest learners of three methods."""

import numpy as np


class Zero:
    """Always answers 0."""

    def reset(self):
        pass

    def predict(self, x):
        return np.zeros((len(x), 1))

    def update(self, x, y):
        pass


class RunningMean:
    """Predicts the mean of all minibatches' mean targets that it has met."""

    def reset(self):
        self.mean, self.count = 0.0, 0

    def predict(self, x):
        return np.full((len(x), 1), self.mean)

    def update(self, x, y):
        self.count += 1
        self.mean += (float(y.mean()) - self.mean) / self.count
