"""Your own learner: any class with reset, predict and update is evaluated like the others.

This one fits a cubic polynomial to every function by recursive least squares: it knows which function is at
hand, and forgets nothing. With a name, it can be used on the command line as well:

    flp check-learner polynomials --plugin examples/your_own_learner.py
    flp benchmark --plugin examples/your_own_learner.py --learners polynomials ridge flp --envs FLPSine-Continual-v0
"""

import gymnasium as gym
import numpy as np

import flp_envs
from flp_agents import evaluate, register_learner

DEGREE = 3


@register_learner("polynomials")
class Polynomials:
    """One polynomial for each function, fitted to all pairs met so far."""

    def reset(self):
        self.covariances, self.products = {}, {}

    def predict(self, x):
        function = int(x[0, :-1].argmax())
        if function not in self.covariances:
            return np.zeros((len(x), 1))
        ridge = 1e-3 * np.eye(DEGREE + 1)
        weights = np.linalg.solve(self.covariances[function] + ridge, self.products[function])
        return self.features(x) @ weights

    def update(self, x, y):
        function, features = int(x[0, :-1].argmax()), self.features(x)
        self.covariances[function] = self.covariances.get(function, 0.0) + features.T @ features
        self.products[function] = self.products.get(function, 0.0) + features.T @ y

    @staticmethod
    def features(x):
        return (x[:, -1:] / 5.0) ** np.arange(DEGREE + 1)


if __name__ == "__main__":
    env = gym.make("FLPSine-Continual-v0", split="meta-test")
    result = evaluate(Polynomials(), env, episodes=20, seed=0)
    print(f"mean squared error {result.mean:.3f}, standard error {result.standard_error:.3f}")
