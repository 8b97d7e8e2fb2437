"""What holds for every baseline: it learns, and keeps the rules of the protocol."""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import SMALL_SINE, small_options
from stable_baselines3.common.evaluation import evaluate_policy

import flp_envs
from flp_agents import GymAgent, Learner, MetaTrainer, evaluate, run_lifetime
from flp_agents.baselines.baseline import NotMetaTrained
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned import TUNED, tuned_for
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.learners.objective import IncompatibleSpaces
from flp_agents.lifetime.inner_loop import inner_loop
from flp_agents.lifetime.running import EpisodeTensors
from flp_envs import Episode, FLPError, InvalidChoice, draw_episodes, seed_env

ROOT = Path(__file__).parent.parent
META_TRAINED = [name for name in BASELINES if name.endswith("meta-trained")]
BORN_HERE = [name for name in BASELINES if name not in META_TRAINED]
DRAWS_NOTHING = {"nearest-neighbour", "kernel", *META_TRAINED}
SINE, GLYPH = "FLPSine-IID-v0", "FLPGlyph-IID-v0"


def small_env(env_id, **options):
    return flp_envs.make(env_id, **{**small_options(env_id), **options})


def places(name):
    """Environments, with short lifetimes where the learner can live in them."""
    if name in META_TRAINED:
        return [flp_envs.make("FLPSine-Continual-v0", steps_per_function=1)]
    return [small_env(SINE), small_env(GLYPH)]


def lived(learner, episode):
    """Predictions of the support, each before its target is seen, and of the query."""
    tensors = EpisodeTensors.of(learner, episode)
    answers = []
    with torch.no_grad():
        support, query = learner.encode(tensors.support_x), learner.encode(tensors.query_x)
        state = inner_loop(learner, learner.init(len(episode)), support, tensors.support_y, answers.append)
        return torch.stack(answers, 1), learner.predict_all(state, query)


@pytest.mark.parametrize("name", BASELINES)
def test_it_answers_better_after_learning_than_nobody_would(name):
    """Who answers 0, by more than four standard errors."""
    if name in META_TRAINED:
        env, episodes = flp_envs.make("FLPSine-Continual-v0", steps_per_function=5), 12
    else:
        env, episodes = flp_envs.make(SINE, num_functions=2, steps_per_function=100), 6
    learner = build_baseline(name, env, 0)
    result = evaluate(learner, env, episodes=episodes, seed=1)
    seed_env(env, 1)
    nothing = np.square(draw_episodes(env, episodes).query_y).mean((1, 2, 3))
    gained = nothing - result.scores
    assert gained.mean() > 4 * gained.std(ddof=1) / episodes**0.5


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in ("experience-replay", "joint-training"))) for n in BORN_HERE],
)
def test_it_labels_glyphs_better_than_chance(name):
    """By four standard errors. Random feedback needs more than five images of a class: two classes, 60 of each."""
    slow = name.endswith("feedback-alignment")
    options = {"num_classes": 2, "shots": 60} if slow else {}
    env = flp_envs.make(GLYPH, **options)
    result = evaluate(build_baseline(name, env, 0), env, episodes=16 if slow else 32, seed=1)
    assert result.mean < 100 * (1 - 1 / env.action_space.n) - 4 * result.standard_error


@pytest.mark.parametrize("name", BASELINES)
def test_lifetimes_alone_and_in_a_batch_answer_the_same(name):
    for env in places(name):
        learner = build_baseline(name, env, 3).to(torch.float64)
        seed_env(env, 0)
        episode = draw_episodes(env, 4)
        together = lived(learner, episode)
        assert all(answers.dtype == torch.float64 for answers in together)
        for i in range(4):
            for alone, beside in zip(lived(learner, episode[i : i + 1]), together, strict=True):
                # Ridge regression magnifies rounding errors, on some processors more than on others.
                torch.testing.assert_close(alone[0], beside[i], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", BASELINES)
def test_the_seed_alone_decides_what_is_drawn(name):
    for env in places(name):
        seed_env(env, 0)
        episode = draw_episodes(env, 2)
        outcomes = []
        for global_seed, seed in ((1, 3), (2, 3), (2, 4)):
            torch.manual_seed(global_seed)
            np.random.seed(global_seed)
            outcomes.append(lived(build_baseline(name, env, seed), episode))
        for first, again, other in zip(*outcomes, strict=True):
            assert torch.equal(first, again)
            assert torch.equal(first, other) == (name in DRAWS_NOTHING)


@pytest.mark.parametrize("name", BASELINES)
def test_answers_do_not_depend_on_what_comes_later(name):
    for env in places(name):
        learner = build_baseline(name, env, 0).double()
        seed_env(env, 0)
        episode, other = draw_episodes(env, 1), draw_episodes(env, 1)
        half = episode.support_steps // 2
        x, y = episode.support_x.copy(), episode.support_y.copy()
        x[:, half + 1 :], y[:, half:] = other.support_x[:, half + 1 :], other.support_y[:, half:]
        changed = Episode(x, y, episode.support_task, episode.query_x, episode.query_y, episode.query_task)
        (before, query), (after, query_after) = lived(learner, episode), lived(learner, changed)
        torch.testing.assert_close(before[:, : half + 1], after[:, : half + 1], rtol=1e-12, atol=1e-14)
        assert not torch.allclose(query, query_after)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "joint-training"])
def test_it_lives_in_envs_as_in_evaluate(name):
    env = places(name)[0]
    learner = build_baseline(name, env, 0).double()
    expected = evaluate(learner, env, episodes=2, seed=5).mean
    seed_env(env, 5)
    mean, _ = evaluate_policy(GymAgent(learner, env), env, n_eval_episodes=2, warn=False)
    assert mean == pytest.approx(-expected, rel=1e-5)


@pytest.mark.parametrize("name", BORN_HERE)
def test_in_a_vector_env_one_lifetime_begins_anew_and_the_others_go_on(name):
    vector = gym.make_vec(SINE, num_envs=2, **SMALL_SINE)
    learner = build_baseline(name, small_env(SINE), 0).double()
    agent = GymAgent(learner, vector)
    observation, _ = vector.reset(seed=5)
    state, start, answers = None, np.ones(2, bool), []
    for step in range(7):
        action, state = agent.predict(observation, state, start)
        answers.append(action)
        start = np.array([False, step == 2])  # the second one is born again, and forgets
        observation, *_ = vector.step(action)
    x, y = vector.episode.support_x, vector.episode.support_y
    for i, born in ((0, 0), (1, 3)):
        tensors = learner.encode(learner.tensor(x[i : i + 1, born:])), learner.targets(y[i : i + 1, born:])
        alone = []
        with torch.no_grad():
            inner_loop(learner, learner.init(1), *tensors, alone.append)
        for step in range(born, 6):
            np.testing.assert_allclose(answers[step][i], alone[step - born][0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", BORN_HERE)
def test_numbers_and_images_in_single_precision_are_near_those_in_double(name):
    for env in places(name):
        seed_env(env, 0)
        episode = draw_episodes(env, 2)
        single = run_lifetime(build_baseline(name, env, 0), episode).query_predictions
        double = run_lifetime(build_baseline(name, env, 0).double(), episode).query_predictions
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["adam", "nearest-neighbour", "joint-training"])
@pytest.mark.parametrize("env_id", ["FLPOmniglot-Continual-v0", "FLPMiniImageNet-IID-v0"])
def test_it_lives_in_every_family_of_environments(name, env_id):
    env = small_env(env_id)
    assert 0 <= evaluate(build_baseline(name, env, 0), env, episodes=2).mean <= 100


def test_a_start_needs_a_checkpoint_of_the_environment_and_takes_its_weights():
    env = flp_envs.make("FLPSine-Continual-v0")
    learner = build_baseline("sgd-meta-trained", env, 0)
    assert learner.start == "gradient-based-3-sine-continual"
    from flp_agents import load_bundled

    saved = load_bundled(learner.start)
    seed_env(env, 0)
    x = torch.from_numpy(draw_episodes(env, 1).support_x[:, 0])
    with torch.no_grad():
        newborn, _ = learner.predict(learner.init(1), learner.encode(x))
        expected, _ = saved.predict(saved.init(1), saved.encode(x))
    torch.testing.assert_close(newborn, expected, rtol=1e-4, atol=1e-5)
    for name in META_TRAINED:
        with pytest.raises(
            FLPError, match="no bundled gradient-based checkpoint was meta-trained on FLPGlyph-IID-v0"
        ) as caught:
            build_baseline(name, flp_envs.make(GLYPH), 0)
        assert "\n" not in str(caught.value)
        with pytest.raises(IncompatibleSpaces, match="use the env options that it was meta-trained with"):
            build_baseline(name, flp_envs.make("FLPSine-Continual-v0", num_functions=3), 0)


@pytest.mark.parametrize("name", BORN_HERE)
def test_another_environment_than_it_was_built_for_is_refused(name):
    learner = build_baseline(name, small_env(SINE), 0)
    assert learner.adapt_to(small_env(SINE)) is learner
    for other in (small_env(SINE, num_functions=4), small_env(GLYPH)):
        with pytest.raises(IncompatibleSpaces, match="build it for this environment"):
            learner.adapt_to(other)
    with pytest.raises(IncompatibleSpaces, match="5 labels"):
        build_baseline(name, flp_envs.make(GLYPH), 0).adapt_to(small_env(GLYPH))


@pytest.mark.parametrize("name", ["feedback-alignment", "direct-feedback-alignment"])
def test_feedback_weights_are_those_of_the_seed_but_not_drawn_as_the_network_is(name):
    first, other = (build_baseline(name, small_env(SINE), seed) for seed in (0, 1))
    assert not torch.equal(first.feedback[0], other.feedback[0])
    drawn_alike = type(first)(first.network, first.descent, seed=0)
    assert not torch.equal(first.feedback[0], drawn_alike.feedback[0])


def test_there_is_nothing_to_meta_train():
    env = small_env(SINE)
    with pytest.raises(NotMetaTrained, match="OnlineGradient is not meta-trained: use flp, gradient-based or oml"):
        MetaTrainer(build_baseline("adam", env, 0), env, rates={})


def test_names_are_known_and_importing_them_is_cheap():
    assert set(BASELINES.built_in()) == set(TUNED)
    code = "import sys, flp_agents; assert 'flp_agents.baselines.building' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(InvalidChoice, match="unknown baseline 'adm': did you mean 'adam'"):
        build_baseline("adm", small_env(SINE))
    assert all(isinstance(build_baseline(name, small_env(SINE), 0), Learner) for name in BORN_HERE)


def test_settings_are_the_best_of_nine_trials_on_meta_train_each():
    with (ROOT / "results" / "tuning_of_baselines.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = {}
    for row in rows:
        key = row["learner"], row["env"].removesuffix("-v0")
        if key not in best or float(row["score"]) < float(best[key]["score"]):
            best[key] = row
    assert {(name, env) for name, settings in TUNED.items() for env in settings} == set(best)
    for (name, env), row in best.items():
        assert TUNED[name][env] == json.loads(row["settings"]), (name, env)
    assert set(Counter((row["learner"], row["env"]) for row in rows).values()) == {9}
    assert set(TUNED) == set(BASELINES)


def test_an_environment_that_nothing_was_tuned_in_takes_what_is_nearest():
    assert tuned_for("adam", small_env(SINE)) == TUNED["adam"]["FLPSine-IID"]
    assert tuned_for("adam", small_env("FLPSine-Continual-v0")) == TUNED["adam"]["FLPSine-Continual"]
    assert tuned_for("adam", small_env("FLPOmniglot-IID-v0")) == TUNED["adam"]["FLPGlyph-IID"]
    assert tuned_for("ridge", small_env("FLPMiniImageNet-Continual-v0")) == TUNED["ridge"]["FLPGlyph-Continual"]
    assert tuned_for("adam", gym.make(SINE, **SMALL_SINE)) == TUNED["adam"]["FLPSine-IID"]


def test_the_docs_name_every_baseline_and_its_settings():
    page = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    for name in BASELINES:
        assert f"| `{name}` |" in page, name
