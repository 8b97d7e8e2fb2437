"""A network with weights of its own in every lifetime, against torch's own layers and differentiation."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import small_episode
from test_gradient_based import CLASSES, OUTPUTS, SHAPE, cross_entropy_of_the_first_units, image_episode

from flp_agents import GradientBased, Network, run_lifetime
from flp_agents.baselines.descent import SGD, Adam
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.baselines.whole_network import WholeNetwork, sides_of
from flp_agents.learners.objective import CrossEntropy
from flp_envs import Episode, InvalidSize

NUMBERS = Network((3, 9, 8, 1), input_scale=(1.0, 0.5, 0.2))
IMAGES = Network((SHAPE.features, 7, OUTPUTS), convolutions=SHAPE)
LABELS = CrossEntropy(CLASSES, OUTPUTS)


def image_episodes(n):
    return Episode.stack([image_episode(seed) for seed in range(n)])


def network_of(shape, seed=0):
    """In float64, with biases that are not 0."""
    generator = torch.Generator().manual_seed(seed)
    network = WholeNetwork.random(shape, generator).double()
    with torch.no_grad():
        for bias in (*network.layers.biases, *network.layers.kernel_biases):
            bias += 0.1 * torch.randn(bias.shape, generator=generator).to(bias)
    return network


def plain_answer(network, parameters, lifetime, x):
    """One lifetime's answers by torch's own layers."""
    layers = [(w[lifetime], b[lifetime]) for w, b in zip(parameters[::2], parameters[1::2], strict=True)]
    shape = network.network.convolutions
    if shape is None:
        activity = x * torch.tensor(network.network.input_scale).double()
    else:
        activity = (x.double() / 255 - shape.mean[0]) / shape.deviation[0]
        for stride in shape.strides:
            (weight, bias), *layers = layers
            kernel = weight.reshape(len(weight), activity.shape[1], 3, 3)
            activity = torch.nn.functional.conv2d(activity, kernel, bias, stride=stride, padding=shape.padding).relu()
        activity = activity.flatten(1)
    for weight, bias in layers[:-1]:
        activity = torch.nn.functional.linear(activity, weight, bias).relu()
    return torch.nn.functional.linear(activity, *layers[-1])


def moved(parameters, seed=1):
    """Other weights in every lifetime."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(p + 0.1 * torch.randn(p.shape, generator=generator).to(p) for p in parameters)


@pytest.mark.parametrize(
    "shape", [NUMBERS, IMAGES, dataclasses.replace(NUMBERS, widths=(3, 1))], ids=["numbers", "images", "linear"]
)
def test_answers_and_gradients_are_torchs_own(shape):
    network, lifetimes = network_of(shape), 3
    images = shape.convolutions is not None
    episode = image_episodes(lifetimes) if images else small_episode(n=lifetimes)
    x, y = torch.from_numpy(episode.support_x).flatten(1, 2), torch.from_numpy(episode.support_y).flatten(1, 2)
    parameters = moved(network.initial_parameters(lifetimes))
    learner = OnlineGradient(network, SGD(0.1), objective=LABELS if images else OnlineGradient.objective)
    targets = learner.targets(episode.support_y).flatten(1, 2)
    answers = network.predict(parameters, network.encode(x))
    answered = network.run(parameters, network.encode(x))
    assert torch.equal(answered.predictions, answers)
    got = network.gradients(parameters, answered, learner.objective.gradient(answers, targets))
    for i in range(lifetimes):
        mine = tuple(p[i : i + 1].clone().requires_grad_() for p in parameters)
        expected = plain_answer(network, mine, 0, x[i])
        torch.testing.assert_close(answers[i], expected, rtol=1e-11, atol=1e-13)
        loss = cross_entropy_of_the_first_units if images else torch.nn.functional.mse_loss
        for g, e in zip(got, torch.autograd.grad(loss(expected, y[i]), mine), strict=True):
            assert e.abs().max() > 1e-6
            torch.testing.assert_close(g[i], e[0], rtol=1e-10, atol=1e-13)


def test_numbers_of_units_are_those_of_the_activities():
    for shape in (NUMBERS, IMAGES, Network((5, 2))):
        network = network_of(shape)
        x = torch.zeros(2, 3, *shape.input_shape, dtype=torch.float64)
        *hidden, _ = network.run(network.initial_parameters(2), x).activities
        assert network.hidden_sizes == [activity[0].numel() // 3 for activity in hidden]
        shapes = [tuple(p.shape[1:]) for p in network.initial_parameters(2)[::2]]
        assert network.shapes == shapes


def test_sides_are_those_of_oblong_images_too():
    shape = dataclasses.replace(SHAPE, image_shape=(1, 9, 14))
    height, width = sides_of(shape)[-1]
    assert (height, width) == (3, 4)
    assert shape.features == shape.channels * height * width
    network = network_of(Network((shape.features, 2), convolutions=shape))
    x = torch.arange(2 * 9 * 14, dtype=torch.uint8).reshape(1, 2, 1, 9, 14)
    parameters = tuple(p.clone().requires_grad_() for p in network.initial_parameters(1))
    expected = plain_answer(network, parameters, 0, x[0])
    answered = network.run(parameters, x)
    torch.testing.assert_close(answered.predictions[0], expected)
    got = network.gradients(parameters, answered, torch.ones_like(answered.predictions))
    torch.testing.assert_close(got, torch.autograd.grad(expected.sum(), parameters))


@pytest.mark.parametrize("images", [False, True])
def test_online_descent_is_first_order_gradient_based_learning_of_all_layers(images):
    """The package's own learner with all fully connected layers plastic, where there are no convolutions to learn."""
    episode = image_episodes(2) if images else small_episode(n=2)
    shape = IMAGES if images else NUMBERS
    objective = LABELS if images else OnlineGradient.objective
    theirs = GradientBased(shape, shape.layers, order="first", initial_rate=0.05, objective=objective, seed=3).double()
    ours = OnlineGradient(WholeNetwork(theirs.layers), SGD(0.05000000074505806), objective=objective)
    if images:  # keep the convolutions as they are
        descend = ours.descend
        still = 2 * len(SHAPE.strides)
        ours.descend = lambda state, g: descend(state, (*(torch.zeros_like(k) for k in g[:still]), *g[still:]))
    expected, got = run_lifetime(theirs, episode), run_lifetime(ours, episode)
    assert not torch.allclose(expected.state.weights[0][0], theirs.layers.weights[0], atol=1e-4)
    torch.testing.assert_close(got.query_predictions, expected.query_predictions.detach(), rtol=1e-9, atol=1e-12)


def torch_optimizer(descent, parameters):
    if isinstance(descent, Adam):
        return torch.optim.Adam(parameters, descent.rate, (descent.first_decay, descent.second_decay), descent.epsilon)
    return torch.optim.SGD(parameters, descent.rate)


@pytest.mark.parametrize("descent", [SGD(0.05), SGD(0.05, clip=2.0), Adam(0.01), Adam(0.02, 0.8, 0.9, 1e-3)], ids=str)
@pytest.mark.parametrize("shape", [NUMBERS, IMAGES], ids=["numbers", "images"])
def test_a_lifetime_is_that_of_torchs_own_optimizer(shape, descent):
    images = shape.convolutions is not None
    episode = image_episodes(2) if images else small_episode(n=2)
    network = network_of(shape)
    lifetime = run_lifetime(
        OnlineGradient(network, descent, objective=LABELS if images else OnlineGradient.objective), episode
    )
    loss_of = cross_entropy_of_the_first_units if images else torch.nn.functional.mse_loss
    clipped = []
    for i in range(2):
        mine = [p.clone().requires_grad_() for p in network.initial_parameters(1)]
        optimizer = torch_optimizer(descent, mine)
        for x, y in zip(torch.from_numpy(episode.support_x[i]), torch.from_numpy(episode.support_y[i]), strict=True):
            optimizer.zero_grad()
            loss_of(plain_answer(network, mine, 0, x), y).backward()
            if getattr(descent, "clip", np.inf) < np.inf:
                clipped.append(bool(torch.nn.utils.clip_grad_norm_(mine, descent.clip) > descent.clip))
            optimizer.step()
        for got, expected, before in zip(lifetime.state.parameters, mine, network.initial_parameters(1), strict=True):
            assert not torch.allclose(expected, before, atol=1e-4)
            torch.testing.assert_close(got[i], expected[0].detach(), rtol=1e-6, atol=1e-6)
    assert not clipped or 0 < sum(clipped) < len(clipped)  # some gradients are longer than that, and some are not


def test_steps_that_are_not_above_zero_are_refused():
    for make in (lambda: SGD(0.0), lambda: Adam(-1.0), lambda: SGD(0.1, clip=0.0), lambda: SGD(float("nan"))):
        with pytest.raises(InvalidSize, match="must be a finite number above 0"):
            make()


def test_no_gradient_leads_back_through_a_lifetime():
    lifetime = run_lifetime(OnlineGradient(network_of(NUMBERS), SGD(0.1)), small_episode())
    assert not lifetime.query_loss.requires_grad
