"""Every id: the protocol, the checkers, and the same stream in the single env, the vector env and the task."""

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import flp_envs
from flp_envs import ENV_IDS, InvalidAction, InvalidChoice, InvalidSize

SMALL = {"num_functions": 3, "steps_per_function": 2, "batch_size": 4, "query_size": 8}
pytestmark = pytest.mark.parametrize("env_id", ENV_IDS)


def lifetime(env, action=0.0):
    """Observations, rewards and infos of one episode."""
    observation, _ = env.reset()
    seen, rewards, infos, done = [observation], [], [], False
    while not done:
        observation, reward, done, truncated, info = env.step(np.full(env.action_space.shape, action, np.float32))
        assert not truncated
        seen.append(observation)
        rewards.append(reward)
        infos.append(info)
    return seen, rewards, infos


def test_gymnasiums_checker_passes(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, render_mode="rgb_array", **SMALL).unwrapped)


def test_stable_baselines3s_checker_passes(env_id):
    sb3_check_env(gym.make(env_id, render_mode="rgb_array", **SMALL).unwrapped)


def test_a_learner_answers_before_it_is_told(env_id):
    env = gym.make(env_id, **SMALL)
    env.reset(seed=3)
    seen, rewards, infos = lifetime(env)
    episode = env.unwrapped.episode
    assert len(rewards) == 6 + 6
    for step in range(6):
        np.testing.assert_array_equal(seen[step]["x"], episode.support_x[0, step])
        np.testing.assert_array_equal(seen[step + 1]["y"], episode.support_y[0, step])
        np.testing.assert_array_equal(infos[step]["target"], episode.support_y[0, step])
        assert seen[step + 1]["has_target"] == 1
        assert infos[step]["task"] == episode.support_task[0, step]
    for step in range(6):
        np.testing.assert_array_equal(seen[6 + step]["x"], episode.query_x[0, step])
        np.testing.assert_array_equal(infos[6 + step]["target"], episode.query_y[0, step])
        assert seen[7 + step]["has_target"] == 0
        assert not seen[7 + step]["y"].any()
    assert [o["phase"] for o in seen] == [0] * 6 + [1] * 7
    assert seen[0]["has_target"] == 0
    assert not seen[0]["y"].any()
    assert all(o in env.observation_space for o in seen)


def test_the_return_is_minus_the_query_error(env_id):
    env = gym.make(env_id, **SMALL)
    env.reset(seed=1)
    _, rewards, infos = lifetime(env, action=0.5)
    episode = env.unwrapped.episode
    assert rewards[:6] == [0.0] * 6
    assert sum(rewards) == pytest.approx(-np.square(episode.query_y - 0.5).mean(), rel=1e-5)
    assert infos[0]["loss"] == pytest.approx(np.square(episode.support_y[0, 0] - 0.5).mean(), rel=1e-5)
    assert type(rewards[0]) is type(rewards[-1]) is float


def test_answering_zero_scores_the_variance_of_the_targets(env_id):
    """E[A^2] / 2 = 4.25 for A ~ U[0.1, 5]: sin^2(x + phi) averages to a half over phi in [0, pi]."""
    env = gym.make(env_id, split="meta-test", num_functions=100, steps_per_function=1, query_size=320)
    env.reset(seed=0)
    returns = [sum(lifetime(env)[1]) for _ in range(10)]
    assert np.mean(returns) == pytest.approx(-4.25, abs=0.25)
    task = env.unwrapped.task
    exact = np.square(task.amplitudes).mean() / 2
    assert np.mean(returns) == pytest.approx(-exact, rel=0.05)


def test_the_stream_does_not_depend_on_the_actions(env_id):
    streams = []
    for action in (0.0, 3.0):
        env = gym.make(env_id, **SMALL)
        env.reset(seed=5)
        streams.append(lifetime(env, action)[0])
    for a, b in zip(*streams, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_no_array_is_returned_twice(env_id):
    env = gym.make(env_id, **SMALL)
    env.reset(seed=0)
    seen, _, infos = lifetime(env)
    kept = [[np.array(o["x"]), np.array(o["y"])] for o in seen]
    for observation in seen:
        observation["x"][:] = np.nan
        observation["y"][:] = np.nan
    again = gym.make(env_id, **SMALL)
    again.reset(seed=0)
    for (x, y), fresh in zip(kept, lifetime(again)[0], strict=True):
        np.testing.assert_array_equal(x, fresh["x"])
        np.testing.assert_array_equal(y, fresh["y"])
    assert all(np.isfinite(info["target"]).all() for info in infos)


def test_single_vector_and_task_stream_the_same(env_id):
    task = gym.make(env_id, **SMALL).unwrapped.task
    vector = gym.make_vec(env_id, num_envs=3, **SMALL)
    assert isinstance(vector, flp_envs.OnlineLearningVectorEnv)
    batch, _ = vector.reset(seed=10)
    singles = [gym.make(env_id, **SMALL) for _ in range(3)]
    observations = [env.reset(seed=10 + i)[0] for i, env in enumerate(singles)]
    rngs = [gym.utils.seeding.np_random(10 + i)[0] for i in range(3)]
    actions = np.random.default_rng(0).normal(size=(30, 3, 4, 1)).astype(np.float32)
    for _episode_number in range(2):  # the second episode of a seed agrees too
        sampled = [task.sample(rng) for rng in rngs]
        for step in range(12):
            for i, observation in enumerate(observations):
                for key in observation:
                    np.testing.assert_array_equal(batch[key][i], observation[key])
                assert np.array_equal(
                    observation["x"],
                    sampled[i].support_x[0, step] if step < 6 else sampled[i].query_x[0, step - 6],
                )
            batch, rewards, terminated, truncated, info = vector.step(actions[step])
            results = [env.step(actions[step][i]) for i, env in enumerate(singles)]
            observations = [result[0] for result in results]
            np.testing.assert_allclose(rewards, [result[1] for result in results], rtol=1e-6)
            assert terminated.tolist() == [result[2] for result in results]
            assert not truncated.any()
            np.testing.assert_allclose(info["loss"], [result[4]["loss"] for result in results], rtol=1e-6)
            assert info["task"].tolist() == [result[4]["task"] for result in results]
        assert terminated.all()
        batch, rewards, terminated, _, _ = vector.step(actions[-1])  # begins the next episode
        assert not rewards.any()
        assert not terminated.any()
        observations = [env.reset()[0] for env in singles]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((4, 2)), r"expected an action of shape \(4, 1\), got \(4, 2\)"),
        (np.zeros(4), r"expected an action of shape \(4, 1\), got \(4,\)"),
        (np.full((4, 1), np.nan), "expected .* finite numbers, got NaN"),
        (np.array([[1.0], [2.0], [np.inf], [0.0]]), "expected .* finite numbers, got NaN or infinity"),
        (None, r"expected an action"),
        ("seven", r"expected an action of \(4, 1\) finite numbers, got str"),
    ],
    ids=str,
)
def test_a_wrong_action_is_refused(env_id, action, message):
    env = gym.make(env_id, **SMALL).unwrapped
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(action)
    env.step(np.zeros((4, 1)))  # and nothing was lost


def test_a_wrong_vector_action_is_refused(env_id):
    env = gym.make_vec(env_id, num_envs=2, **SMALL)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"shape \(2, 4, 1\), got \(4, 1\)"):
        env.step(np.zeros((4, 1), np.float32))


def test_large_finite_answers_are_scored(env_id):
    env = gym.make(env_id, **SMALL).unwrapped
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.full((4, 1), 3e38, np.float32))
    assert info["loss"] > 1e70


def test_stepping_out_of_turn_is_refused(env_id):
    env = gym.make(env_id, **SMALL).unwrapped
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(np.zeros((4, 1)))
    env.reset(seed=0)
    for _ in range(12):
        env.step(np.zeros((4, 1)))
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over: call reset"):
        env.step(np.zeros((4, 1)))
    vector = gym.make_vec(env_id, num_envs=2, **SMALL)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        vector.step(np.zeros((2, 4, 1)))


def test_bad_arguments_are_refused(env_id):
    with pytest.raises(InvalidChoice, match="did you mean 'meta-train'"):
        gym.make(env_id, split="train")
    with pytest.raises(InvalidChoice, match="unknown render_mode 'human'"):
        gym.make(env_id, render_mode="human", disable_env_checker=True)
    with pytest.raises(InvalidSize, match="num_envs must be"):
        flp_envs.OnlineLearningVectorEnv(gym.make(env_id).unwrapped.task, 0)
    with pytest.raises(InvalidSize, match="one number or 2 of them"):
        gym.make_vec(env_id, num_envs=2).reset(seed=[1, 2, 3])


def test_a_misspelt_id_suggests_the_right_one(env_id):
    with pytest.raises(InvalidChoice, match=f"did you mean .*'{env_id}'"):
        flp_envs.make(env_id.replace("Sine", "Sin"))


def test_an_unknown_option_suggests_the_right_one(env_id):
    with pytest.raises(InvalidChoice, match="did you mean 'num_functions'"):
        gym.make(env_id, num_function=3)


def test_an_env_of_another_kind_is_refused_with_the_reason(env_id):
    with pytest.raises(flp_envs.ProtocolError, match=r"cannot make CartPole-v1 with .*: .*unexpected keyword argument"):
        flp_envs.make("CartPole-v1", split="meta-test")
    with pytest.raises(flp_envs.ProtocolError, match=r"cannot make no_module:"):
        flp_envs.make(f"no_module:{env_id}")


def test_make_works_without_an_import_and_without_torch(env_id):
    code = (
        f"import sys, gymnasium; env = gymnasium.make('flp_envs:{env_id}'); env.reset(seed=0); "
        "assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_render_shows_answers_given_before_it_was_first_called(env_id):
    frames = []
    for answer in (1.0, -1.0):
        env = gym.make(env_id, render_mode="rgb_array", **SMALL).unwrapped
        env.reset(seed=0)
        env.step(np.full(env.action_space.shape, answer, np.float32))
        frames.append(env.render())
    assert (frames[0] != frames[1]).any()


def test_the_listed_ids_are_the_registered_ones(env_id):
    assert {i for i, spec in gym.registry.items() if "flp_envs" in str(spec.entry_point)} == set(ENV_IDS)


def test_rendering_goes_on_after_close(env_id):
    env = gym.make(env_id, render_mode="rgb_array", **SMALL).unwrapped
    env.reset(seed=0)
    env.close()
    assert env.render().shape[2] == 3
    env.step(np.ones(env.action_space.shape, np.float32))
    silent = gym.make(env_id, **SMALL).unwrapped
    silent.show_predictions(lambda x: x[:, :1])
    silent.reset(seed=0)
    silent.step(np.ones(env.action_space.shape, np.float32))


def test_render_draws_truth_and_prediction(env_id):
    env = gym.make(env_id, render_mode="rgb_array", **SMALL)
    env.reset(seed=0)
    blank = env.render()
    assert blank.dtype == np.uint8
    assert blank.ndim == 3
    assert blank.shape[2] == 3
    env.step(np.ones(env.action_space.shape, np.float32))
    answered = env.render()
    assert (answered != blank).any()
    asked = []
    env.unwrapped.show_predictions(lambda x: asked.append(x) or np.ones((len(x), 1), np.float32))
    assert (env.render() != answered).any()
    assert {tuple(row[:-1]) for x in asked for row in x} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    env.close()
