"""Plugging in a learner of one's own."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from flp_agents import GymAgent, evaluate
from flp_envs import FLPError, seed_env


class Zero:
    """Always answers 0."""

    def reset(self):
        pass

    def predict(self, x):
        return np.zeros((len(x), 1))

    def update(self, x, y):
        pass


class RunningMean:
    """Answers the mean of all targets it has met."""

    def reset(self):
        self.total, self.count = 0.0, 0

    def predict(self, x):
        return np.full((len(x), 1), self.total / max(1, self.count))

    def update(self, x, y):
        self.total += float(y.sum())
        self.count += y.size


def test_answering_zero_scores_the_variance_of_the_targets():
    env = gym.make("FLPSine-Continual-v0", split="meta-test", num_functions=200, steps_per_function=1, query_size=64)
    result = evaluate(Zero(), env, episodes=20, seed=0)
    assert result.mean == pytest.approx(4.25, abs=0.2)
    assert result.standard_error == pytest.approx(result.scores.std(ddof=1) / np.sqrt(20))


class TorchLine:
    """A torch model with an optimizer, as people write them."""

    def reset(self):
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def predict(self, x):
        return self.model(torch.from_numpy(x))

    def update(self, x, y):
        loss = (self.predict(x) - torch.from_numpy(y)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def test_a_torch_model_learns():
    env = gym.make("FLPSine-Continual-v0", num_functions=2, steps_per_function=3, batch_size=4, query_size=4)
    torch.manual_seed(0)
    learned = evaluate(TorchLine(), env, episodes=2, seed=0).mean
    torch.manual_seed(0)
    TorchLine.update = lambda self, x, y: None
    assert learned != evaluate(TorchLine(), env, episodes=2, seed=0).mean


class Flat(Zero):
    """Forgets the axis of outputs."""

    def predict(self, x):
        return np.zeros(len(x))


def test_answers_of_a_wrong_shape_are_refused():
    env = gym.make("FLPSine-Continual-v0", num_functions=1, steps_per_function=1, batch_size=4, query_size=4)
    with pytest.raises(FLPError, match=r"Flat.predict: expected answers of shape \(4, outputs\), got \(4,\)"):
        evaluate(Flat(), env, episodes=1)
    Flat.predict = lambda self, x: np.zeros((len(x), 2))
    with pytest.raises(FLPError, match=r"expected answers of shape \(1, 1, 4, 1\), got \(1, 1, 4, 2\)"):
        evaluate(Flat(), env, episodes=1)


def test_a_plain_learner_lives_in_envs_as_in_evaluate():
    small = {"split": "meta-test", "num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4}
    env = gym.make("FLPSine-IID-v0", **small)
    expected = evaluate(RunningMean(), env, episodes=3, seed=5)
    rng, _ = gym.utils.seeding.np_random(5)
    episode = env.unwrapped.task.sample(rng, 3)
    by_hand = [np.square(episode.query_y[i] - episode.support_y[i].mean()).mean() for i in range(3)]
    np.testing.assert_allclose(expected.scores, by_hand, rtol=1e-5)
    seed_env(env, 5)
    mean, _ = evaluate_policy(GymAgent(RunningMean(), env), env, n_eval_episodes=3, warn=False)
    assert mean == pytest.approx(-expected.mean, rel=1e-5)
    vector = gym.make_vec("FLPSine-IID-v0", num_envs=2, **small)
    agent = GymAgent(RunningMean(), vector)
    observation, _ = vector.reset(seed=5)
    state, start, returns = None, np.ones(2, bool), np.zeros(2)
    for step in range(8):
        action, state = agent.predict(observation, state, start)
        start = np.array([False, step == 2])  # the second one is born again, and forgets
        observation, reward, *_ = vector.step(action)
        returns += reward
    targets = vector.episode.support_y
    query = vector.episode.query_y
    assert returns[0] == pytest.approx(-np.square(query[0] - targets[0].mean()).mean(), rel=1e-5)
    assert returns[1] == pytest.approx(-np.square(query[1] - targets[1, 3:].mean()).mean(), rel=1e-5)
