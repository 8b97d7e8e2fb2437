"""Feedback through fixed weights, against backpropagation and against the rules written out by hand."""

import pytest
import torch
from conftest import small_episode
from test_gradient_based import CLASSES, OUTPUTS, SHAPE
from test_whole_network import IMAGES, LABELS, NUMBERS, image_episodes, network_of

from flp_agents import Network, run_lifetime
from flp_agents.baselines.descent import SGD
from flp_agents.baselines.feedback_alignment import DirectFeedbackAlignment, FeedbackAlignment
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.learners.objective import SquaredError

ONE_HIDDEN = Network((3, 9, 1), input_scale=(1.0, 0.5, 0.2))
ONE_CONVOLUTION = Network((SHAPE.features, OUTPUTS), convolutions=SHAPE)


def built(kind, shape, **options):
    objective = SquaredError() if shape.convolutions is None else LABELS
    return kind(network_of(shape), SGD(0.05), objective=objective, **options).double()


def pseudo_gradients(learner, n=2):
    """Of the first minibatch, in ``n`` lifetimes; for images of all of them at once."""
    images = learner.network.network.convolutions is not None
    episode = image_episodes(n) if images else small_episode(n=n)
    x, y = torch.from_numpy(episode.support_x), learner.targets(episode.support_y)
    x, y = (x.flatten(1, 2), y.flatten(1, 2)) if images else (x[:, 0], y[:, 0])
    _, state = learner.predict(learner.init(n), learner.encode(x))
    return learner.gradients(state, y)


def assert_equal(got, expected):
    for g, e in zip(got, expected, strict=True):
        assert e.abs().max() > 1e-6
        torch.testing.assert_close(g, e, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("shape", [NUMBERS, IMAGES], ids=["numbers", "images"])
def test_feedback_alignment_with_the_weights_themselves_is_backpropagation(shape):
    learner = built(FeedbackAlignment, shape)
    expected = pseudo_gradients(built(OnlineGradient, shape))
    aligned = pseudo_gradients(learner)
    assert not torch.allclose(aligned[0], expected[0], rtol=0.1)
    torch.testing.assert_close(aligned[-2:], expected[-2:])  # the output layer's are true in any case
    with torch.no_grad():
        for feedback, weight in zip(learner.feedback, learner.network.initial_parameters(1)[2::2], strict=True):
            feedback.copy_(weight[0])
    assert_equal(pseudo_gradients(learner), expected)


@pytest.mark.parametrize("shape", [ONE_HIDDEN, IMAGES], ids=["numbers", "images"])
def test_direct_feedback_with_the_output_weights_themselves_is_backpropagation_above_it(shape):
    """In all of a network with one hidden layer; in the last two layers of any."""
    learner = built(DirectFeedbackAlignment, shape)
    expected = pseudo_gradients(built(OnlineGradient, shape))
    assert not torch.allclose(pseudo_gradients(learner)[-4], expected[-4], rtol=0.1)
    with torch.no_grad():
        learner.feedback[-1].copy_(learner.network.initial_parameters(1)[-2][0].t())
    got = pseudo_gradients(learner)
    assert_equal(got[-4:], expected[-4:])
    if shape is IMAGES:
        assert not torch.allclose(got[0], expected[0], rtol=0.1)


def test_direct_feedback_of_a_convolution_below_the_output_can_be_backpropagation_too():
    shape = Network((3 * 5 * 5, OUTPUTS), convolutions=type(SHAPE)((1, 9, 9), 3, (2,), 1))
    learner = built(DirectFeedbackAlignment, shape)
    with torch.no_grad():
        learner.feedback[0].copy_(learner.network.initial_parameters(1)[-2][0].t())
    assert_equal(pseudo_gradients(learner), pseudo_gradients(built(OnlineGradient, shape)))


def test_direct_feedback_is_the_rule_of_the_paper():
    """Nokland (2016), equation 7: ``da_i = (B_i e) * f'(a_i)`` and ``dW_i = da_i h_{i-1}^T``, a layer at a time."""
    learner, lifetimes = built(DirectFeedbackAlignment, NUMBERS), 2
    episode = small_episode(n=lifetimes)
    got = pseudo_gradients(learner)
    weights = [p[0] for p in learner.network.initial_parameters(1)]
    for i in range(lifetimes):
        x, y = torch.from_numpy(episode.support_x[i, 0]), torch.from_numpy(episode.support_y[i, 0])
        h = [x * torch.tensor(NUMBERS.input_scale).double()]
        for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            h.append(torch.relu(h[-1] @ weight.t() + bias))
        error = 2 * (h[-1] @ weights[-2].t() + weights[-1] - y) / len(x)
        for layer, feedback in enumerate(learner.feedback):
            delta = (error @ feedback.detach().t()) * (h[layer + 1] > 0)
            torch.testing.assert_close(got[2 * layer][i], delta.t() @ h[layer], rtol=1e-10, atol=1e-13)
            torch.testing.assert_close(got[2 * layer + 1][i], delta.sum(0), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", [FeedbackAlignment, DirectFeedbackAlignment])
def test_feedback_weights_stay_and_are_those_of_the_seed(kind):
    learner = built(kind, NUMBERS, seed=3)
    before = [feedback.detach().clone() for feedback in learner.feedback]
    run_lifetime(learner, small_episode())
    again, other = built(kind, NUMBERS, seed=3), built(kind, NUMBERS, seed=4)
    for old, now, same, different in zip(before, learner.feedback, again.feedback, other.feedback, strict=True):
        assert torch.equal(old, now)
        assert torch.equal(old, same)
        assert not torch.equal(old, different)


def test_units_without_a_class_hear_nothing():
    gradients = pseudo_gradients(built(DirectFeedbackAlignment, ONE_CONVOLUTION))
    assert (gradients[-2][:, :CLASSES] != 0).any(2).all()
    assert (gradients[-2][:, CLASSES:] == 0).all()
