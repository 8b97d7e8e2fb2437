"""Every id in the hands of other libraries: gymnasium's vector modes and wrappers, stable-baselines3's vector envs."""

import subprocess

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import shows_images, small_options, steps_of
from gymnasium import wrappers
from gymnasium.wrappers import vector as vector_wrappers
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor, VecNormalize

from flp_agents.adapters.policy_networks import MemorylessPolicy
from flp_envs import ENV_IDS, InvalidSize, OnlineLearningVectorEnv, seed_env

every_id = pytest.mark.parametrize("env_id", ENV_IDS)


def mostly_slow(quick):
    """Every id, all but one in the slow runs only: processes take seconds to start, and so do pictures to be drawn."""
    return pytest.mark.parametrize(
        "env_id", [pytest.param(i, marks=[] if i == quick else [pytest.mark.slow]) for i in ENV_IDS]
    )


STEPS = 12  # 6 of support, 6 of query


class Made:
    """Makes an env in another process."""

    def __init__(self, env_id, **options):
        self.env_id, self.options = env_id, options

    def __call__(self):
        import flp_envs

        return flp_envs.make(self.env_id, **self.options)


def make(env_id, **options):
    return gym.make(env_id, **small_options(env_id), **options)


def make_vec(env_id, mode=None, **more):
    return gym.make_vec(env_id, num_envs=2, vectorization_mode=mode, **small_options(env_id), **more)


def actions_of(space, steps, seed=0):
    space.seed(seed)
    return [space.sample() for _ in range(steps)]


def assert_same(one, other):
    """Two nests of dicts and arrays are equal; flags and numbers may be of any type."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    else:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def assert_same_life(env, other, steps=2 * (STEPS + 1)):
    """Two vector envs of gymnasium's give the same for the same actions, over two episodes."""
    assert_same(env.reset(seed=4)[0], other.reset(seed=4)[0])
    for action in actions_of(env.action_space, steps):
        results = [one.step(action) for one in (env, other)]
        for part in range(4):
            assert_same(results[0][part], results[1][part])
        for key in results[0][4].keys() | results[1][4].keys():
            if key.startswith("_"):
                continue
            # Where an episode begins there is nothing to tell; some modes leave out what others leave blank.
            told = [result[4].get(key) for result in results]
            assert_same(told[0], told[1])


@every_id
def test_make_vec_makes_the_same_in_every_mode_of_one_process(env_id):
    default, entry_point, sync = make_vec(env_id), make_vec(env_id, "vector_entry_point"), make_vec(env_id, "sync")
    assert isinstance(default.unwrapped, OnlineLearningVectorEnv)
    assert isinstance(entry_point.unwrapped, OnlineLearningVectorEnv)
    assert isinstance(sync.unwrapped, gym.vector.SyncVectorEnv)
    for env in (default, sync):
        assert env.observation_space == entry_point.observation_space
        assert env.action_space == entry_point.action_space
        assert env.single_observation_space == entry_point.single_observation_space
        assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    assert_same_life(default, entry_point)
    assert_same_life(sync, entry_point)
    for env in (default, entry_point, sync):
        env.close()


@mostly_slow("FLPGlyph-IID-v0")
def test_make_vec_makes_the_same_in_processes(env_id):
    parallel = make_vec(env_id, "async", vector_kwargs={"context": "forkserver"})
    assert_same_life(parallel, make_vec(env_id))
    parallel.close()


def assert_same_in_stable_baselines3(vector, env_id):
    """A vector env of stable-baselines3's gives what single envs give; each env begins anew as soon as it ends."""
    options = small_options(env_id)
    singles = [gym.make(env_id, **options) for _ in range(2)]
    vector.seed(6)
    shown, expected = vector.reset(), [env.reset(seed=6 + i)[0] for i, env in enumerate(singles)]
    for action in actions_of(gym.vector.utils.batch_space(vector.action_space, 2), 2 * steps_of(env_id)):
        for i, observation in enumerate(expected):
            assert_same({key: value[i] for key, value in shown.items()}, observation)
        shown, rewards, dones, infos = vector.step(action)
        for i, env in enumerate(singles):
            expected[i], reward, done, _, info = env.step(action[i])
            assert np.float32(rewards[i]) == np.float32(reward)  # DummyVecEnv rounds so
            assert dones[i] == done
            assert infos[i]["loss"] == info["loss"]
            if done:
                assert_same(infos[i]["terminal_observation"], expected[i])
                expected[i] = env.reset()[0]
    assert dones.all()
    vector.close()


@every_id
def test_dummy_vec_env_streams_what_single_envs_stream(env_id):
    assert_same_in_stable_baselines3(DummyVecEnv([Made(env_id, **small_options(env_id))] * 2), env_id)
    by_name = make_vec_env(env_id, 2, env_kwargs=small_options(env_id))
    assert_same_in_stable_baselines3(by_name, env_id)


@mostly_slow("FLPGlyph-IID-v0")
def test_subproc_vec_env_streams_what_single_envs_stream(env_id):
    assert_same_in_stable_baselines3(SubprocVecEnv([Made(env_id, **small_options(env_id))] * 2), env_id)


@every_id
def test_vec_normalize_scales_rewards_and_numbers(env_id):
    # Flags, labels and images are no numbers to be scaled: the keys that are must be named.
    keys = [] if shows_images(env_id) else ["x", "y"]
    inner = DummyVecEnv([Made(env_id, **small_options(env_id))] * 2)
    env = VecNormalize(inner, norm_obs=bool(keys), norm_obs_keys=keys or None, gamma=1.0)
    plain = DummyVecEnv([Made(env_id, **small_options(env_id))] * 2)
    for one in (env, plain):
        one.seed(6)
    assert_same(env.reset().keys(), plain.reset().keys())
    totals, of_plain = np.zeros(2), np.zeros(2)
    for action in actions_of(gym.vector.utils.batch_space(env.action_space, 2), steps_of(env_id)):
        shown, rewards, *_ = env.step(action)
        expected, right, *_ = plain.step(action)
        assert_same(env.get_original_obs(), expected)
        assert_same(env.get_original_reward(), right)
        for key in shown.keys() - set(keys):
            assert_same(shown[key], expected[key])
        assert all(np.isfinite(shown[key]).all() and (np.abs(shown[key]) <= env.clip_obs).all() for key in keys)
        assert np.isfinite(rewards).all()
        totals, of_plain = totals + env.get_original_reward(), of_plain + right
    assert_same(totals, of_plain)
    if keys:
        assert not np.array_equal(shown["y"], expected["y"]) or not expected["y"].any()


@every_id
def test_evaluate_policy_scores_the_same_on_single_and_vector_envs(env_id):
    env = make(env_id, split="meta-test")
    model = PPO(MemorylessPolicy, env, n_steps=steps_of(env_id), batch_size=steps_of(env_id), seed=0, device="cpu")
    seed_env(env, 3)
    alone, _ = evaluate_policy(model, env, 2, return_episode_rewards=True, warn=False)
    vector = VecMonitor(DummyVecEnv([Made(env_id, split="meta-test", **small_options(env_id))]))
    vector.seed(3)
    together, lengths = evaluate_policy(model, vector, 2, return_episode_rewards=True)
    assert together == pytest.approx(alone, rel=1e-6, abs=1e-9)
    assert lengths == [steps_of(env_id), steps_of(env_id)]
    if not shows_images(env_id):
        assert all(returned < 0 for returned in alone)
    else:
        assert all(0 <= returned <= 1 for returned in alone)


@every_id
def test_stable_baselines3_trains_on_it(env_id):
    env = make_vec_env(env_id, 2, env_kwargs=small_options(env_id))
    model = PPO(
        MemorylessPolicy, env, n_steps=steps_of(env_id), batch_size=steps_of(env_id), n_epochs=1, seed=0, device="cpu"
    )
    before = [parameter.detach().clone() for parameter in model.policy.mlp_extractor.parameters()]
    model.learn(4 * steps_of(env_id))
    after = list(model.policy.mlp_extractor.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(model.ep_info_buffer) == 4
    assert {episode["l"] for episode in model.ep_info_buffer} == {steps_of(env_id)}


@every_id
def test_episode_statistics_are_the_sum_of_rewards(env_id):
    env = wrappers.RecordEpisodeStatistics(make(env_id))
    env.reset(seed=0)
    rewards = []
    for action in actions_of(env.action_space, steps_of(env_id)):
        _, reward, done, _, info = env.step(action)
        rewards.append(reward)
    assert done
    assert info["episode"]["r"] == pytest.approx(sum(rewards))
    assert info["episode"]["l"] == steps_of(env_id)
    assert {"loss", "task", "target"} < info.keys()


@every_id
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_episode_statistics_of_vector_envs_are_the_sums_of_rewards(env_id, mode):
    env = vector_wrappers.RecordEpisodeStatistics(make_vec(env_id, mode))
    env.reset(seed=0)
    totals = np.zeros(2)
    for number, action in enumerate(actions_of(env.action_space, 2 * steps_of(env_id) + 1)):
        _, rewards, done, _, info = env.step(action)
        totals += rewards
        if number in (steps_of(env_id) - 1, 2 * steps_of(env_id)):  # a step between two episodes begins the second one
            assert done.all()
            assert info["episode"]["r"] == pytest.approx(totals)
            assert info["episode"]["l"].tolist() == [steps_of(env_id), steps_of(env_id)]
            totals[:] = 0
        else:
            assert "episode" not in info
    assert len(env.return_queue) == 4


def frames_in(path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    show = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-s", "8x8", "-"]
    return len(subprocess.run(show, capture_output=True, check=True).stdout) / 64


@mostly_slow("FLPSine-Continual-v0")
def test_record_video_records_every_step(env_id, tmp_path):
    pytest.importorskip("moviepy", reason="gymnasium's RecordVideo needs the extra flp-envs[video]")
    env = wrappers.RecordVideo(make(env_id, render_mode="rgb_array"), str(tmp_path / "videos"), lambda _: True)
    env.reset(seed=0)
    for action in actions_of(env.action_space, steps_of(env_id)):
        env.step(action)
    env.close()
    (video,) = (tmp_path / "videos").iterdir()
    assert video.name == "rl-video-episode-0.mp4"
    assert frames_in(video) == steps_of(env_id) + 1


@pytest.mark.slow
@every_id
def test_record_video_records_vector_envs_that_render(env_id, tmp_path):
    pytest.importorskip("moviepy", reason="gymnasium's RecordVideo needs the extra flp-envs[video]")
    if not hasattr(vector_wrappers, "RecordVideo"):
        pytest.skip("this Gymnasium has RecordVideo for single envs only")
    inner = make_vec(env_id, "sync", render_mode="rgb_array")
    env = vector_wrappers.RecordVideo(inner, str(tmp_path / "videos"), episode_trigger=lambda _: True)
    env.reset(seed=0)
    for action in actions_of(env.action_space, steps_of(env_id)):
        env.step(action)
    env.close()
    (video,) = (tmp_path / "videos").iterdir()
    assert frames_in(video) >= steps_of(env_id)
    with pytest.raises(InvalidSize, match=r"does not render: use .*vectorization_mode='sync'"):
        make_vec(env_id, render_mode="rgb_array")


@every_id
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_vector_wrappers_change_what_they_are_to_change(env_id, mode):
    plain = make_vec(env_id, mode)
    actions = actions_of(plain.action_space, 2 * steps_of(env_id) + 1)

    def run_through(env):
        """Everything that a wrapped env gives over two episodes."""
        given = [(env.reset(seed=2)[0], None)]
        for action in actions:
            observation, reward, _, _, info = env.step(action)
            given.append((observation, reward, info))
        return given

    expected = run_through(plain)

    def rewards_of(given):
        return np.stack([row[1] for row in given[1:]])

    flat = run_through(vector_wrappers.FlattenObservation(make_vec(env_id, mode)))
    for (one, *_), (other, *_) in zip(flat, expected, strict=True):
        each = [{key: value[i] for key, value in other.items()} for i in (0, 1)]
        right = [gym.spaces.flatten(plain.single_observation_space, observation) for observation in each]
        np.testing.assert_array_equal(one, right)

    kept = run_through(vector_wrappers.FilterObservation(make_vec(env_id, mode), ["x", "phase"]))
    for (one, *_), (other, *_) in zip(kept, expected, strict=True):
        assert_same(one, {key: other[key] for key in ("x", "phase")})

    clipped = run_through(vector_wrappers.ClipReward(make_vec(env_id, mode), -0.1, 0.1))
    np.testing.assert_array_equal(rewards_of(clipped), np.clip(rewards_of(expected), -0.1, 0.1))

    tenfold = run_through(vector_wrappers.TransformReward(make_vec(env_id, mode), lambda reward: 10 * reward))
    np.testing.assert_array_equal(rewards_of(tenfold), 10 * rewards_of(expected))

    normalized = rewards_of(run_through(vector_wrappers.NormalizeReward(make_vec(env_id, mode))))
    assert np.isfinite(normalized).all()
    np.testing.assert_array_equal(np.sign(normalized), np.sign(rewards_of(expected)))

    listed = run_through(vector_wrappers.DictInfoToList(make_vec(env_id, mode)))
    for (_, _, one), (_, _, other) in zip(listed[1:], expected[1:], strict=True):
        assert len(one) == 2
        for i, told in enumerate(one):
            if other:
                assert told["loss"] == other["loss"][i]
                assert_same(told["target"], other["target"][i])

    numbers = vector_wrappers.TransformObservation(
        vector_wrappers.FilterObservation(make_vec(env_id, mode), ["x"]), lambda observation: observation
    )
    for (one, *_), (other, *_) in zip(run_through(numbers), expected, strict=True):
        assert_same(one, {"x": other["x"]})

    scaled = vector_wrappers.NormalizeObservation(vector_wrappers.FlattenObservation(make_vec(env_id, mode)))
    assert all(np.isfinite(one).all() for one, *_ in run_through(scaled))


@pytest.mark.parametrize("env_id", [i for i in ENV_IDS if i.startswith("FLPSine")])
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_vector_wrappers_of_actions_scale_and_clip_answers(env_id, mode):
    scaled = vector_wrappers.RescaleAction(make_vec(env_id, mode), np.float32(-1), np.float32(1))
    plain = make_vec(env_id, mode)
    for env in (scaled, plain):
        env.reset(seed=1)
    limit = plain.action_space.high
    half = np.full(plain.action_space.shape, 0.5, np.float32)
    np.testing.assert_allclose(scaled.step(half)[4]["loss"], plain.step(half * limit)[4]["loss"], rtol=1e-5)
    clipped = vector_wrappers.ClipAction(make_vec(env_id, mode))
    clipped.reset(seed=1)
    plain.reset(seed=1)
    np.testing.assert_allclose(clipped.step(limit * 2)[4]["loss"], plain.step(limit)[4]["loss"], rtol=1e-5)


@every_id
def test_single_wrappers_change_what_they_are_to_change(env_id):
    plain = make(env_id)
    observation, _ = plain.reset(seed=1)
    action = actions_of(plain.action_space, 1)[0]
    flat = wrappers.FlattenObservation(make(env_id))
    given, _ = flat.reset(seed=1)
    np.testing.assert_array_equal(given, gym.spaces.flatten(plain.observation_space, observation))
    assert given in flat.observation_space
    aware = wrappers.TimeAwareObservation(wrappers.TimeLimit(make(env_id), 4), flatten=False, dict_time_key="step")
    aware.reset(seed=1)
    results = [aware.step(action) for _ in range(4)]
    assert [int(np.ravel(result[0]["step"])[0]) for result in results] == [1, 2, 3, 4]
    assert [result[3] for result in results] == [False, False, False, True]
    stacked = wrappers.FrameStackObservation(make(env_id), 3)
    stacked.reset(seed=1)
    assert stacked.step(action)[0]["x"].shape == (3, *plain.observation_space["x"].shape)
    tenfold = wrappers.TransformReward(make(env_id), lambda reward: 10 * reward)
    tenfold.reset(seed=1)
    plain.reset(seed=1)
    rewards = [(tenfold.step(action)[1], plain.step(action)[1]) for _ in range(steps_of(env_id))]
    assert [a for a, _ in rewards] == [10 * b for _, b in rewards]
