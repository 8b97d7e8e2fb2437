"""Elastic weight consolidation, against its equations written out for one lifetime."""

from dataclasses import replace

import pytest
import torch
from conftest import small_episode
from test_whole_network import IMAGES, LABELS, NUMBERS, image_episodes, network_of, plain_answer

from flp_agents import run_lifetime
from flp_agents.baselines.descent import SGD, Adam
from flp_agents.baselines.elastic_weights import ElasticWeights
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.learners.objective import SquaredError
from flp_envs import InvalidSize


@pytest.mark.parametrize("shape", [NUMBERS, IMAGES], ids=["numbers", "images"])
@pytest.mark.parametrize("descent", [SGD(0.05), Adam(0.01)], ids=["sgd", "adam"])
def test_with_strength_0_it_is_plain_descent(shape, descent):
    images = shape.convolutions is not None
    objective, episode = (LABELS, image_episodes(2)) if images else (SquaredError(), small_episode(n=2))
    plain = run_lifetime(OnlineGradient(network_of(shape), descent, objective=objective), episode)
    answers = {}
    for strength in (0.0, 1e3):
        learner = ElasticWeights(network_of(shape), descent, strength=strength, every=2, objective=objective)
        answers[strength] = run_lifetime(learner, episode).query_predictions
    assert torch.equal(answers[0.0], plain.query_predictions)
    assert not torch.allclose(answers[1e3], plain.query_predictions, rtol=1e-3)


def test_steps_are_the_equations():
    """With a running Fisher information and an anchor renewed every second step, for six steps."""
    rate, strength, keeps, decay = 0.05, 30.0, 0.8, 0.6
    network = network_of(NUMBERS)
    learner = ElasticWeights(network, SGD(rate), strength=strength, every=2, keeps=keeps, decay=decay)
    episode = small_episode(n=2)
    state = run_lifetime(learner, episode).state
    for i in range(2):
        weights = [p.clone() for p in network.initial_parameters(1)]
        anchor = [w.clone() for w in weights]
        running, importance = ([torch.zeros_like(w) for w in weights] for _ in range(2))
        steps = zip(torch.from_numpy(episode.support_x[i]), torch.from_numpy(episode.support_y[i]), strict=True)
        for step, (x, y) in enumerate(steps, 1):
            leaves = [w.clone().requires_grad_() for w in weights]
            loss = torch.nn.functional.mse_loss(plain_answer(network, leaves, 0, x), y)
            for j, gradient in enumerate(torch.autograd.grad(loss, leaves)):
                moved = weights[j] - rate * gradient
                # The minimum of |w - moved|^2 / (2 rate) + strength / 2 importance (w - anchor)^2
                pull = rate * strength * importance[j]
                weights[j] = (moved + pull * anchor[j]) / (1 + pull)
                running[j] = decay * running[j] + (1 - decay) * gradient**2
            if step % 2 == 0:
                anchor = [w.clone() for w in weights]
                importance = [keeps * old + new for old, new in zip(importance, running, strict=True)]
        for got, expected in (
            (state.parameters, weights),
            (state.kept.anchor, anchor),
            (state.kept.importance, importance),
        ):
            for g, e in zip(got, expected, strict=True):
                torch.testing.assert_close(g[i], e[0], rtol=1e-9, atol=1e-12)
    assert state.kept.steps.tolist() == [6.0, 6.0]


def test_after_consolidation_weights_move_the_less_the_stronger_it_is_and_no_strength_is_unstable():
    episode = small_episode(n=1, steps_per_function=10)
    moved = []
    for strength in (0.0, 1e2, 1e4, 1e12):
        learner = ElasticWeights(network_of(NUMBERS), SGD(0.05), strength=strength, every=10, keeps=1.0)
        state = run_lifetime(learner, episode).state
        half = run_lifetime(
            learner, replace(episode, support_x=episode.support_x[:, :10], support_y=episode.support_y[:, :10])
        ).state
        important = [importance > 0 for importance in half.kept.importance]
        moved.append(
            sum(
                float(((p - a) * i).square().sum())
                for p, a, i in zip(state.parameters, half.parameters, important, strict=True)
            )
        )
    assert moved[0] > moved[1] > moved[2] > moved[3]
    assert moved[3] < 1e-9


def test_numbers_outside_their_range_are_refused():
    for options, match in (
        ({"strength": -1.0}, "strength must be a finite number of at least 0, got -1.0"),
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"keeps": 1.5}, "keeps must be a finite number of at least 0 and at most 1, got 1.5"),
        ({"decay": float("nan")}, "decay must be a finite number of at least 0 and at most 1"),
    ):
        with pytest.raises(InvalidSize, match=match):
            ElasticWeights(network_of(NUMBERS), SGD(0.1), **options)
