"""A learner carried through envs, by hand and by stable-baselines3."""

import gymnasium as gym
import numpy as np
import pytest
from conftest import SMALL_IMAGES
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from flp_agents import LEARNERS, GymAgent, build_learner, evaluate, get_preset, run_lifetime
from flp_envs import FLPError, draw_episodes, seed_env

ENV = "FLPSine-Continual-v0"
SMALL = {"num_functions": 3, "steps_per_function": 4, "batch_size": 8, "query_size": 8, "split": "meta-test"}
STRONG = {"hidden_widths": (16, 16, 16), "initial_coefficient": 1.0, "coefficient_unit": 1e-3, "initial_rate": 5.0}


def make(name, **more):
    env = gym.make(ENV, **SMALL)
    return env, build_learner(name, env, get_preset("cpu", name, {**STRONG, **more}), seed=1)


@pytest.mark.parametrize("name", LEARNERS.built_in())
def test_evaluate_policy_returns_minus_what_evaluate_returns(name):
    env, learner = make(name)
    vector = DummyVecEnv([lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(ENV, **SMALL))])
    vector.seed(7)
    first, _ = evaluate_policy(
        GymAgent(learner, env), vector, n_eval_episodes=1, return_episode_rewards=True, warn=False
    )
    result = evaluate(learner, env, episodes=1, seed=7)
    assert first[0] == pytest.approx(-result.mean, rel=1e-5)
    mean, _ = evaluate_policy(GymAgent(learner, env), seeded(env, 7), n_eval_episodes=4, warn=False)
    assert mean == pytest.approx(-evaluate(learner, env, episodes=4, seed=7).mean, rel=1e-5)


def seeded(env, seed):
    seed_env(env, seed)
    return env


@pytest.mark.parametrize("name", LEARNERS.built_in())
def test_a_vector_env_scores_what_the_lifetimes_score(name):
    _env, learner = make(name)
    vector = gym.make_vec(ENV, num_envs=3, **SMALL)
    agent = GymAgent(learner, vector)
    observation, _ = vector.reset(seed=20)
    start, state = np.ones(3, bool), None
    for _ in range(2):  # two episodes in a row: lifetimes begin anew
        episode = vector.episode
        returns = np.zeros(3)
        done = np.zeros(3, bool)
        while not done.all():
            action, state = agent.predict(observation, state, start)
            start = done.copy()
            observation, reward, done, _, _ = vector.step(action)
            returns += reward
            start = np.zeros(3, bool)
        np.testing.assert_allclose(returns, -run_lifetime(learner, episode).query_loss.detach().numpy(), rtol=1e-5)
        observation, *_ = vector.step(np.zeros_like(action))
        start = np.ones(3, bool)


def test_lifetimes_out_of_step_with_each_other_do_not_mix():
    env, learner = make("flp")
    agent = GymAgent(learner, env)
    first, second = gym.make(ENV, **SMALL), gym.make(ENV, **SMALL)
    seed_env(first, 1)
    seed_env(second, 2)
    alone = [run_lifetime(learner, draw_episodes(e, 1)).query_loss.item() for e in (first, second)]
    observations = [first.reset(seed=1)[0], second.reset(seed=2)[0]]
    returns, state, start = [0.0, 0.0], None, np.array([True, True])
    ended = [False, False]
    for step in range(100):
        batch = {key: np.stack([np.asarray(o[key]) for o in observations]) for key in observations[0]}
        actions, state = agent.predict(batch, state, start)
        start = np.array([False, False])
        for i, env in enumerate((first, second)):
            if ended[i]:
                continue
            if i == 1 and step < 5:  # the second is held back, then starts anew
                observations[1], start[1] = second.reset(seed=2)[0], True
                continue
            observations[i], reward, ended[i], _, _ = env.step(actions[i])
            returns[i] += reward
        if all(ended):
            break
    assert all(ended)
    np.testing.assert_allclose(returns, [-loss for loss in alone], rtol=1e-5)


IMAGE_ENVS = {
    "FLPOmniglot-Continual-v0": {"split": "meta-test"},
    "FLPGlyph-IID-v0": {"split": "meta-test", "image_size": 14},
}
OF_IMAGES = {
    "channels": 4,
    "padding": 1,
    "hidden_widths": (16,),
    "initial_coefficient": 5e-4,
    "initial_rate": 200.0,
    "output_units": 7,
}


def make_images(env_id, name):
    options = {**IMAGE_ENVS[env_id], **SMALL_IMAGES}
    env = gym.make(env_id, **options)
    return env, options, build_learner(name, env, get_preset("paper", name, OF_IMAGES, kind="images"), seed=1)


@pytest.mark.parametrize("name", LEARNERS.built_in())
@pytest.mark.parametrize("env_id", IMAGE_ENVS)
def test_in_a_single_env_of_images_every_answer_is_that_of_the_lifetime(env_id, name):
    env, _, learner = make_images(env_id, name)
    agent = GymAgent(learner, env)
    for seed in (3, 4):
        observation, _ = env.reset(seed=seed)
        episode = env.unwrapped.episode
        lifetime = run_lifetime(learner, episode)
        state, answers, returned, done = None, [], 0.0, False
        while not done:
            action, state = agent.predict(observation, state)
            assert action in env.action_space
            answers.append(int(action))
            observation, reward, done, _, _ = env.step(action)
            returned += reward
        expected = learner.objective.actions(lifetime.query_predictions)[0, :, 0]
        assert answers[episode.support_steps :] == expected.tolist()
        assert returned == pytest.approx(1 - lifetime.query_score.item() / 100)
        # The last weights are those of the lifetime: nothing is learned after the last support step.
        for got, right in zip(state.weights, lifetime.state.weights, strict=True):
            np.testing.assert_allclose(got.detach(), right.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LEARNERS.built_in())
@pytest.mark.parametrize("env_id", IMAGE_ENVS)
def test_in_a_vector_env_of_images_every_answer_is_that_of_the_lifetimes(env_id, name):
    _, options, learner = make_images(env_id, name)
    vector = gym.make_vec(env_id, num_envs=3, **options)
    agent = GymAgent(learner, vector)
    observation, _ = vector.reset(seed=20)
    state, start, seen = None, np.ones(3, bool), set()
    for _ in range(2):  # two episodes in a row: lifetimes begin anew
        episode, answers, done = vector.episode, [], np.zeros(3, bool)
        returns = np.zeros(3)
        while not done.all():
            action, state = agent.predict(observation, state, start)
            assert action in vector.action_space
            answers.append(action)
            observation, reward, done, _, _ = vector.step(action)
            returns += reward
            start = np.zeros(3, bool)
        lifetime = run_lifetime(learner, episode)
        expected = learner.objective.actions(lifetime.query_predictions)[:, :, 0]
        np.testing.assert_array_equal(np.stack(answers, 1)[:, episode.support_steps :], expected)
        np.testing.assert_allclose(returns, 1 - lifetime.query_score / 100, rtol=1e-6)
        seen |= set(expected.flatten().tolist())
        observation, *_ = vector.step(np.zeros_like(action))
        start = np.ones(3, bool)
    assert len(seen) > 1


@pytest.mark.parametrize("name", LEARNERS.built_in())
@pytest.mark.parametrize("env_id", IMAGE_ENVS)
def test_on_images_evaluate_policy_returns_the_accuracy_that_evaluate_returns(env_id, name):
    env, options, learner = make_images(env_id, name)
    result = evaluate(learner, env, episodes=4, seed=7)
    assert result.metric == "error_percent"
    mean, _ = evaluate_policy(GymAgent(learner, env), seeded(env, 7), n_eval_episodes=4, warn=False)
    assert mean == pytest.approx(1 - result.mean / 100, rel=1e-6)
    vector = DummyVecEnv([lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(env_id, **options))] * 2)
    vector.seed(7)  # the second env is seeded 8
    returns, _ = evaluate_policy(
        GymAgent(learner, env), vector, n_eval_episodes=2, return_episode_rewards=True, warn=False
    )
    alone = [evaluate(learner, env, episodes=1, seed=seed).mean for seed in (7, 8)]
    assert sorted(returns) == pytest.approx(sorted(1 - error / 100 for error in alone), rel=1e-6)


@pytest.mark.parametrize("name", LEARNERS.built_in())
def test_a_lifetime_of_images_that_starts_in_the_middle_is_a_newborns(name):
    env, options, learner = make_images("FLPGlyph-IID-v0", name)
    agent = GymAgent(learner, env)
    first, second = gym.make("FLPGlyph-IID-v0", **options), gym.make("FLPGlyph-IID-v0", **options)
    observations = [first.reset(seed=1)[0], second.reset(seed=2)[0]]
    expected = [run_lifetime(learner, e.unwrapped.episode) for e in (first, second)]
    answers, state = [[], []], None
    steps = first.unwrapped.task.support_steps + first.unwrapped.task.query_steps
    late = 3
    for step in range(steps + late):
        batch = {key: np.stack([np.asarray(o[key]) for o in observations]) for key in observations[0]}
        if step == late:  # the second one has learned three times from somebody else's observations
            start = np.array([False, True])
            batch["has_target"][1] = 1  # what it is told is of a life that is over
        else:
            start = np.zeros(2, bool)
        actions, state = agent.predict(batch, state, start)
        if step < steps:
            answers[0].append(int(actions[0]))
            observations[0] = first.step(actions[0])[0]
        if step >= late:
            answers[1].append(int(actions[1]))
            observations[1] = second.step(actions[1])[0]
        else:
            observations[1] = observations[0]
        if step == late - 1:
            observations[1] = second.reset(seed=2)[0]
    for given, lifetime in zip(answers, expected, strict=True):
        right = learner.objective.actions(lifetime.query_predictions)[0, :, 0].tolist()
        assert given[-len(right) :] == right
    for i, lifetime in enumerate(expected):
        for got, weights in zip(state.weights, lifetime.state.weights, strict=True):
            np.testing.assert_allclose(got[i].detach(), weights[0].detach(), rtol=1e-4, atol=1e-6)


def test_predict_gives_labels_of_the_space():
    env, _, learner = make_images("FLPOmniglot-Continual-v0", "flp")
    observation, _ = env.reset(seed=0)
    action, _ = GymAgent(learner, env).predict(observation, deterministic=True)
    assert action.shape == ()
    assert action.dtype == np.int64
    assert action in env.action_space


def test_predict_gives_actions_of_the_space():
    env, learner = make("flp")
    observation, _ = env.reset(seed=0)
    action, _ = GymAgent(learner, env).predict(observation, deterministic=True)
    assert action.shape == env.action_space.shape
    assert action.dtype == np.float32


def test_an_env_of_another_kind_is_refused():
    _, learner = make("flp")
    for env in (gym.make("CartPole-v1"), gym.make_vec("CartPole-v1", num_envs=2)):
        with pytest.raises(FLPError, match="expected an env that speaks the episode protocol, with x, y and") as caught:
            GymAgent(learner, env)
        assert "\n" not in str(caught.value)
