"""A learner carried through envs, by hand and by stable-baselines3."""

import gymnasium as gym
import numpy as np
import pytest
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


@pytest.mark.parametrize("name", LEARNERS)
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


@pytest.mark.parametrize("name", LEARNERS)
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


def test_predict_gives_actions_of_the_space():
    env, learner = make("flp")
    observation, _ = env.reset(seed=0)
    action, _ = GymAgent(learner, env).predict(observation, deterministic=True)
    assert action.shape == env.action_space.shape
    assert action.dtype == np.float32


def test_an_env_of_another_kind_is_refused():
    _, learner = make("flp")
    with pytest.raises(FLPError, match="expected an env that speaks the episode protocol"):
        GymAgent(learner, gym.make("CartPole-v1"))
