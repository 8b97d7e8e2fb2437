"""A readout fitted on initial features, on cases whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_episode
from test_analysis import glyphs

from flp_agents import FLP, GradientBased, Network
from flp_agents.experiments.analysis import fit_readout, initial_features, readout_scores, with_constant
from flp_envs import InvalidSize


def linear_targets(learner, episode):
    """The episode with targets that are an exact linear function of the learner's initial features."""

    def targets(x):
        features = initial_features(learner, learner.tensor(x))
        weights = torch.linspace(-2, 3, features.shape[-1], dtype=features.dtype)
        return (features @ weights - 0.7).reshape(*x.shape[:3], 1).numpy()

    return replace(episode, support_y=targets(episode.support_x), query_y=targets(episode.query_x))


@pytest.mark.parametrize("plastic_layers", [1, 2, 3])
def test_an_exact_linear_function_of_the_features_is_found(plastic_layers):
    learner = FLP(Network((3, 6, 5, 1)), plastic_layers, initial_coefficient=0.3).double()
    episode = linear_targets(learner, small_episode(n=3, steps_per_function=20))
    assert readout_scores(learner, episode).max() < 1e-10 * np.square(episode.query_y).mean()


def test_features_are_the_same_whatever_is_plastic():
    few, many = (FLP(Network((3, 6, 5, 1)), n, seed=1).double() for n in (1, 3))
    x = few.tensor(small_episode(n=2).support_x)
    features = initial_features(few, x)
    assert features.shape == (2, 24, 5)
    torch.testing.assert_close(features, initial_features(many, x), rtol=1e-12, atol=1e-12)


def test_a_constant_is_fitted_where_nothing_fires():
    features, targets = torch.zeros(2, 6, 3), torch.arange(12.0).reshape(2, 6, 1)
    readout = fit_readout(features, targets)
    answers = with_constant(features) @ readout
    torch.testing.assert_close(answers, targets.double().mean(1, keepdim=True).expand(-1, 6, -1))


def test_the_readout_is_least_squares_of_each_lifetime_by_itself():
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.rand(2, 30, 4, generator=generator), torch.rand(2, 30, 2, generator=generator)
    for ridge in (1e-9, 0.5):
        readout = fit_readout(features, targets, ridge)
        for lifetime in range(2):
            values = np.concatenate([features[lifetime].double(), np.ones((30, 1))], 1)
            penalty = ridge * np.square(values).sum() / 5
            moments = values.T @ values + penalty * np.eye(5)
            expected = np.linalg.solve(moments, values.T @ targets[lifetime].double().numpy())
            np.testing.assert_allclose(readout[lifetime], expected, rtol=1e-9)


def test_with_more_features_than_pairs_the_pairs_are_met():
    features = torch.rand(1, 5, 40, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(5).unsqueeze(0)
    torch.testing.assert_close(
        with_constant(features) @ fit_readout(features, targets), targets.double(), atol=1e-6, rtol=0
    )


def test_labels_are_read_out_in_per_cent():
    _, learner, episode = glyphs()
    # The query asks for what was taught, whose features the readout tells apart: fewer pairs than features.
    same = replace(episode, query_x=episode.support_x, query_y=episode.support_y, query_task=episode.support_task)
    assert readout_scores(learner, same).tolist() == [0.0, 0.0]
    scores = readout_scores(learner, episode)
    assert ((scores >= 0) & (scores <= 100)).all()


def test_a_network_without_hidden_layers_reads_out_its_inputs():
    learner = GradientBased(Network((3, 1)), 1).double()
    episode = linear_targets(learner, small_episode(n=2))
    assert readout_scores(learner, episode).max() < 1e-10


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_the_penalty_is_above_zero(ridge):
    with pytest.raises(InvalidSize, match="ridge must be above 0"):
        fit_readout(torch.rand(1, 4, 2), torch.rand(1, 4, 1), ridge)
