"""Training policies by reward: what is learned, what is kept, and what is refused."""

import json
import os
import signal

import gymnasium as gym
import numpy as np
import pytest
from conftest import SMALL_SINE, small_options
from gymnasium import spaces

from flp_agents import PolicyLearner, evaluate
from flp_agents.adapters.saved_policies import (
    ALGORITHMS,
    DESCRIPTION,
    MODEL,
    PolicyError,
    load_policy,
    read_policy_description,
)
from flp_agents.cli.main import main
from flp_agents.learners.objective import IncompatibleSpaces
from flp_agents.training.policy_training import SETTINGS, PolicyPlan, PolicyTraining
from flp_agents.training.run_folder import LOCK
from flp_envs import Episode, FLPError, InvalidSize, OnlineLearningEnv, make
from flp_envs.scoring import SquaredError

SINE = "FLPSine-Continual-v0"
# Answers between two updates: 6 lifetimes of 12 steps in each of 16 envs, 1024 or more.
ROLLOUT = 6 * 12 * 16


def plan(algorithm="ppo", env=SINE, env_steps=400, seed=0, **train_options):
    options = {} if env == "Constant-v0" else small_options(env)
    return PolicyPlan(algorithm, env, options, train_options, env_steps, seed, "flp train-sb3 ...")


def train_sb3(*arguments):
    return main(["train-sb3", *map(str, arguments), "--threads=1"])


def options(env_options):
    return [f"--env-option={name}={value}" for name, value in env_options.items()]


@pytest.mark.parametrize("env_id", [SINE, "FLPGlyph-IID-v0"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_command_trains_saves_and_judges(algorithm, env_id, tmp_path, capsys):
    folder = tmp_path / "new" / "policy"
    given = [f"--algorithm={algorithm}", f"--env={env_id}", "--env-steps=200", "--seed=3", "--test-episodes=4"]
    assert train_sb3(*given, *options(small_options(env_id)), f"--output={folder}") == 0
    out = capsys.readouterr().out
    saved = load_policy(folder)
    about = saved.about
    assert f"environment step {ROLLOUT}/{ROLLOUT}  mean return " in out  # whole lifetimes of all environments
    assert about.env_steps == saved.model.num_timesteps == ROLLOUT
    assert (about.algorithm, about.env, about.seed, about.split) == (algorithm, env_id, 3, "meta-train")
    assert about.env_options == small_options(env_id)
    assert about.settings.items() > SETTINGS[algorithm].items()
    assert [about.settings[name] for name in ("gamma", "n_steps", "num_envs")] == [0.0, 72, 16]
    assert (saved.model.gamma, saved.model.n_steps, saved.model.n_envs) == (0.0, 72, 16)
    assert "--output" not in about.command
    assert about.command.startswith(f"flp train-sb3 --algorithm={algorithm} --env={env_id}")
    assert about.versions["stable-baselines3"]
    env = make(env_id, split="meta-val", **about.env_options)
    result = evaluate(PolicyLearner(saved.model, env), env, episodes=4, seed=about.result["seed"])
    assert about.result["mean"] == result.mean
    assert f"meta-val {result.metric} over 4 episodes: {result.mean:.5f} ({result.standard_error:.5f})" in out
    assert {path.name for path in folder.iterdir()} == {MODEL, DESCRIPTION, LOCK}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_seed_is_a_policy(algorithm, tmp_path):
    policies = []
    for number, seed in enumerate((1, 1, 2)):
        training = PolicyTraining(plan(algorithm, seed=seed), tmp_path / str(number))
        assert training.run() is False
        policies.append(load_policy(tmp_path / str(number)).model.policy.state_dict())
    same, other = ([(policies[0][key] == p[key]).all() for key in policies[0]] for p in policies[1:])
    assert all(same)
    assert not all(other)


def test_training_options_hold_while_training_only(tmp_path):
    training = PolicyTraining(plan(steps_per_function=1, query_size=40), tmp_path)
    assert training.model.n_steps == 2 * (3 + 30)
    told = []
    training.run(lambda *of_rollout: told.append(of_rollout))
    assert [step for step, _ in told] == [2 * 16 * 33]
    assert told[0][1] < 0
    assert training.evaluate(episodes=2, seed=0)["episodes"] == 2
    about = load_policy(tmp_path).about
    assert about.train_options == {"steps_per_function": 1, "query_size": 40}
    assert about.env_options == SMALL_SINE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_and_what_there_is_is_saved(number, tmp_path):
    training = PolicyTraining(plan(env_steps=10**9), tmp_path)
    assert training.run(lambda *_: signal.raise_signal(number)) is True
    saved = load_policy(tmp_path)
    # The first rollout was learned from; the first step of the second was its last.
    assert saved.about.env_steps == saved.model.num_timesteps == ROLLOUT + 16
    assert saved.model._n_updates > 0
    assert saved.about.result is None


def test_the_command_says_that_it_was_interrupted(tmp_path, capsys, monkeypatch):
    from flp_agents.support import progress

    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("builtins.print", lambda *text, **_: text[0].startswith("env") and signal.raise_signal(2))
    assert train_sb3("--algorithm=ppo", *options(SMALL_SINE), f"--output={tmp_path}") == 130
    assert json.loads((tmp_path / DESCRIPTION).read_text(encoding="utf-8"))["env_steps"] == ROLLOUT + 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--algorithm=pppo"], "unknown algorithm 'pppo': did you mean 'ppo'"),
        (["--algorithm=ppo", "--env=FLPSin-IID-v0"], "unknown environment 'FLPSin-IID-v0': did you mean"),
        (["--algorithm=ppo", "--env-steps=0"], "env-steps must be a whole number of at least 1, got 0"),
        (["--algorithm=ppo", "--test-episodes=0"], "test-episodes must be a whole number of at least 1"),
        (["--algorithm=ppo", "--env-option=num_function=3"], "unknown option of the FLPSine environments"),
        (["--algorithm=ppo", "--train-option=steps"], "--train-option: expected NAME=VALUE"),
        (["--algorithm=ppo", "--train-option=split=meta-test"], "--train-option: split is not set here"),
        (["--algorithm=ppo", "--train-option=num_functions=3"], "change what a policy sees or answers"),
        (["--algorithm=ppo", "--env=CartPole-v1"], "cannot make CartPole-v1"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line_before_anything_is_written(arguments, message, tmp_path, capsys):
    assert train_sb3(*arguments, f"--output={tmp_path / 'x'}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flp: error: ")
    assert message in line
    assert not (tmp_path / "x").exists()


def test_a_folder_that_holds_a_policy_is_left_alone(tmp_path):
    PolicyTraining(plan(env_steps=1), tmp_path).run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PolicyError, match="holds a policy already: choose another --output"):
        PolicyTraining(plan(env_steps=1), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_a_folder_it_is_named_after_what_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--algorithm=ppo", "--env-steps=1", "--test-episodes=2", "--seed=4"]
    assert train_sb3(*given, *options(SMALL_SINE)) == 0
    assert load_policy(tmp_path / "runs" / f"{SINE}-ppo-4").about.seed == 4


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FLPError, match=r"^cannot write to .*: choose another --output"):
        PolicyTraining(plan(env_steps=10**9), tmp_path / "file" / "x").run()


def test_sizes_and_spaces_are_checked():
    with pytest.raises(InvalidSize, match="env-steps must be"):
        PolicyTraining(plan(env_steps=1.5), None)


class Constant:
    """One number an episode: it is shown twice, and asked for twice when it is not shown any more."""

    minibatches, scoring = True, SquaredError()
    input_space = target_space = answer_space = spaces.Box(-10, 10, (1, 1), np.float32)
    support_steps, query_steps = 2, 3

    def __init__(self, split):
        self.split = split

    def sample(self, rng, n=1):
        def constant(steps):
            return np.tile(value, (1, steps, 1, 1))

        value = (3.0 * np.sign(rng.random((n, 1, 1, 1)) - 0.5)).astype(np.float32)
        tasks = np.zeros((n, 2), np.int64), np.zeros((n, 3), np.int64)
        return Episode(constant(2) * 0, constant(2), tasks[0], constant(3) * 0, constant(3), tasks[1])


@pytest.fixture
def constant():
    gym.register("Constant-v0", lambda split: OnlineLearningEnv(Constant(split)))
    yield "Constant-v0"
    del gym.registry["Constant-v0"]


@pytest.mark.slow
def test_what_helps_later_is_remembered_though_only_the_query_is_rewarded(constant, tmp_path):
    scores = {}
    for algorithm in ALGORITHMS:
        training = PolicyTraining(plan(algorithm, constant, env_steps=30_000), tmp_path / algorithm)
        training.run()
        scores[algorithm] = training.evaluate(episodes=50, seed=0)["mean"]
    # Without memory: the first answer to the query is known, the target being shown with it; the others score 3^2.
    assert scores["ppo"] == pytest.approx(6.0, abs=0.6)
    assert scores["recurrent-ppo"] < 0.5


@pytest.mark.slow
def test_the_policy_without_memory_learns_the_mean_of_all_functions(tmp_path):
    """Answering 0 scores 4.25; the mean function, E[A] (2 / pi) cos(x), 3.0 or so."""
    training = PolicyTraining(
        PolicyPlan("ppo", SINE, {"batch_size": 4}, {"steps_per_function": 1, "query_size": 80}, 150_000, 0), tmp_path
    )
    training.run()
    env = make(SINE, split="meta-train", steps_per_function=1, batch_size=4, query_size=80)
    assert evaluate(PolicyLearner(training.model, env), env, episodes=40).mean < 3.7


def test_an_environment_without_the_protocol_is_refused(tmp_path):
    gym.register("NoProtocol-v0", lambda split: gym.make("CartPole-v1"))
    with pytest.raises(IncompatibleSpaces, match="expected an observation space with x"):
        PolicyTraining(PolicyPlan("ppo", "NoProtocol-v0", {}, {}, 1, 0), tmp_path)
    del gym.registry["NoProtocol-v0"]


def test_no_policy_of_another_process_is_replaced(tmp_path):
    """It is trained while another process trains one of the same name, and evaluated after a third has."""
    first, second = PolicyTraining(plan(), tmp_path), PolicyTraining(plan(seed=1), tmp_path)
    with first.held(), pytest.raises(FLPError, match="another process is training into"):
        second.run()
    first.run()
    with pytest.raises(PolicyError, match="holds a policy already"):
        second.run()
    kept = load_policy(tmp_path).about
    (tmp_path / DESCRIPTION).write_text(
        (tmp_path / DESCRIPTION).read_text(encoding="utf-8").replace(kept.sha256, "0" * 64), encoding="utf-8"
    )
    with pytest.raises(PolicyError, match="holds another policy, which is kept"):
        first.evaluate(episodes=1, seed=0)
    assert read_policy_description(tmp_path).sha256 == "0" * 64


def test_a_policy_is_there_at_every_moment_of_its_evaluation(tmp_path, monkeypatch):
    training = PolicyTraining(plan(), tmp_path)
    training.run()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PolicyError, match="cannot write a policy's result"):
        training.evaluate(episodes=1, seed=0)
    monkeypatch.undo()
    assert load_policy(tmp_path).about.result is None
