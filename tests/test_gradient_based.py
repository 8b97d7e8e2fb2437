"""The gradient-based rivals against torch's own differentiation."""

import numpy as np
import pytest
import torch
from conftest import small_episode

from flp_agents import OML, GradientBased, Network, run_lifetime
from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.objective import CrossEntropy
from flp_envs import Episode, InvalidChoice

NETWORK = Network((3, 5, 4, 6, 1))


def autograd_query_loss(
    weights,
    biases,
    rates,
    bias_rates,
    plastic,
    episode,
    *,
    second_order,
    loss_of=torch.nn.functional.mse_loss,
    below=lambda x: x,
):
    """Inner SGD by ``torch.autograd.grad`` on an ordinary network, one lifetime; ``below``: its convolutions."""
    weights, biases = list(weights), list(biases)
    trunk = len(weights) - plastic

    def forward(x):
        x = below(x)
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            x = torch.nn.functional.linear(x, w, b)
            x = torch.relu(x) if i < len(weights) - 1 else x
        return x

    for x, y in zip(episode.support_x[0], episode.support_y[0], strict=True):
        loss = loss_of(forward(torch.from_numpy(x)), torch.from_numpy(y))
        fast = [*weights[trunk:], *biases[trunk:]]
        gradients = torch.autograd.grad(loss, fast, create_graph=second_order)
        steps = [g * r for g, r in zip(gradients, [*rates, *bias_rates], strict=True)]
        fast = [p - s for p, s in zip(fast, steps, strict=True)]
        weights[trunk:], biases[trunk:] = fast[:plastic], fast[plastic:]
    query = torch.stack([forward(torch.from_numpy(x)) for x in episode.query_x[0]])
    return loss_of(query, torch.from_numpy(episode.query_y[0]))


@pytest.mark.parametrize("plastic", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["second", "first"])
def test_inner_loop_and_meta_gradient_agree_with_autograd(plastic, order, episode):
    learner = GradientBased(NETWORK, plastic, order=order, initial_rate=0.05).double()
    with torch.no_grad():
        for rate in learner.weight_rates:
            rate += torch.rand(rate.shape, dtype=torch.float64) * 0.02
    parameters = list(learner.parameters())
    loss = run_lifetime(learner, episode).query_loss.sum()
    got = torch.autograd.grad(loss, parameters)
    reference = autograd_query_loss(
        learner.layers.weights,
        learner.layers.biases,
        learner.weight_rates,
        learner.bias_rates,
        plastic,
        episode,
        second_order=order == "second",
    )
    expected = torch.autograd.grad(reference, parameters)
    assert loss.item() == pytest.approx(reference.item(), rel=1e-12)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


def test_the_two_orders_differ_in_gradient_only(episode):
    learners = [GradientBased(NETWORK, 3, order=order, initial_rate=0.05).double() for order in ("second", "first")]
    losses = [run_lifetime(learner, episode).query_loss.sum() for learner in learners]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
    gradients = [
        torch.autograd.grad(a, a_learner.layers.weights[0])[0] for a, a_learner in zip(losses, learners, strict=True)
    ]
    assert not torch.allclose(*gradients, rtol=1e-3)


def test_oml_is_first_order_descent_with_one_rate(episode):
    oml = OML(NETWORK, 3, inner_rate=0.05).double()
    same = GradientBased(NETWORK, 3, order="first", initial_rate=0.05).double()
    a, b = run_lifetime(oml, episode).query_loss.sum(), run_lifetime(same, episode).query_loss.sum()
    assert a.item() == pytest.approx(b.item(), rel=1e-7)  # the rate 0.05 was rounded to float32 once
    assert set(oml.parameter_groups()) == {"weights"}


CLASSES, OUTPUTS = 3, 5
SHAPE = Convolutions((1, 9, 9), 3, (2, 2), 1, mean=(0.3,), deviation=(0.4,))


def image_episode(seed=0):
    """One lifetime, an image a step: 2 images of each of 3 classes, and 2 to ask for."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (1, 12, 1, *SHAPE.image_shape), np.uint8)
    labels = rng.permuted(np.tile(np.arange(CLASSES), 4))[None, :, None]
    tasks = labels[:, :, 0]
    return Episode(images[:, :6], labels[:, :6], tasks[:, :6], images[:, 6:], labels[:, 6:], tasks[:, 6:])


def cross_entropy_of_the_first_units(answers, labels):
    return torch.nn.functional.cross_entropy(answers[..., :CLASSES].flatten(0, -2), labels.flatten())


def convolutions_of(learner):
    def below(images):
        activity = (images.double() / 255 - 0.3) / 0.4
        for kernel, bias in zip(learner.layers.kernels, learner.layers.kernel_biases, strict=True):
            activity = torch.nn.functional.conv2d(activity, kernel, bias, stride=2, padding=1).relu()
        return activity.flatten(1)

    return below


@pytest.mark.parametrize("plastic", [1, 2, 3])
@pytest.mark.parametrize("kind", ["second", "first", "oml"])
def test_classification_descends_the_cross_entropy_that_torch_knows(kind, plastic):
    network = Network((SHAPE.features, 7, 6, OUTPUTS), convolutions=SHAPE)
    objective, episode = CrossEntropy(CLASSES, OUTPUTS), image_episode()
    if kind == "oml":
        learner = OML(network, plastic, inner_rate=0.05, objective=objective).double()
        weight_rates = bias_rates = [learner.inner_rate] * plastic
    else:
        learner = GradientBased(network, plastic, order=kind, initial_rate=0.05, objective=objective).double()
        weight_rates, bias_rates = list(learner.weight_rates), list(learner.bias_rates)
        with torch.no_grad():
            for rate in weight_rates:
                rate += torch.rand(rate.shape, dtype=torch.float64) * 0.02
    parameters = list(learner.parameters())
    lifetime = run_lifetime(learner, episode)
    reference = autograd_query_loss(
        learner.layers.weights,
        learner.layers.biases,
        weight_rates,
        bias_rates,
        plastic,
        episode,
        second_order=kind == "second",
        loss_of=cross_entropy_of_the_first_units,
        below=convolutions_of(learner),
    )
    assert lifetime.query_loss.item() == pytest.approx(reference.item(), rel=1e-12)
    assert not torch.allclose(lifetime.state.weights[-1][0], learner.layers.weights[-1], atol=1e-3)
    got = torch.autograd.grad(lifetime.query_loss.sum(), parameters)
    expected = torch.autograd.grad(reference, parameters)
    assert all(float(g.norm()) > 0 for g in expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


def test_redrawn_output_weights_differ_in_every_training_lifetime_and_never_in_evaluation():
    learner = GradientBased(NETWORK, 2, redraw_output=True)
    drawn = learner.init(2).weights[-1]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(learner.eval().init(1).weights[-1][0], learner.layers.weights[-1])


def test_lifetimes_do_not_depend_on_their_neighbours():
    learner = GradientBased(NETWORK, 3, initial_rate=0.05).double()
    together = small_episode(n=4)
    losses = run_lifetime(learner, together).query_loss
    for i in range(4):
        assert losses[i].item() == pytest.approx(
            run_lifetime(learner, together[i : i + 1]).query_loss.item(), rel=1e-12
        )


def test_unknown_order_suggests_the_nearest():
    with pytest.raises(InvalidChoice, match="did you mean 'second'"):
        GradientBased(NETWORK, 2, order="secnd")
