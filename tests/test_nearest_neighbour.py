"""Learners that keep every pair, against brute force by hand."""

import numpy as np
import pytest
import torch
from conftest import small_episode
from test_gradient_based import CLASSES
from test_whole_network import image_episodes

from flp_agents import run_lifetime
from flp_agents.baselines import nearest_neighbour
from flp_agents.baselines.nearest_neighbour import Kernel, NearestNeighbour
from flp_agents.learners.objective import CrossEntropy
from flp_agents.lifetime.inner_loop import inner_loop
from flp_envs import InvalidSize

SCALE = (1.0, 0.5, 0.2)
LABELS = CrossEntropy(CLASSES, CLASSES)


def of_numbers(kind, **options):
    return kind((3,), SCALE, 1, **options).double()


def of_images(kind, **options):
    return kind((1, 9, 9), (1 / 255,), CLASSES, objective=LABELS, **options).double()


def seen_before(episode, i, step):
    """Scaled inputs and targets that lifetime ``i`` has met before a step."""
    x, y = episode.support_x[i, :step], episode.support_y[i, :step]
    if x.dtype == np.uint8:
        return x.reshape(-1, 81) / 255.0, np.eye(CLASSES)[y.reshape(-1)]
    return x.reshape(-1, 3) * np.float32(SCALE), y.reshape(-1, 1)


def scaled(x):
    return x.reshape(-1, 81) / 255.0 if x.dtype == np.uint8 else x.reshape(-1, 3) * np.float32(SCALE)


def mean_of_the_nearest(asked, x, y, neighbours):
    """Of each asked input, one at a time."""
    answers = []
    for one in asked:
        order = np.argsort(np.square(x - one).sum(1), kind="stable")[:neighbours]
        answers.append(y[order].mean(0))
    return np.array(answers)


def weighted_mean(asked, x, y, bandwidth):
    weights = np.exp(-np.square(asked[:, None] - x).sum(2) / (2 * bandwidth**2))
    return weights @ y / weights.sum(1, keepdims=True)


def all_answers(learner, episode):
    """``(E, T, B, n_y)`` of the support, each before its target is seen, and ``(E, Q, B, n_y)`` of the query."""
    support, answers = learner.tensor(episode.support_x), []
    state = inner_loop(learner, learner.init(len(episode)), support, learner.targets(episode.support_y), answers.append)
    return torch.stack(answers, 1).numpy(), learner.predict_all(state, learner.tensor(episode.query_x)).numpy()


@pytest.fixture(params=[512, 0], ids=["all at once", "only what is near"])
def few_pairs(request, monkeypatch):
    """Both ways of finding what is near; the second one is for many pairs."""
    monkeypatch.setattr(nearest_neighbour, "FEW_PAIRS", request.param)


@pytest.mark.parametrize("neighbours", [1, 2, 3, 30])
@pytest.mark.parametrize("interleaving", [0.0, 1.0])
def test_numbers_are_the_mean_of_the_nearest(neighbours, interleaving, few_pairs):
    episode = small_episode(n=3, steps_per_function=6, interleaving=interleaving, query_size=8)
    support, query = all_answers(of_numbers(NearestNeighbour, neighbours=neighbours), episode)
    assert (support[:, 0] == 0).all()  # there is nothing to go by
    for i in range(3):
        for step in range(1, 12):
            asked = scaled(episode.support_x[i, step])
            expected = mean_of_the_nearest(asked, *seen_before(episode, i, step), neighbours)
            np.testing.assert_allclose(support[i, step], expected, rtol=1e-12, atol=1e-12)
        expected = mean_of_the_nearest(scaled(episode.query_x[i]), *seen_before(episode, i, 12), neighbours)
        np.testing.assert_allclose(query[i].reshape(-1, 1), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 2.0])
def test_numbers_are_the_weighted_mean_of_all(bandwidth, few_pairs):
    episode = small_episode(n=3, steps_per_function=6, query_size=8)
    support, query = all_answers(of_numbers(Kernel, bandwidth=bandwidth), episode)
    assert (support[:, 0] == 0).all()
    for i in range(3):
        for step in range(1, 12):
            expected = weighted_mean(scaled(episode.support_x[i, step]), *seen_before(episode, i, step), bandwidth)
            np.testing.assert_allclose(support[i, step], expected, rtol=1e-9, atol=1e-12)
        expected = weighted_mean(scaled(episode.query_x[i]), *seen_before(episode, i, 12), bandwidth)
        np.testing.assert_allclose(query[i].reshape(-1, 1), expected, rtol=1e-9, atol=1e-12)


def test_a_kernel_narrower_than_any_distance_answers_as_the_nearest_does(few_pairs):
    episode = small_episode(n=2)
    narrow, nearest = (
        all_answers(learner, episode)[1]
        for learner in (of_numbers(Kernel, bandwidth=1e-5), of_numbers(NearestNeighbour))
    )
    np.testing.assert_allclose(narrow, nearest, rtol=1e-9)


def test_most_pairs_of_a_lifetime_are_not_looked_at(monkeypatch):
    """An input of a function is nearer to those of the same one than any other function's can be."""
    monkeypatch.setattr(nearest_neighbour, "FEW_PAIRS", 0)
    looked_at = []
    distances = nearest_neighbour.distances
    monkeypatch.setattr(
        nearest_neighbour, "distances", lambda a, x, m=None: looked_at.append(x.shape[:2].numel()) or distances(a, x, m)
    )
    episode = small_episode(n=2, steps_per_function=10, batch_size=8, query_size=8)
    run_lifetime(of_numbers(NearestNeighbour), episode)
    of_query = looked_at[-2:]
    assert sum(of_query) == 2 * 2 * 80  # 80 pairs of the function asked for, in each of 2 lifetimes, for 2 functions


@pytest.mark.parametrize("kind", [NearestNeighbour, Kernel])
def test_labels_are_those_of_the_nearest_images(kind, few_pairs):
    options = {"neighbours": 3} if kind is NearestNeighbour else {"bandwidth": 1.5}
    episode = image_episodes(4)
    support, query = all_answers(of_images(kind, **options), episode)
    np.testing.assert_allclose(support[:, 0], np.log(1 / CLASSES), rtol=1e-12)
    for i in range(4):
        x, y = seen_before(episode, i, 6)
        asked = scaled(episode.query_x[i])
        if kind is Kernel:
            weights = np.exp(-np.square(asked[:, None] - x).sum(2) / (2 * 1.5**2))
            weights /= weights.max(1, keepdims=True)
            votes = weights @ y
        else:
            votes = mean_of_the_nearest(asked, x, y, 3) * 3
        probabilities = (votes + 1) / (votes.sum(1, keepdims=True) + CLASSES)
        np.testing.assert_allclose(np.exp(query[i, :, 0]), probabilities, rtol=2e-3)
        np.testing.assert_allclose(np.exp(query[i, :, 0]).sum(1), 1, rtol=2e-3)


def test_the_nearest_decides_between_equally_many_votes():
    learner = NearestNeighbour((1,), (1.0,), 3, neighbours=4, objective=CrossEntropy(3, 3)).double()
    x = torch.tensor([[[0.0], [1.0], [2.0], [3.0], [5.0]]], dtype=torch.float64)
    y = torch.nn.functional.one_hot(torch.tensor([[2, 0, 0, 2, 1]]), 3).double()
    _, state = learner.predict(learner.init(1), x)
    state = learner.update(state, y)
    answers, _ = learner.predict(state, torch.tensor([[[-1.0], [1.4], [4.9]]], dtype=torch.float64))
    assert answers.argmax(-1).tolist() == [[2, 0, 0]]  # the last: 1, then 2, 0, 0


def test_lifetimes_that_begin_anew_forget_and_others_do_not(few_pairs):
    learner = of_numbers(NearestNeighbour)
    episode = small_episode(n=2)
    x, y = torch.from_numpy(episode.support_x), torch.from_numpy(episode.support_y)
    state = inner_loop(learner, learner.init(2), x[:, :2], y[:, :2])
    _, state = learner.predict(state, x[:, 2])
    state = learner.update_where(torch.tensor([True, False]), state, y[:, 2])
    _, born = learner.predict(learner.init(2), x[:, 3])
    _, state = learner.predict(state, x[:, 3])
    chosen = learner.choose(torch.tensor([False, True]), born, state)
    chosen = learner.update(chosen, y[:, 3])
    got, _ = learner.predict(chosen, x[:, 4])
    older, asked = seen_before(episode, 0, 4), scaled(episode.support_x[:, 4].reshape(-1, 3)).reshape(2, 4, 3)
    np.testing.assert_allclose(got[0], mean_of_the_nearest(asked[0], *older, 1))
    newer = [part[-4:] for part in seen_before(episode, 1, 4)]
    np.testing.assert_allclose(got[1], mean_of_the_nearest(asked[1], *newer, 1))
    assert len(learner.choose(torch.tensor([True, True]), born, chosen).pairs) == 0


def test_asking_changes_nothing_and_states_can_branch():
    learner, episode = of_numbers(NearestNeighbour), small_episode()
    x, y = torch.from_numpy(episode.support_x), torch.from_numpy(episode.support_y)
    state = inner_loop(learner, learner.init(1), x[:, :3], y[:, :3])
    before = learner.predict(state, x[:, 5])[0]
    inner_loop(learner, state, x[:, 3:], y[:, 3:])
    assert torch.equal(learner.predict(state, x[:, 5])[0], before)


def test_numbers_outside_their_range_are_refused():
    with pytest.raises(InvalidSize, match="neighbours must be a whole number of at least 1, got 0"):
        of_numbers(NearestNeighbour, neighbours=0)
    with pytest.raises(InvalidSize, match="bandwidth must be a finite number above 0, got 0"):
        of_numbers(Kernel, bandwidth=0)
