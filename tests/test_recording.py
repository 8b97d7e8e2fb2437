"""Recording any env that speaks the protocol."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from conftest import SMALL_SINE as SMALL
from conftest import shows_images, small_options

from flp_envs import (
    ENV_IDS,
    Episode,
    OnlineLearningEnv,
    ProtocolError,
    SineTask,
    draw_episodes,
    record_episode,
    seed_env,
)

IMAGE_IDS = [env_id for env_id in ENV_IDS if shows_images(env_id)]


class DoubledInputs(gym.ObservationWrapper):
    """Somebody's wrapper: shows every input doubled."""

    def observation(self, observation):
        return {**observation, "x": observation["x"] * 2}


class Inverted(gym.ObservationWrapper):
    """Somebody's wrapper: shows every image as its negative."""

    def observation(self, observation):
        return {**observation, "x": 255 - observation["x"]}


class Flattened(gym.ObservationWrapper):
    """Somebody's wrapper: shows every image as a row of numbers from 0 to 1."""

    def __init__(self, env):
        super().__init__(env)
        pixels = int(np.prod(env.observation_space["x"].shape))
        x = gym.spaces.Box(0.0, 1.0, (pixels,), np.float32)
        self.observation_space = gym.spaces.Dict({**env.observation_space.spaces, "x": x})

    def observation(self, observation):
        return {**observation, "x": (observation["x"].reshape(-1) / 255).astype(np.float32)}


def assert_equal(a: Episode, b: Episode):
    for field in dataclasses.fields(Episode):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)
        assert getattr(a, field.name).dtype == getattr(b, field.name).dtype, field.name


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_recording_is_sampling(env_id):
    env = gym.make(env_id, **small_options(env_id))
    seed_env(env, 4)
    recorded = Episode.stack([record_episode(env), record_episode(env)])
    seed_env(env, 4)
    assert_equal(recorded, draw_episodes(env, 2))
    rng, _ = gym.utils.seeding.np_random(4)
    assert_equal(recorded, env.unwrapped.task.sample(rng, 2))


@pytest.mark.parametrize("env_id", IMAGE_IDS)
def test_a_wrapper_of_images_is_recorded_as_it_shows_them(env_id):
    plain, inverted, flattened = (gym.make(env_id, **small_options(env_id)) for _ in range(3))
    inverted, flattened = Inverted(inverted), Flattened(flattened)
    for env in (plain, inverted, flattened):
        seed_env(env, 1)
    sampled, negative, rows = (draw_episodes(env, 2) for env in (plain, inverted, flattened))
    assert_equal(
        negative, dataclasses.replace(sampled, support_x=255 - sampled.support_x, query_x=255 - sampled.query_x)
    )
    assert rows.support_x.shape == (2, 6, 1, sampled.support_x[0, 0, 0].size)
    flat = {name: getattr(sampled, name).reshape(2, 6, 1, -1) / np.float32(255) for name in ("support_x", "query_x")}
    assert_equal(rows, dataclasses.replace(sampled, **flat))


def test_a_recorded_image_is_a_copy():
    class Reusing(gym.ObservationWrapper):
        """Somebody's wrapper: shows every image in the same array."""

        def observation(self, observation):
            self.array = getattr(self, "array", np.zeros_like(observation["x"]))
            self.array[...] = observation["x"]
            return {**observation, "x": self.array}

    envs = [gym.make("FLPOmniglot-IID-v0", **small_options("FLPOmniglot")) for _ in range(2)]
    envs[1] = Reusing(envs[1])
    for env in envs:
        seed_env(env, 3)
    assert_equal(*(draw_episodes(env, 1) for env in envs))


def test_a_wrapper_is_recorded_as_it_shows_things():
    plain, wrapped = (gym.make("FLPSine-Continual-v0", **SMALL) for _ in range(2))
    wrapped = DoubledInputs(wrapped)
    seed_env(plain, 1)
    seed_env(wrapped, 1)
    a, b = draw_episodes(plain, 2), draw_episodes(wrapped, 2)
    np.testing.assert_array_equal(a.support_x * 2, b.support_x)
    np.testing.assert_array_equal(a.query_x * 2, b.query_x)
    np.testing.assert_array_equal(a.support_y, b.support_y)
    np.testing.assert_array_equal(a.query_y, b.query_y)


def test_a_subclass_is_recorded_as_it_shows_things():
    class Halved(OnlineLearningEnv):
        def _observe(self, stream):
            observation = super()._observe(stream)
            return {**observation, "x": observation["x"] / 2}

    env = Halved(SineTask(**SMALL))
    seed_env(env, 0)
    episode = draw_episodes(env, 1)
    np.testing.assert_array_equal(episode.support_x[..., :3].max(-1), 0.5)


class Foreign(gym.Env):
    """Somebody's env: speaks the protocol, and seeds itself when reset."""

    observation_space = gym.make("FLPSine-Continual-v0", **SMALL).observation_space
    action_space = gym.make("FLPSine-Continual-v0", **SMALL).action_space

    def __init__(self):
        self.inner = OnlineLearningEnv(SineTask(**SMALL))

    def reset(self, *, seed=None, options=None):
        return self.inner.reset(seed=seed)

    def step(self, action):
        return self.inner.step(action)


def test_an_env_of_another_package_is_seeded_too():
    env = Foreign()
    episodes = []
    for seed in (3, 3, 4):
        seed_env(env, seed)
        episodes.append(draw_episodes(env, 1))
    assert_equal(episodes[0], episodes[1])
    assert (episodes[0].support_y != episodes[2].support_y).any()


def test_a_vector_env_is_refused():
    with pytest.raises(ProtocolError, match="expected a single env"):
        seed_env(gym.make_vec("FLPSine-Continual-v0", 2), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: gym.wrappers.TransformObservation(e, lambda o: o["x"], None), "expected observations to be a dict"),
        (lambda e: gym.wrappers.TimeLimit(e, 3), "it was truncated"),
    ],
)
def test_an_env_that_does_not_speak_the_protocol_is_refused(change, message):
    env = change(gym.make("FLPSine-Continual-v0", disable_env_checker=True, **SMALL))
    with pytest.raises(ProtocolError, match=message):
        draw_episodes(env, 1)


def test_an_env_without_query_targets_is_refused():
    class Silent(gym.Wrapper):
        def step(self, action):
            *rest, _info = self.env.step(action)
            return *rest, {}

    with pytest.raises(ProtocolError, match=r'expected info\["target"\]'):
        draw_episodes(Silent(gym.make("FLPSine-Continual-v0", **SMALL)), 1)
