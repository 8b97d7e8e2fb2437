"""The sine-wave episodes: their numbers, their order, their exact seeding."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_envs import Episode, InvalidChoice, InvalidSize, SineTask
from flp_envs.sine import exact_sine


def rng(seed=0):
    return np.random.default_rng(seed)


def equal(a: Episode, b: Episode) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Episode))


def test_shapes_and_types():
    episode = SineTask(num_functions=3, steps_per_function=4, batch_size=2, query_size=6).sample(rng(), 5)
    assert episode.support_x.shape == (5, 12, 2, 4)
    assert episode.support_y.shape == (5, 12, 2, 1)
    assert episode.query_x.shape == (5, 9, 2, 4)
    assert episode.query_y.shape == (5, 9, 2, 1)
    assert episode.support_x.dtype == episode.query_y.dtype == np.float32
    assert len(episode) == 5


def test_the_standard_episode_is_the_papers():
    task = SineTask()
    episode = task.sample(rng())
    assert (task.support_steps, task.query_steps) == (400, 10)
    assert episode.support_x.shape == (1, 400, 32, 11)
    assert task.function_pool_size == 400
    assert SineTask("meta-test").function_pool_size == 1000


def test_targets_are_the_functions_of_the_pool():
    task = SineTask(num_functions=4, steps_per_function=2)
    episode = task.sample(rng(3))
    for i in range(4):
        mine = episode.support_task[0] == i
        x, y = episode.support_x[0, mine][..., -1].ravel(), episode.support_y[0, mine].ravel()
        errors = np.abs(task.amplitudes[:, None] * np.sin(x + task.phases[:, None]) - y).max(1)
        assert errors.min() < 2e-5
        assert (episode.support_x[0, mine][..., i] == 1).all()
    assert (episode.support_x[..., :-1].sum(-1) == 1).all()


@pytest.mark.parametrize("split", ["meta-train", "meta-test"])
def test_pools_lie_in_the_papers_ranges(split):
    task = SineTask(split)
    assert 0.1 <= task.amplitudes.min() < 0.2
    assert 4.9 < task.amplitudes.max() <= 5.0
    assert task.phases.min() >= 0
    assert task.phases.max() <= np.pi


def test_the_released_codes_amplitudes():
    task = SineTask(max_amplitude=5.1)
    assert 5.0 < task.amplitudes.max() <= 5.1
    assert task.answer_space.high.max() == np.float32(10.2)


def test_the_splits_share_no_function():
    train, test = SineTask("meta-train"), SineTask("meta-test")
    assert not set(train.amplitudes) & set(test.amplitudes)


def test_a_larger_pool_begins_with_the_smaller_one():
    np.testing.assert_array_equal(SineTask().amplitudes, SineTask(function_pool_size=500).amplitudes[:400])


def test_functions_of_an_episode_are_distinct():
    task = SineTask(num_functions=5, steps_per_function=1, function_pool_size=5)
    episode = task.sample(rng())
    largest = [np.abs(episode.support_y[0, i]).max() for i in range(5)]
    assert len(set(largest)) == 5


def test_sampling_n_is_sampling_one_n_times():
    task = SineTask(steps_per_function=3)
    generator = rng(7)
    assert equal(task.sample(rng(7), 3), Episode.stack([task.sample(generator) for _ in range(3)]))


def test_the_stream_of_a_seed_never_changes():
    """The same bits on every machine and in every version: a change here changes every published number."""
    episode = SineTask("meta-test", interleaving=0.5).sample(rng(2020), 2)
    digest = hashlib.sha256()
    for name in ("support_x", "support_y", "support_task", "query_x", "query_y", "query_task"):
        digest.update(
            np.ascontiguousarray(getattr(episode, name)).astype(getattr(episode, name).dtype.newbyteorder("<"))
        )
    assert digest.hexdigest() == "6d6ac51738fd801f7f5d2d8ef21b290fd8ca8e4dfa8979cafc7ae601b8f50c04"


@given(st.floats(-5.0, 5.0 + np.pi))
def test_exact_sine_is_sine(angle):
    assert exact_sine(np.array([angle], np.float32))[0] == pytest.approx(np.sin(angle), abs=2e-6)


def test_continual_teaches_function_after_function():
    tasks = SineTask(interleaving=0.0).sample(rng()).support_task[0]
    np.testing.assert_array_equal(tasks, np.repeat(np.arange(10), 40))


def test_iid_mixes_all_minibatches():
    tasks = SineTask(interleaving=1.0).sample(rng(), 50).support_task
    assert (np.sort(tasks, axis=1) == np.repeat(np.arange(10), 40)).all()
    # The mean place of a function's minibatches is the middle, whichever function it is.
    places = np.array([[np.flatnonzero(row == i).mean() for i in range(10)] for row in tasks]).mean(0)
    assert np.abs(places - 199.5).max() < 10


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
def test_every_minibatch_is_taught_once_however_interleaved(interleaving, functions, steps, seed):
    task = SineTask(
        num_functions=functions, steps_per_function=steps, batch_size=2, query_size=2, interleaving=interleaving
    )
    tasks = task.sample(rng(seed)).support_task[0]
    assert (np.bincount(tasks, minlength=functions) == steps).all()


def test_interleaving_grows_disorder():
    switches = []
    for interleaving in (0.0, 0.2, 0.6, 1.0):
        tasks = SineTask(interleaving=interleaving).sample(rng(), 10).support_task
        switches.append((np.diff(tasks, axis=1) != 0).mean())
    assert switches == sorted(switches)
    assert switches[0] < 0.03 < 0.85 < switches[-1]


def test_query_points_are_fresh():
    episode = SineTask().sample(rng())
    assert not set(episode.query_x[..., -1].ravel()) & set(episode.support_x[0, :40, :, -1].ravel())
    np.testing.assert_array_equal(episode.query_task[0], np.arange(10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_functions": 0}, "num_functions must be a whole number of at least 1, got 0"),
        ({"num_functions": 2.5}, "num_functions must be a whole number"),
        ({"steps_per_function": 0}, "steps_per_function must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"query_size": 0}, "query_size must be"),
        ({"query_size": 33}, "query_size must be a multiple of batch_size, 32, got 33"),
        ({"function_pool_size": 0}, "function_pool_size must be"),
        ({"num_functions": 11, "function_pool_size": 10}, "num_functions must be at most .* 10, got 11"),
        ({"max_amplitude": 0.0}, r"max_amplitude must be a number above 0.1 and at most 1e\+06, got 0.0"),
        ({"interleaving": 1.1}, "interleaving must lie between 0"),
        ({"interleaving": float("nan")}, "interleaving must lie between 0"),
        ({"interleaving": "half"}, "interleaving must lie between 0"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InvalidSize, match=message):
        SineTask(**options)


def test_an_unknown_split_suggests_the_nearest():
    with pytest.raises(InvalidChoice, match="unknown split 'metatest': did you mean 'meta-test'"):
        SineTask("metatest")


def test_stacking_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Episode.stack([])
