"""stable-baselines3's own policies on every id, and the wrappers that docs/policies.md says work with them."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import small_options
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from flp_agents.adapters.policy_networks import EpisodeFeatures
from flp_agents.cli.main import main
from flp_agents.learners.objective import IncompatibleSpaces
from flp_envs import ENV_IDS, InvalidSize, SineTask, make, record_episode

QUICK = ("FLPSine-Continual-v0", "FLPGlyph-IID-v0")
ids = pytest.mark.parametrize(
    "env_id", [pytest.param(i, marks=[] if i in QUICK else [pytest.mark.slow]) for i in ENV_IDS]
)
STEPS = 12  # 6 of support, 6 of query


def made(env_id, wrap=lambda env: env, **options):
    return wrap(gym.make(env_id, **small_options(env_id), **options))


def trains(policy, env, **policy_kwargs):
    """Whether a rollout and an update change a policy's features, or its network where it has none."""
    model = PPO(policy, env, n_steps=STEPS, batch_size=STEPS, n_epochs=1, device="cpu", policy_kwargs=policy_kwargs)
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(STEPS)
    after = list(model.policy.parameters())
    return any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


@ids
def test_our_features_work_in_stock_policies(env_id):
    assert trains("MultiInputPolicy", made(env_id), features_extractor_class=EpisodeFeatures)


@ids
def test_flat_observations_work_in_stock_policies_also_stacked(env_id):
    flat = made(env_id, wrappers.FlattenObservation)
    assert trains("MlpPolicy", VecNormalize(DummyVecEnv([lambda: flat])))
    stacked = made(env_id, lambda env: wrappers.FrameStackObservation(wrappers.FlattenObservation(env), 3))
    assert stacked.observation_space.shape == (3, *flat.observation_space.shape)
    assert trains("MlpPolicy", stacked)
    assert trains("MlpPolicy", VecFrameStack(DummyVecEnv([lambda: flat]), 3))


@ids
def test_stacked_observations_that_are_not_flat_are_refused_with_a_remedy(env_id):
    stacked = wrappers.FrameStackObservation(made(env_id), 3)
    with pytest.raises(IncompatibleSpaces, match="flatten observations before they are stacked, and use MlpPolicy"):
        EpisodeFeatures(stacked.observation_space)
    with pytest.raises(IncompatibleSpaces, match="for flat observations, use MlpPolicy"):
        EpisodeFeatures(wrappers.FlattenObservation(made(env_id)).observation_space)


@ids
def test_the_time_is_known_and_told(env_id):
    env = wrappers.TimeAwareObservation(made(env_id), flatten=False, normalize_time=True)
    assert env.spec.max_episode_steps == env.max_timesteps == STEPS
    env.reset(seed=0)
    times, done = [], False
    while not done:
        observation, _, done, truncated, _ = env.step(env.action_space.sample())
        times.append(float(observation["time"][0]))
        assert not truncated
    assert times == pytest.approx([step / STEPS for step in range(1, STEPS + 1)])
    assert EpisodeFeatures(env.observation_space).first == EpisodeFeatures(made(env_id).observation_space).first + 1
    assert trains("MultiInputPolicy", env, features_extractor_class=EpisodeFeatures)


@ids
def test_lifetimes_are_never_truncated_before_they_end(env_id):
    def flags(env):
        env.reset(seed=0)
        ended = [(False, False)]
        while not any(ended[-1]):
            ended.append(env.step(env.action_space.sample())[2:4])
        return ended[1:]

    env = made(env_id)
    assert flags(env) == [(False, False)] * (STEPS - 1) + [(True, False)]
    assert flags(wrappers.TimeLimit(env, STEPS + 1)) == flags(env)
    # An env that is made from another's spec has a limit: it is reached when the lifetime ends.
    again = gym.make(env.spec)
    assert flags(again) == [(False, False)] * (STEPS - 1) + [(True, True)]
    assert again.spec.max_episode_steps == STEPS
    episode = record_episode(again)
    assert episode.support_steps + episode.query_steps == STEPS
    # Ended too early, nothing is rewarded.
    assert flags(wrappers.TimeLimit(env, 3)) == [(False, False)] * 2 + [(False, True)]


def test_the_length_follows_the_options_and_leaves_the_registration_alone():
    env = gym.make(QUICK[0], num_functions=2, steps_per_function=5)
    task = SineTask(num_functions=2, steps_per_function=5)
    assert env.spec.max_episode_steps == env.unwrapped.spec.max_episode_steps == 10 + task.query_steps
    assert gym.spec(QUICK[0]).max_episode_steps is None
    check_env(env.unwrapped, skip_render_check=True)
    many = gym.make_vec(env.spec, num_envs=2, vectorization_mode="vector_entry_point")
    assert many.reset(seed=0)[0]["x"].shape[0] == 2
    with pytest.raises(InvalidSize, match=r"lifetimes have 12 steps with these options, got max_episode_steps=3"):
        gym.make_vec(QUICK[0], 2, vectorization_mode="vector_entry_point", max_episode_steps=3, **env.spec.kwargs)


@pytest.mark.parametrize(
    "env_id", [QUICK[1], *(pytest.param(f"{family}-IID-v0", marks=pytest.mark.slow) for family in ("FLPMiniImageNet",))]
)
def test_train_sb3_works_on_images(env_id, tmp_path, capsys):
    options = [f"--env-option={name}={value}" for name, value in small_options(env_id).items()]
    command = ["train-sb3", "--algorithm=ppo", f"--env={env_id}", *options, "--env-steps=8", "--test-episodes=2"]
    assert main([*command, f"--output={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "model.zip").exists()
    assert "meta-val" in capsys.readouterr().out


def test_images_of_any_size_become_features():
    for size in (8, 28, 84):
        env = make("FLPGlyph-IID-v0", image_size=size, **small_options("FLPGlyph-IID-v0"))
        features = EpisodeFeatures(env.observation_space)
        shown = {"x": np.zeros((2, 1, size, size)), "y": np.eye(3)[:2], "has_target": np.eye(2), "phase": np.eye(2)}
        out = features({key: torch.as_tensor(value, dtype=torch.float32) for key, value in shown.items()})
        assert out.shape == (2, features.features_dim)
