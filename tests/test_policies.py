"""Policies of stable-baselines3 as learners: what they are shown, what they answer, and how they are kept."""

import base64
import json
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import small_options
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from flp_agents import GymAgent, build_learner, evaluate, get_preset, load_bundled, run_lifetime
from flp_agents.adapters.policies import FOLDER, PolicyLearner, find_policy, policy_names
from flp_agents.adapters.policy_networks import EpisodeFeatures, MemorylessPolicy, MemoryPolicy
from flp_agents.adapters.saved_policies import (
    DESCRIPTION,
    MODEL,
    PolicyDescription,
    PolicyError,
    load_policy,
    read_policy_description,
    save_policy,
)
from flp_agents.experiments.analysis import predictions_over_lifetime
from flp_agents.learners.objective import IncompatibleSpaces
from flp_agents.lifetime.inner_loop import inner_loop
from flp_agents.lifetime.running import EpisodeTensors
from flp_envs import ENV_IDS, FLPError, InvalidChoice, draw_episodes, seed_env

SINE, GLYPH = "FLPSine-Continual-v0", "FLPGlyph-IID-v0"
# The package's own policies; stable-baselines3's would need larger images.
OWN = {"ppo": (PPO, MemorylessPolicy, {}), "recurrent-ppo": (RecurrentPPO, MemoryPolicy, {"lstm_hidden_size": 8})}
STOCK = {
    "stock ppo": (PPO, "MultiInputPolicy", {"net_arch": [8]}),
    "stock recurrent-ppo": (RecurrentPPO, "MultiInputLstmPolicy", {"lstm_hidden_size": 8, "n_lstm_layers": 2}),
}
OF_IMAGES = {"channels": 4, "padding": 1, "hidden_widths": (16,), "initial_coefficient": 5e-4}
OF_NUMBERS = {"hidden_widths": (16, 16, 16), "initial_coefficient": 1.0, "coefficient_unit": 1e-3}


def make(env_id, **options):
    return gym.make(env_id, **small_options(env_id), **options)


def untrained(name, env):
    """A policy with random weights, large enough for answers to differ."""
    if name == "wrapped back":
        images = len(env.observation_space["x"].shape) == 3
        preset = get_preset("cpu", "flp", OF_IMAGES if images else OF_NUMBERS, kind="images" if images else "numbers")
        return GymAgent(build_learner("flp", env, preset, seed=1), env)
    algorithm, policy, settings = {**OWN, **STOCK}[name]
    model = algorithm(policy, env, n_steps=12, batch_size=12, seed=3, device="cpu", policy_kwargs=settings)
    with torch.no_grad():
        for part, factor in ((model.policy, 3.0), (model.policy.action_net, 100.0)):
            for parameter in part.parameters():
                parameter.mul_(factor)
    return model


every_policy = pytest.mark.parametrize("name", [*OWN, *STOCK, "wrapped back"])


def lived(policy, env, seed, episodes=1):
    """What stable-baselines3's own evaluation makes of an env: answers, losses, rewards, returns."""
    answers, losses, rewards = [], [], []

    def remember(of_loop, _):
        answers.append(of_loop["actions"][0].copy())
        losses.append(of_loop["info"]["loss"])
        rewards.append(of_loop["reward"])

    seed_env(env, seed)
    returns, _ = evaluate_policy(
        policy, env, n_eval_episodes=episodes, callback=remember, return_episode_rewards=True, warn=False
    )
    return np.stack(answers), np.array(losses), np.array(rewards), returns


def answers_of(learner, episode):
    """A learner's answers to all steps of ``E`` episodes, as the env takes them, ``(E, T + Q, ...)``."""
    tensors, support = EpisodeTensors.of(learner, episode), []
    state = inner_loop(learner, learner.init(len(episode)), tensors.support_x, tensors.support_y, support.append)
    both = torch.cat([torch.stack(support, 1), learner.predict_all(state, tensors.query_x)], 1)
    actions = learner.objective.actions(both).numpy()
    return actions if actions.dtype == np.int64 else actions.astype(np.float32)


class Remembers:
    """Answers how many lifetimes and steps it has seen, writes on its state, and keeps all that it is shown."""

    def __init__(self, env):
        self.shape, self.shown = env.action_space.shape, []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        self.shown.append({key: value.copy() for key, value in observation.items()} | {"start": episode_start.copy()})
        state = [] if episode_start.any() else state
        state.append(float(np.sum(observation["y"])))
        number = len(state) % 3 if not self.shape else sum(state) / 8
        return np.full((1, *self.shape), number, np.float32 if self.shape else np.int64), state


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        *[(env_id, name) for env_id in (SINE, "FLPSine-IID-v0") for name in (*OWN, *STOCK, "wrapped back")],
        *[(GLYPH, name) for name in (*OWN, "wrapped back")],  # stock convolutions need images of 36 pixels
    ],
)
def test_every_answer_and_loss_is_that_of_the_environment_to_every_digit(env_id, name):
    env = make(env_id, split="meta-test")
    policy = untrained(name, env)
    answers, losses, rewards, returns = lived(policy, env, 5)
    learner = PolicyLearner(policy, env)
    seed_env(env, 5)
    episode = draw_episodes(env, 1)
    mine = answers_of(learner, episode)[0]
    np.testing.assert_array_equal(mine if env_id != GLYPH else mine[:, 0], answers)
    assert len(np.unique(answers)) > 1
    scoring = env.unwrapped.task.scoring
    targets = np.concatenate([episode.support_y, episode.query_y], 1)[0]
    if env_id == GLYPH:
        mine, targets = mine[:, 0], targets[:, 0]
    np.testing.assert_array_equal(scoring.losses(mine, targets), losses)
    of_query = np.float32(scoring.rewards(scoring.losses(mine[6:], targets[6:]), 6))  # DummyVecEnv rounds so
    np.testing.assert_array_equal(of_query, rewards[6:])
    assert sum(of_query.astype(float)) == returns[0]
    lifetime = run_lifetime(learner, episode)
    assert learner.objective.score_of_return(returns[0]) == pytest.approx(lifetime.query_score.item(), rel=1e-5)


def test_a_bundled_learner_wrapped_back_scores_what_it_scores():
    options = {"num_functions": 10, "steps_per_function": 3}
    env = gym.make(SINE, split="meta-test", **options)
    learner = load_bundled("flp-2-sine-continual")
    agent = GymAgent(learner, env)
    answers, *_ = lived(agent, env, 1)
    wrapped = PolicyLearner(agent, env)
    seed_env(env, 1)
    np.testing.assert_array_equal(answers_of(wrapped, draw_episodes(env, 1))[0], answers)
    results = [evaluate(one, env, episodes=2, seed=1).scores for one in (learner, wrapped)]
    np.testing.assert_allclose(*results, rtol=1e-4)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_it_is_shown_what_the_environment_shows(env_id):
    env = make(env_id)
    in_env, alone = Remembers(env), Remembers(env)
    answers, *_ = lived(in_env, env, 2, episodes=2)
    seed_env(env, 2)
    mine = [answers_of(PolicyLearner(alone, env), draw_episodes(env, 1))[0] for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate(mine).reshape(answers.shape), answers)
    assert len(in_env.shown) == len(alone.shown) == 24
    for one, other in zip(in_env.shown, alone.shown, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key, strict=True)
    assert [shown["start"].tolist() for shown in alone.shown] == 2 * ([[True]] + 11 * [[False]])


@every_policy
def test_lifetimes_in_a_batch_answer_as_they_do_alone(name):
    env = make(SINE)
    learner = PolicyLearner(untrained(name, env), env)
    episodes = env.unwrapped.task.sample(np.random.default_rng(0), 3)
    together = answers_of(learner, episodes)
    for i in range(3):
        np.testing.assert_array_equal(together[i], answers_of(learner, episodes[i : i + 1])[0])
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("name", ["recurrent-ppo", "stock recurrent-ppo", "wrapped back", "writes on its state"])
def test_a_query_in_the_middle_leaves_a_lifetime_as_it_was(name):
    env = make(SINE)
    learner = PolicyLearner(Remembers(env) if name == "writes on its state" else untrained(name, env), env)
    episode = env.unwrapped.task.sample(np.random.default_rng(0), 2)
    asked_often = predictions_over_lifetime(learner, episode, [0, 1, 3, 3, 6])
    asked_once = [predictions_over_lifetime(learner, episode, [at])[0] for at in (0, 1, 3, 3, 6)]
    np.testing.assert_array_equal(asked_often, asked_once)
    assert not np.array_equal(asked_often[0], asked_often[4])


def test_a_recurrent_policy_remembers_and_the_other_does_not():
    env = make(SINE)
    episode = env.unwrapped.task.sample(np.random.default_rng(0), 1)
    for name, remembers in (("ppo", False), ("recurrent-ppo", True)):
        learner = PolicyLearner(untrained(name, env), env)
        answers = predictions_over_lifetime(learner, episode, [4, 6])
        # The first query step alone shows a target, which even a policy without memory sees.
        assert np.array_equal(answers[0][:, 1:], answers[1][:, 1:]) is not remembers


def test_each_lifetime_is_told_its_own_target():
    env = make(SINE)
    policy = Remembers(env)
    learner = PolicyLearner(policy, env)
    x, y = torch.zeros(3, 4, 4), torch.arange(12.0).reshape(3, 4, 1)
    state = learner.update(learner.init(3), y)  # nothing was answered: there is nothing to be told of
    state = learner.predict(state, x)[1]
    assert [shown["has_target"].tolist() for shown in policy.shown] == [[0], [0], [0]]
    told = learner.update_where(torch.tensor([True, False, True]), state, y)
    mixed = learner.choose(torch.tensor([True, True, False]), told, state)
    policy.shown.clear()
    learner.predict(mixed, x)
    assert [shown["has_target"].tolist() for shown in policy.shown] == [[1], [0], [0]]
    np.testing.assert_array_equal(policy.shown[0]["y"], y[:1].numpy())
    assert not policy.shown[2]["y"].any()


def test_what_is_no_answer_is_refused():
    class Answers:
        def __init__(self, answer):
            self.answer = answer

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return self.answer, None

    for env_id, wrong, message in (
        (SINE, np.zeros((4, 1), np.float32), r"expected numbers of shape \(1, 4, 1\), got \(4, 1\) float32"),
        (SINE, None, r"expected numbers of shape \(1, 4, 1\), got \(\) object"),
        (GLYPH, np.array([0.5]), r"expected labels, whole numbers, of shape \(1,\), got \(1,\) float64"),
        (GLYPH, np.array([3]), "expected a label below 3, got 3"),
        (GLYPH, np.array([-1]), "expected a label below 3, got -1"),
    ):
        env = make(env_id)
        learner = PolicyLearner(Answers(wrong), env)
        with pytest.raises(FLPError, match=f"Answers.predict: {message}$"):
            run_lifetime(learner, env.unwrapped.task.sample(np.random.default_rng(0), 1))


def test_an_environment_that_a_policy_was_not_made_for_is_refused():
    env = make(SINE)
    learner = PolicyLearner(untrained("ppo", env), env)
    assert learner.adapt_to(make("FLPSine-IID-v0")) is learner
    with pytest.raises(
        IncompatibleSpaces, match=r"was made for an observation space Dict.*use the env options"
    ) as caught:
        learner.adapt_to(gym.make(SINE))
    assert "\n" not in str(caught.value)
    with pytest.raises(IncompatibleSpaces, match="expected an observation space with x"):
        PolicyLearner(untrained("ppo", env), gym.make("CartPole-v1"))
    # One that says nothing of its spaces is taken at its word.
    asked = PolicyLearner(Remembers(env), env).adapt_to(gym.make(SINE))
    assert asked.init(1)
    assert asked.policy.shape == (4, 1)


def description(**changes):
    about = {"algorithm": "ppo", "env": SINE, "env_options": {}, "train_options": {}, "env_steps": 12, "seed": 3}
    return PolicyDescription(
        **{**about, "settings": {}, "command": "", "cost_seconds": 1.0, "threads": 1, "versions": {}, **changes}
    )


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("env_id", [SINE, GLYPH])
def test_a_saved_policy_answers_as_before(env_id, name, tmp_path):
    env = make(env_id)
    model = untrained(name, env)
    model.learn(24)
    episode = env.unwrapped.task.sample(np.random.default_rng(0), 1)
    before = answers_of(PolicyLearner(model, env), episode)
    save_policy(tmp_path / "a", model, description(algorithm=name, env=env_id))
    loaded = load_policy(tmp_path / "a")
    assert type(loaded.model) is type(model)
    np.testing.assert_array_equal(answers_of(PolicyLearner(loaded.model, env), episode), before)
    assert loaded.trained_on == {"env": env_id, "env_options": {}, "split": "meta-train", "seed": 3}
    with zipfile.ZipFile(tmp_path / "a" / MODEL) as archive:  # without the moments of training
        assert archive.getinfo("policy.optimizer.pth").file_size < 5_000 < archive.getinfo("policy.pth").file_size
        assert not {"_last_obs", "ep_info_buffer"} & json.loads(archive.read("data")).keys()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {MODEL, DESCRIPTION}
    loaded.model.set_env(env)
    loaded.model.learn(24)  # it can be trained further
    # stable-baselines3 itself reads it as well.
    own = OWN[name][0].load(tmp_path / "a" / MODEL, device="cpu")
    np.testing.assert_array_equal(answers_of(PolicyLearner(own, env), episode), before)


def test_a_policy_in_half_precision_answers_as_the_model_that_was_rounded(tmp_path):
    model = untrained("recurrent-ppo", make(SINE))
    episode = make(SINE).unwrapped.task.sample(np.random.default_rng(0), 1)
    exact = answers_of(PolicyLearner(model, make(SINE)), episode)
    save_policy(tmp_path / "whole", model, description(algorithm="recurrent-ppo", env=SINE))
    save_policy(tmp_path / "half", model, description(algorithm="recurrent-ppo", env=SINE), half=True)
    whole, half = ((tmp_path / name / MODEL).stat().st_size for name in ("whole", "half"))
    assert half < whole
    rounded = answers_of(PolicyLearner(model, make(SINE)), episode)
    np.testing.assert_allclose(rounded, exact, atol=0.01)
    assert not np.array_equal(rounded, exact)
    loaded = load_policy(tmp_path / "half").model
    np.testing.assert_array_equal(answers_of(PolicyLearner(loaded, make(SINE)), episode), rounded)
    assert {parameter.dtype for parameter in loaded.policy.parameters()} == {torch.float32}


def test_what_is_damaged_is_refused_in_one_line(tmp_path):
    save_policy(tmp_path, untrained("ppo", make(SINE)), description())
    good = (tmp_path / DESCRIPTION).read_text(encoding="utf-8")

    def fails(message):
        with pytest.raises(FLPError, match=message) as caught:
            load_policy(tmp_path)
        assert "\n" not in str(caught.value)

    (tmp_path / DESCRIPTION).write_text(json.dumps({**json.loads(good), "format_version": 2}), encoding="utf-8")
    fails("has format version 2, this version reads 1")
    (tmp_path / DESCRIPTION).write_text(
        json.dumps({k: v for k, v in json.loads(good).items() if k != "seed"}), encoding="utf-8"
    )
    fails("lacks 'seed'")
    (tmp_path / DESCRIPTION).write_text(json.dumps({**json.loads(good), "algorithm": "ppp"}), encoding="utf-8")
    fails("unknown algorithm 'ppp': did you mean 'ppo'")
    (tmp_path / DESCRIPTION).write_text(good[:40], encoding="utf-8")
    fails("is truncated or not JSON")
    (tmp_path / DESCRIPTION).write_text(good, encoding="utf-8")
    model = (tmp_path / MODEL).read_bytes()
    (tmp_path / MODEL).write_bytes(model[:-1])
    fails("its SHA-256 does not match")
    (tmp_path / MODEL).unlink()
    fails("cannot read .*model.zip")
    (tmp_path / DESCRIPTION).unlink()
    fails("no policy at .*as flp train-sb3 writes")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(PolicyError, match="cannot write a policy to"):
        save_policy(tmp_path / "file" / "x", untrained("ppo", make(SINE)), description())


@pytest.mark.parametrize("env_id", ["FLPSine-IID-v0", SINE])
@pytest.mark.parametrize("name", policy_names())
def test_bundled_policies_live(name, env_id):
    found = find_policy(name, env_id)
    assert (found.about.algorithm, found.about.env, found.about.split) == (name, env_id, "meta-train")
    env = gym.make(env_id, split="meta-test")
    seed_env(env, 0)
    score = run_lifetime(PolicyLearner(found.model, env), draw_episodes(env, 1)).query_score.item()
    # Around the 3.0 that answering the mean of all functions scores; answering 0 scores 4.25.
    assert 0 < score < 8
    assert found.about.result["split"] == "meta-test"
    assert found.origin["policy_command"].startswith(f"flp train-sb3 --algorithm {name} --env {env_id}")


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["FLPSine-IID-v0", SINE])
@pytest.mark.parametrize("name", policy_names())
def test_bundled_policies_score_what_is_written_beside_them(name, env_id):
    found = find_policy(name, env_id)
    env, result = gym.make(env_id, split="meta-test"), found.about.result
    again = evaluate(PolicyLearner(found.model, env), env, episodes=result["episodes"], seed=result["seed"])
    assert again.mean == pytest.approx(result["mean"], rel=1e-4)
    assert again.standard_error == pytest.approx(result["standard_error"], rel=1e-3)


def test_bundled_policies_are_small_and_tell_nothing_of_where_they_were_made():
    folders = sorted(path.parent for path in FOLDER.glob(f"*/{DESCRIPTION}"))
    assert len(folders) == 4
    for folder in folders:
        assert (folder / MODEL).stat().st_size < 1_000_000
        told = [(folder / DESCRIPTION).read_bytes()]
        with zipfile.ZipFile(folder / MODEL) as archive:
            for entry in archive.namelist():
                told.append(archive.read(entry))
            for value in json.loads(archive.read("data")).values():
                if isinstance(value, dict) and ":serialized:" in value:
                    told.append(base64.b64decode(value[":serialized:"]))
        for part in told:
            assert b"site-packages" not in part
            assert b"/flp_agents/" not in part
        assert folder.name == f"{read_policy_description(folder).algorithm}-sine-" + folder.name.rsplit("-", 1)[1]


def test_the_docs_say_what_the_bundled_policies_score():
    docs = (FOLDER.parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    for path in FOLDER.glob(f"*/{DESCRIPTION}"):
        about = read_policy_description(path.parent)
        short = about.train_options["steps_per_function"]
        options = f"{short} | {round(about.env_steps, -5):,}"
        score = f"{about.result['mean']:.2f} ({about.result['standard_error']:.2f})"
        assert f"| {about.algorithm} | `{about.env}` | {options} | {score} |" in docs


def test_a_policy_that_is_not_there_is_missed_with_a_remedy():
    with pytest.raises(InvalidChoice, match="unknown policy 'recurrent_ppo': did you mean 'recurrent-ppo'"):
        find_policy("recurrent_ppo", SINE)
    with pytest.raises(FLPError, match=f"no bundled policy of ppo for {GLYPH}: train one with flp train-sb3"):
        find_policy("ppo", GLYPH)


@pytest.mark.parametrize("name", OWN)
def test_every_pair_is_answered_alike(name):
    env = make(SINE)
    model = untrained(name, env)
    observation, _ = env.reset(seed=0)
    order = np.array([2, 0, 3, 1])
    answer, _ = model.predict(observation, deterministic=True)
    assert len(np.unique(answer)) == 4
    if name == "ppo":  # a recurrent policy's memory sees the pairs in their order
        mixed, _ = model.predict({**observation, "x": observation["x"][order]}, deterministic=True)
        np.testing.assert_allclose(mixed, answer[order], rtol=1e-5)
    observation["x"][1] = observation["x"][0]
    answer, _ = model.predict(observation, deterministic=True)
    np.testing.assert_allclose(answer[1], answer[0], rtol=1e-5)


@pytest.mark.parametrize("starts", [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]])
def test_a_sequence_at_once_is_the_sequence_step_by_step(starts):
    env = make(SINE)
    policy = untrained("recurrent-ppo", env).policy
    features = torch.randn(2 * 6, policy.features_dim, generator=torch.Generator().manual_seed(0))
    begun = torch.tensor([starts, [0.0] * 6]).flatten()
    states = tuple(torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    together, last = policy._process_sequence(features, states, begun, policy.lstm_actor)
    outputs = []
    for step in range(6):
        now = features.reshape(2, 6, -1)[:, step]
        output, states = policy._process_sequence(now, states, begun.reshape(2, 6)[:, step], policy.lstm_actor)
        outputs.append(output)
    torch.testing.assert_close(together, torch.stack(outputs, 1).flatten(0, 1))
    torch.testing.assert_close(last, states)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_features_are_what_is_told_then_the_inputs(env_id):
    env = make(env_id)
    features = EpisodeFeatures(env.observation_space)
    observation = env.reset(seed=0)[0]
    for _ in range(2):
        observation = env.step(env.action_space.sample() * 0)[0]
    policy = untrained("ppo", env).policy
    tensors, _ = policy.obs_to_tensor({**observation, "has_target": np.int64(1), "phase": np.int64(0)})
    row = policy.extract_features(tensors)[0]
    assert row.shape == (features.first + features.pairs * features.inputs,)
    assert row[features.first - 4 : features.first].tolist() == [0, 1, 1, 0]
    if env_id.startswith("FLPSine"):
        expected = observation["x"] / [1, 1, 1, 5]
        np.testing.assert_allclose(row[features.first :].reshape(4, 4).detach(), expected, rtol=1e-6)
        assert features.first == 4 + 4
    else:
        assert features.first == 3 + 4
        assert features.pairs == 1
