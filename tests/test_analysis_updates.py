"""Direction and size of updates, on learners whose updates are known."""

import numpy as np
import pytest
import torch
from conftest import small_episode
from test_analysis import glyphs

from flp_agents import FLP, OML, GradientBased, Network
from flp_agents.experiments.analysis import updates_over_lifetime
from flp_agents.learners.descent import loss_gradients
from flp_agents.lifetime.inner_loop import inner_loop
from flp_agents.lifetime.running import EpisodeTensors

NETWORK = Network((3, 6, 5, 1))


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("layers", [1, 3])
def test_who_follows_the_gradient_goes_straight_downhill(order, layers):
    learner = GradientBased(NETWORK, layers, order=order, initial_rate=3e-3).double()
    updates = updates_over_lifetime(learner, small_episode(n=2))
    assert updates.cosines.shape == updates.magnitudes.shape == updates.relative_magnitudes.shape == (2, 6, layers)
    np.testing.assert_allclose(updates.cosines, 1, rtol=1e-9)


def test_the_gradient_is_that_of_the_learners_own_objective():
    _, learner, episode = glyphs("oml")
    np.testing.assert_allclose(updates_over_lifetime(learner, episode).cosines, 1, rtol=1e-9)


def test_who_goes_against_the_gradient_goes_uphill():
    learner = OML(NETWORK, 2, inner_rate=-1e-3).double()
    np.testing.assert_allclose(updates_over_lifetime(learner, small_episode()).cosines, -1, rtol=1e-9)


def test_who_does_not_learn_has_no_direction_and_no_size():
    learner = FLP(NETWORK, 2, initial_coefficient=0.0).double()
    updates = updates_over_lifetime(learner, small_episode(n=2))
    assert np.isnan(updates.cosines).all()
    assert not updates.magnitudes.any()
    assert not updates.relative_magnitudes.any()


def test_cosines_of_unequal_rates_by_hand():
    learner = GradientBased(NETWORK, 2).double()
    with torch.no_grad():
        for rates in learner.weight_rates:
            rates.copy_(torch.rand(rates.shape, generator=torch.Generator().manual_seed(0)) * 1e-3)
    episode = small_episode(n=1)
    updates = updates_over_lifetime(learner, episode)
    x, y = (learner.tensor(part[:, 0]) for part in (episode.support_x, episode.support_y))
    _, state = learner.predict(learner.init(1), learner.encode(x))
    gradients, _ = loss_gradients(state, y, learner.objective)
    for layer, (gradient, rates, weight) in enumerate(zip(gradients, learner.weight_rates, state.weights, strict=True)):
        update = -(rates * gradient).detach().numpy().ravel()
        downhill = -gradient.detach().numpy().ravel()
        size = np.linalg.norm(update)
        assert updates.cosines[0, 0, layer] == pytest.approx(update @ downhill / size / np.linalg.norm(downhill))
        assert updates.magnitudes[0, 0, layer] == pytest.approx(size)
        assert updates.relative_magnitudes[0, 0, layer] == pytest.approx(size / weight.detach().norm().item())
        assert 0 < updates.cosines[0, 0, layer] < 1


def test_updates_are_the_differences_of_weights_met_on_the_way():
    learner, episode = FLP(NETWORK, 2, initial_coefficient=1e-3).double(), small_episode(n=2)
    updates = updates_over_lifetime(learner, episode)
    tensors = EpisodeTensors.of(learner, episode)
    features = learner.encode(tensors.support_x)
    for step in range(6):
        before, after = (
            inner_loop(learner, learner.init(2), features[:, :lived], tensors.support_y[:, :lived]).weights
            for lived in (step, step + 1)
        )
        for layer in range(2):
            size = (after[layer] - before[layer]).flatten(1).norm(dim=1).detach()
            np.testing.assert_allclose(updates.magnitudes[:, step, layer], size, rtol=1e-9)
