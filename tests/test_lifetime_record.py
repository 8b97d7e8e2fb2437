"""What is known of lifetimes afterwards: equal to what the environment says, step by step."""

import numpy as np
import pytest
import torch
from conftest import small_options

import flp_envs
from flp_agents import GymAgent, build_learner, evaluate, get_preset, run_lifetime
from flp_agents.lifetime.query_schedule import QuerySchedule, UnequalEpisodes, end_of_each_task
from flp_agents.lifetime.recording import NotFinite, record_lifetimes, size_of
from flp_agents.training.factory import kind_of
from flp_envs.recording import draw_episodes, seed_env

IDS = ("FLPSine-Continual-v0", "FLPSine-IID-v0", "FLPGlyph-Continual-v0", "FLPGlyph-IID-v0")


def learner_in(env_id, name="gradient-based"):
    env = flp_envs.make(env_id, split="meta-test", **small_options(env_id))
    kind = kind_of(env)
    sizes = {"hidden_widths": (8, 8)} if kind == "numbers" else {"hidden_widths": (8,), "channels": 4}
    settings = get_preset("cpu", name, sizes, kind=kind)
    return build_learner(name, env, settings).double().eval(), env


def episodes_of(env, n, seed=0):
    seed_env(env, seed)
    return draw_episodes(env, n)


@pytest.mark.parametrize("env_id", IDS)
def test_losses_are_those_that_the_environment_tells(env_id):
    learner, env = learner_in(env_id)
    record = record_lifetimes(learner, episodes_of(env, 2))
    agent = GymAgent(learner, env)
    seed_env(env, 0)
    scale = 100.0 if learner.objective.metric == "error_percent" else 1.0
    for lifetime in range(2):
        observation, _ = env.reset()
        state, losses, done = None, [], False
        while not done:
            action, state = agent.predict(observation, state)
            observation, _, done, _, info = env.step(action)
            losses.append(scale * info["loss"])
        steps = record.support_losses.shape[1]
        np.testing.assert_allclose(record.support_losses[lifetime], losses[:steps], rtol=1e-5)
        np.testing.assert_allclose(record.query_scores[lifetime], np.mean(losses[steps:]), rtol=1e-5)


@pytest.mark.parametrize("env_id", IDS)
def test_the_last_row_is_the_score_of_an_evaluation(env_id):
    learner, env = learner_in(env_id)
    record = record_lifetimes(learner, episodes_of(env, 3))
    np.testing.assert_allclose(record.query_scores, evaluate(learner, env, episodes=3, seed=0).scores, rtol=1e-9)
    # Every sub-task has equally many query steps here.
    np.testing.assert_allclose(record.query_losses[:, -1].mean(1), record.query_scores, rtol=1e-9)


@pytest.mark.parametrize("env_id", [IDS[0], IDS[2]])
def test_each_row_is_a_lifetime_that_ended_earlier(env_id):
    learner, env = learner_in(env_id)
    episode = episodes_of(env, 2)
    record = record_lifetimes(learner, episode)
    assert record.task_ends
    assert record.queried_at.tolist() == [0, 2, 4, 6]
    assert record.query_losses.shape == (2, 4, 3)
    for row, steps in enumerate(record.queried_at):
        short = type(episode).__mro__[-2](
            episode.support_x[:, :steps],
            episode.support_y[:, :steps],
            episode.support_task[:, :steps],
            episode.query_x,
            episode.query_y,
            episode.query_task,
        )
        with torch.no_grad():
            ended = run_lifetime(learner, short) if steps else None
        if ended is not None:
            np.testing.assert_allclose(record.query_losses[:, row].mean(1), ended.query_score.numpy(), rtol=1e-9)


def test_mixed_sub_tasks_are_asked_about_at_equal_distances():
    learner, env = learner_in("FLPSine-IID-v0")
    record = record_lifetimes(learner, episodes_of(env, 4))
    assert not record.task_ends
    assert record.queried_at.tolist() == [0, 2, 4, 6]


def test_where_sub_tasks_end():
    _, continual = learner_in("FLPSine-Continual-v0")
    _, mixed = learner_in("FLPSine-IID-v0")
    assert end_of_each_task(episodes_of(continual, 3)).tolist() == [2, 4, 6]
    assert end_of_each_task(episodes_of(mixed, 3)) is None


def test_lifetimes_alone_and_in_a_batch():
    learner, env = learner_in("FLPSine-Continual-v0")
    episode = episodes_of(env, 3)
    together = record_lifetimes(learner, episode)
    for i in range(3):
        alone = record_lifetimes(learner, episode[i : i + 1])
        np.testing.assert_allclose(alone.support_losses[0], together.support_losses[i], rtol=1e-10)
        np.testing.assert_allclose(alone.query_losses[0], together.query_losses[i], rtol=1e-10)


def test_a_learner_that_trains_for_the_query_is_asked_at_the_end_only(monkeypatch):
    learner, env = learner_in("FLPSine-Continual-v0")
    episode = episodes_of(env, 2)
    whole = record_lifetimes(learner, episode)
    learner.trains_for_query = True
    record = record_lifetimes(learner, episode)
    assert record.queried_at.tolist() == [6]
    assert not record.task_ends
    np.testing.assert_array_equal(record.query_losses[:, 0], whole.query_losses[:, -1])
    np.testing.assert_array_equal(record.support_losses, whole.support_losses)


def test_what_is_not_finite_is_named():
    learner, env = learner_in("FLPSine-Continual-v0")
    with torch.no_grad():
        for rate in learner.weight_rates:
            rate.fill_(1e30)
    with pytest.raises(NotFinite, match=r"NaN or infinity in lifetime 0, (support step|the query after) \d"):
        record_lifetimes(learner, episodes_of(env, 2))


def test_the_size_of_a_state():
    learner, env = learner_in("FLPSine-Continual-v0")
    record = record_lifetimes(learner, episodes_of(env, 5))
    # Three fully connected layers of 8 units, all plastic, in double precision.
    assert record.state_bytes == 8 * ((4 * 8 + 8) + (8 * 8 + 8) + (8 + 1))
    assert size_of((torch.zeros(3, dtype=torch.float32), np.zeros(2), None)) == 12 + 16
    assert size_of(({"a": [1, 2, 3]},)) > 0
    assert record.seconds > 0


class DoesNotSay:
    """A task whose sub-tasks follow one another but for a share of its episodes, and that says nothing of it."""

    def __init__(self, task, share):
        self._task, self._share = task, share

    def __getattr__(self, name):
        if name == "interleaving":
            raise AttributeError(name)
        return getattr(self._task, name)

    def sample(self, rng, n=1):
        episode = self._task.sample(rng, n)
        order = np.arange(episode.support_steps)
        if rng.random() < self._share:
            order = order[::-1]
        support = (episode.support_x, episode.support_y, episode.support_task)
        query = (episode.query_x, episode.query_y, episode.query_task)
        return flp_envs.Episode(*(part[:, order] for part in support), *query)


@pytest.mark.parametrize(("share", "in_order"), [(0.0, True), (0.5, False), (1.0, False)])
def test_an_environment_that_does_not_say_is_looked_at(share, in_order):
    task = flp_envs.SineTask(num_functions=2, steps_per_function=1, batch_size=2, query_size=2)
    env = flp_envs.OnlineLearningEnv(DoesNotSay(task, share))
    found = [QuerySchedule.of_env(env, seed) for seed in range(3)]
    assert [schedule.in_order for schedule in found] == [in_order] * 3
    assert all(schedule.queried_at.tolist() == [0, 1, 2] for schedule in found)
    assert all(schedule.sub_tasks == 2 for schedule in found)


def test_what_an_environment_says_of_itself_counts():
    small = {"num_classes": 2, "shots": 1}
    mixed, continual = (flp_envs.make(f"FLPGlyph-{kind}-v0", **small) for kind in ("IID", "Continual"))
    for seed in range(4):
        assert not QuerySchedule.of_env(mixed, seed).in_order
        assert QuerySchedule.of_env(continual, seed).in_order
    episode = episodes_of(flp_envs.make("FLPGlyph-Continual-v0", num_classes=2, shots=2), 1)
    with pytest.raises(UnequalEpisodes, match="expected episodes of one length, got 2 and 4 support steps"):
        QuerySchedule.of_env(continual).fits(episode)
