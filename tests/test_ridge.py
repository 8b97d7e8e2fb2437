"""Ridge regression on random features, against its closed form on all pairs."""

import numpy as np
import pytest
import torch
from conftest import small_episode
from test_gradient_based import CLASSES
from test_whole_network import image_episodes

from flp_agents import run_lifetime
from flp_agents.baselines.ridge import Ridge
from flp_agents.learners.objective import CrossEntropy
from flp_envs import InvalidSize

SCALE = (1.0, 0.5, 0.2)


def closed_form(learner, x, y, penalty):
    """Weights ``(D, n_y)``, by an augmented least-squares problem."""
    features = learner.features_of(torch.from_numpy(x)[None])[0].numpy()
    size = features.shape[1]
    rows = np.concatenate([features, np.sqrt(penalty) * np.eye(size)])
    return np.linalg.lstsq(rows, np.concatenate([y, np.zeros((size, y.shape[1]))]), rcond=None)[0]


@pytest.mark.parametrize("penalty", [1e-6, 1.0])
@pytest.mark.parametrize("features", [4, 60])
def test_it_is_the_closed_form_on_all_pairs(penalty, features):
    learner = Ridge((3,), SCALE, 1, features=features, bandwidth=0.5, penalty=penalty, seed=1).double()
    episode = small_episode(n=2, steps_per_function=10)
    lifetime = run_lifetime(learner, episode)
    for i in range(2):
        weights = closed_form(
            learner, episode.support_x[i].reshape(-1, 3), episode.support_y[i].reshape(-1, 1), penalty
        )
        asked = learner.features_of(torch.from_numpy(episode.query_x[i].reshape(1, -1, 3)))[0].numpy()
        np.testing.assert_allclose(lifetime.query_predictions[i].reshape(-1, 1), asked @ weights, rtol=1e-5, atol=1e-6)


def test_labels_are_regressed_as_numbers():
    learner = Ridge(
        (1, 9, 9),
        (1 / 255,),
        CLASSES,
        features=20,
        bandwidth=5.0,
        penalty=0.1,
        objective=CrossEntropy(CLASSES, CLASSES),
    ).double()
    episode = image_episodes(1)
    got = run_lifetime(learner, episode).query_predictions[0, :, 0]
    targets = np.eye(CLASSES)[episode.support_y[0, :, 0]]
    weights = closed_form(learner, episode.support_x[0], targets, 0.1)
    asked = learner.features_of(torch.from_numpy(episode.query_x[0])[None])[0].numpy()
    np.testing.assert_allclose(got, asked @ weights, rtol=1e-9, atol=1e-11)


def test_products_of_features_are_the_gaussian_kernel():
    learner = Ridge((3,), SCALE, 1, features=40_001, bandwidth=0.7).double()
    x = torch.from_numpy(small_episode().support_x[:, 0])
    values = learner.features_of(x)[0, :, :-1]
    distance = ((x[0, :, None] - x[0]) * torch.tensor(SCALE)).square().sum(2)
    torch.testing.assert_close(values @ values.t(), torch.exp(-distance / (2 * 0.7**2)), rtol=0, atol=0.03)


def test_in_single_precision_a_long_lifetime_stays_right():
    episode = small_episode(steps_per_function=200, batch_size=32, query_size=32)
    scores = [
        run_lifetime(
            Ridge((3,), SCALE, 1, features=60, bandwidth=0.3, penalty=1e-6).to(kind), episode
        ).query_score.item()
        for kind in (torch.float32, torch.float64)
    ]
    assert scores[1] < 1e-3
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_features_are_those_of_the_seed():
    a, b, c = (Ridge((3,), SCALE, 1, seed=seed).projection for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_numbers_outside_their_range_are_refused():
    for options, match in (
        ({"features": 1}, "features must be a whole number of at least 2, got 1"),
        ({"bandwidth": 0.0}, "bandwidth must be a finite number above 0, got 0.0"),
        ({"penalty": -1.0}, "penalty must be a finite number above 0, got -1.0"),
    ):
        with pytest.raises(InvalidSize, match=match):
            Ridge((3,), SCALE, 1, **options)
