"""Plugging in a learner of one's own."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import SMALL_IMAGES
from plain_learners import RunningMean, Zero
from stable_baselines3.common.evaluation import evaluate_policy

from flp_agents import GymAgent, evaluate
from flp_agents.adapters.plain_learner import as_learner
from flp_envs import FLPError, draw_episodes, seed_env


def test_answering_zero_scores_the_variance_of_the_targets():
    env = gym.make("FLPSine-Continual-v0", split="meta-test", num_functions=200, steps_per_function=1, query_size=64)
    result = evaluate(Zero(), env, episodes=20, seed=0)
    assert result.mean == pytest.approx(4.25, abs=0.2)
    assert result.standard_error == pytest.approx(result.scores.std(ddof=1) / np.sqrt(20))


def test_answers_are_judged_in_double_precision():
    class NearlyRight(Zero):
        def predict(self, x):
            return np.full((len(x), 1), 1.0 + 1e-9)

    env = gym.make("FLPSine-Continual-v0", num_functions=1, steps_per_function=1)
    learner = as_learner(NearlyRight(), env)
    answers, _ = learner.predict(learner.init(1), torch.zeros(1, 32, 3))
    assert learner.objective.scores(answers, torch.ones(1, 32, 1)).item() == pytest.approx(1e-18)


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
    with pytest.raises(FLPError, match=r"Flat.predict: expected predictions of shape \(4, outputs\), got \(4,\)"):
        evaluate(Flat(), env, episodes=1)
    Flat.predict = lambda self, x: np.zeros((len(x), 2))
    with pytest.raises(FLPError, match=r"expected predictions of shape \(1, 1, 4, 1\), got \(1, 1, 4, 2\)"):
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


class NearestMean:
    """Answers with the class whose mean image is nearest: a label, or a score for each class."""

    def __init__(self, classes=3, scores=False):
        self.classes, self.scores = classes, scores

    def reset(self):
        self.sums, self.counts = None, np.zeros(self.classes)

    def predict(self, x):
        assert x.dtype == np.uint8
        if self.sums is None:
            return np.zeros((1, self.classes)) if self.scores else np.zeros(1, np.int64)
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        distance = np.square(x.reshape(1, -1) - means).sum(1) + np.where(self.counts > 0, 0, 1e12)
        return -distance[None] if self.scores else distance[None].argmin(1)

    def update(self, x, y):
        assert y.shape == (1,)
        assert y.dtype == np.int64
        if self.sums is None:
            self.sums = np.zeros((self.classes, x.size))
        self.sums[y[0]] += x.reshape(-1)
        self.counts[y[0]] += 1


class NearestMeanInTorch(NearestMean):
    def predict(self, x):
        return torch.as_tensor(super().predict(x))


def nearest_means_by_hand(episode):
    """Per cent of wrong answers in every lifetime."""
    errors = []
    for i in range(len(episode)):
        images, labels = episode.support_x[i, :, 0].astype(float), episode.support_y[i, :, 0]
        means = np.stack([images[labels == label].mean(0) for label in range(3)])
        distance = np.square(episode.query_x[i, :, 0, None] - means).sum((2, 3, 4))
        errors.append(100 * np.mean(distance.argmin(1) != episode.query_y[i, :, 0]))
    return errors


@pytest.mark.parametrize("env_id", ["FLPGlyph-Continual-v0", "FLPOmniglot-IID-v0"])
@pytest.mark.parametrize(
    "learner", [NearestMean(), NearestMean(scores=True), NearestMeanInTorch(), NearestMeanInTorch(scores=True)]
)
def test_labels_and_scores_are_answers_to_images(learner, env_id):
    env = gym.make(env_id, split="meta-test", **{**SMALL_IMAGES, "query_shots": 4})
    result = evaluate(learner, env, episodes=5, seed=3)
    seed_env(env, 3)
    by_hand = nearest_means_by_hand(draw_episodes(env, 5))
    assert result.metric == "error_percent"
    np.testing.assert_allclose(result.scores, by_hand, rtol=1e-6)
    assert result.mean < 50.0  # two in three by chance
    seed_env(env, 3)
    mean, _ = evaluate_policy(GymAgent(learner, env), env, n_eval_episodes=5, warn=False)
    assert mean == pytest.approx(1 - np.mean(by_hand) / 100, abs=1e-6)


@pytest.mark.parametrize("scores", [False, True])
def test_a_plain_learner_of_images_lives_in_vector_envs(scores):
    vector = gym.make_vec("FLPGlyph-IID-v0", num_envs=3, split="meta-test", **SMALL_IMAGES)
    agent = GymAgent(NearestMean(scores=scores), vector)
    observation, _ = vector.reset(seed=5)
    state, returns, done = None, np.zeros(3), np.zeros(3, bool)
    while not done.all():
        action, state = agent.predict(observation, state)
        assert action in vector.action_space
        observation, reward, done, *_ = vector.step(action)
        returns += reward
    np.testing.assert_allclose(returns, 1 - np.array(nearest_means_by_hand(vector.episode)) / 100, rtol=1e-6)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.array([3]), r"Answers.predict: expected labels below 3, got \[3\]"),
        (np.array([-1]), r"Answers.predict: expected labels below 3, got \[-1\]"),
        (np.array([0, 1]), r"expected labels of shape \(1,\), whole numbers, or scores of shape \(1, 3\), got \(2,\)"),
        (np.array(1), r"expected labels of shape \(1,\), whole numbers, or scores of shape \(1, 3\), got \(\)"),
        (1, r"expected labels of shape \(1,\), whole numbers, or scores of shape \(1, 3\), got \(\)"),
        (
            np.array([1.0]),
            r"expected labels of shape \(1,\), whole numbers, or scores of shape \(1, 3\), got \(1,\) float64",
        ),
        (np.zeros((1, 4)), r"or scores of shape \(1, 3\), got \(1, 4\)"),
        (np.zeros((2, 3)), r"or scores of shape \(1, 3\), got \(2, 3\)"),
        (np.zeros((1, 1, 3)), r"or scores of shape \(1, 3\), got \(1, 1, 3\)"),
    ],
)
def test_what_is_no_label_and_no_scores_is_refused_in_one_line(answer, message):
    class Answers(Zero):
        def predict(self, x):
            return answer

    env = gym.make("FLPGlyph-IID-v0", **SMALL_IMAGES)
    for use in (
        lambda: evaluate(Answers(), env, episodes=1),
        lambda: GymAgent(Answers(), env).predict(env.reset(seed=0)[0]),
    ):
        with pytest.raises(FLPError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
