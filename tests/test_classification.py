"""Lifetimes that end in labels: FLP against NumPy and a plain torch loop, images through convolutions, learning."""

import math

import numpy as np
import pytest
import torch
from reference import query_loss
from torch.nn import functional

import flp_envs
from flp_agents import (
    FLP,
    OML,
    Autograd,
    Checkpointed,
    Feedback,
    Full,
    GradientBased,
    Hebb,
    MetaTrainer,
    Network,
    Oja,
    Reversible,
    Truncated,
    evaluate,
    get_preset,
    run_lifetime,
)
from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.objective import CrossEntropy
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.training import factory
from flp_envs import Episode

CLASSES, STEPS = 3, 6
# Support steps as well as query steps: 2 for each class.
SHAPE = Convolutions((1, 9, 9), 3, (2, 2), 1, mean=(1.0,), deviation=(-1.0,))
FULL = Full()
EXACT = [FULL, Checkpointed(), Checkpointed(4), Reversible(), Reversible(2), Autograd()]


def labelled_episode(inputs, seed, n):
    """``inputs(rng, labels)`` makes the inputs of ``n`` lifetimes, one pair a step."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.permuted(np.repeat(np.arange(CLASSES), 2 * STEPS // CLASSES)) for _ in range(n)])
    x = inputs(rng, labels)[:, :, None]
    parts = [(x[:, s], labels[:, s, None], labels[:, s]) for s in (slice(STEPS), slice(STEPS, None))]
    return Episode(*parts[0], *parts[1])


def of_numbers(seed=0, n=1):
    """Four numbers near the centre of their class."""
    return labelled_episode(
        lambda rng, y: rng.normal(size=(n, CLASSES, 4))[np.arange(n)[:, None], y] + rng.normal(size=(*y.shape, 4)) / 3,
        seed,
        n,
    )


def of_images(seed=0, n=1):
    """Images of 9 x 9 pixels near the pattern of their class."""

    def images(rng, y):
        patterns = rng.integers(30, 226, (n, CLASSES, *SHAPE.image_shape))
        noise = rng.integers(-30, 30, (*y.shape, *SHAPE.image_shape))
        return (patterns[np.arange(n)[:, None], y] + noise).astype(np.uint8)

    return labelled_episode(images, seed, n)


def shaken(learner, seed=1):
    """The learner in float64 with meta-parameters that all differ, so that mistakes show."""
    generator = torch.Generator().manual_seed(seed)
    learner = learner.double()
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += noise * (2e-4 if "coefficients" in name else 0.2)
    return learner


def flp(widths=(4, 6, 5, CLASSES), plastic=2, *, signal="target", output="clamped", rectified=True, **options):
    """FLP as the paper classifies: the target is fed back and clamps the output; hidden layers change 100-fold."""
    learner = shaken(
        FLP(
            Network(widths, convolutions=SHAPE if widths[0] == SHAPE.features else None),
            plastic,
            feedback=Feedback(signal=signal, output=output, rectified=rectified),
            objective=CrossEntropy(CLASSES, widths[-1]),
            **{"initial_coefficient": 6e-4, "initial_strength": 1.0, "hidden_multiplier": 100.0, **options},
        )
    )
    with torch.no_grad():
        learner.coefficients[-1] += 0.05
    return learner


def of_convolutions(plastic=2, outputs=CLASSES, **options):
    return flp((SHAPE.features, 7, 6, outputs), plastic, **options)


def other_learners(outputs=CLASSES):
    network, objective = Network((SHAPE.features, 7, 6, outputs), convolutions=SHAPE), CrossEntropy(CLASSES, outputs)
    return {
        "flp": of_convolutions(outputs=outputs),
        "feature reuse": of_convolutions(1, outputs),
        "gradient-based": shaken(GradientBased(network, 2, initial_rate=0.05, objective=objective)),
        "oml": shaken(OML(network, 2, inner_rate=0.05, objective=objective)),
    }


def lived(learner, episode, strategy=FULL):
    """The query loss and its gradient by meta-parameter."""
    learner.zero_grad(set_to_none=True)
    loss = run_lifetime(learner, episode, meta_gradient=strategy).query_loss.sum()
    loss.backward()
    return loss.item(), {name: gradient_of(parameter) for name, parameter in learner.named_parameters()}


def gradient_of(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def assert_same(got, expected, tolerance=1e-9):
    assert got[0] == pytest.approx(expected[0], rel=tolerance)
    for name, gradient in expected[1].items():
        assert float((got[1][name] - gradient).norm()) <= tolerance * float(gradient.norm()) + 1e-12, name


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"plastic": 1},
        {"plastic": 3},
        {"rule": "hebb", "hidden_multiplier": 10.0},
        {"initial_strength": 0.6},
        {"rectified": False},
        {"presynaptic": "after"},
        {"output": "mixed"},
        {"signal": "error", "output": "mixed", "initial_strength": 0.5},
        {"granularity": "neuron"},
        {"granularity": "layer"},
        {"widths": (4, 6, 5, CLASSES + 2)},
        {"widths": (4, 6, 5, CLASSES + 2), "signal": "error", "output": "mixed"},
    ],
    ids=str,
)
def test_query_loss_and_meta_gradient_agree_with_numpy_for_every_strategy(variant):
    rule = variant.get("rule", "oja")
    learner = flp(**{**variant, "rule": {"oja": Oja(), "hebb": Hebb()}[rule]})
    episode = of_numbers()
    plastic = variant.get("plastic", 2)
    options = {
        "classes": CLASSES,
        "rule": rule,
        "signal": learner.feedback.signal,
        "output": learner.feedback.output,
        "rectified": learner.feedback.rectified,
        "presynaptic": learner.presynaptic,
        "hidden_multiplier": learner.settings["hidden_multiplier"],
    }
    values = {name: p.detach().numpy().copy() for name, p in learner.named_parameters()}
    loss = query_loss(values, 3, plastic, episode, **options)
    gradient = {}
    for name, value in values.items():
        gradient[name] = np.zeros(value.shape)
        for index in np.ndindex(*value.shape):
            stepped = {**values, name: value.astype(complex)}
            stepped[name][index] += 1e-30j
            gradient[name][index] = np.imag(query_loss(stepped, 3, plastic, episode, **options)) / 1e-30
    for kind in ("layers.weights.0", "layers.biases.1", "coefficients.0", *["strengths.0"] * (plastic > 1)):
        assert np.abs(gradient[kind]).max() > 1e-6, kind
    for strategy in EXACT:
        got_loss, got = lived(learner, episode, strategy)
        assert got_loss == pytest.approx(loss, rel=1e-10), strategy
        for name, expected in gradient.items():
            np.testing.assert_allclose(got[name].numpy(), expected, rtol=1e-8, atol=1e-9, err_msg=f"{strategy} {name}")


def convolved(parameters, images):
    activity = 1.0 - images.double() / 255
    for i, stride in enumerate(SHAPE.strides):
        kernel, bias = parameters[f"layers.kernels.{i}"], parameters[f"layers.kernel_biases.{i}"]
        activity = functional.conv2d(activity, kernel, bias, stride=stride, padding=SHAPE.padding).relu()
    return activity.flatten(1)


def flp_loss_by_plain_torch(learner, episode, plastic):
    """One lifetime of FLP as the paper words it for classification, one image and one layer at a time."""
    p = dict(learner.named_parameters())
    weights = [p[f"layers.weights.{i}"] for i in range(3)]

    def forward(image):
        activity = [convolved(p, image)[0]]
        for i, weight in enumerate(weights):
            value = weight @ activity[-1] + p[f"layers.biases.{i}"]
            activity.append(value if i == 2 else torch.relu(value))
        return activity

    for image, label in zip(episode.support_x[0], episode.support_y[0], strict=True):
        activity = forward(torch.from_numpy(image))
        target = functional.one_hot(torch.from_numpy(label)[0], len(activity[-1])).double()
        for i in range(plastic):
            layer = 3 - plastic + i
            if layer == 2:
                post, multiplier = target, 1.0
            else:
                fed = torch.relu(p[f"pathways.{i}.weights.0"] @ target + p[f"pathways.{i}.biases.0"])
                strength = p[f"strengths.{i}"]
                post, multiplier = (1 - strength) * activity[layer + 1] + strength * fed, 100.0
            change = torch.outer(post, activity[layer]) - post.square().unsqueeze(1) * weights[layer]
            weights[layer] = weights[layer] + multiplier * p[f"coefficients.{i}"] * change
    answers = torch.stack([forward(torch.from_numpy(image))[-1] for image in episode.query_x[0]])
    return functional.cross_entropy(answers[:, :CLASSES], torch.from_numpy(episode.query_y[0, :, 0]))


@pytest.mark.parametrize("plastic", [1, 2, 3])
@pytest.mark.parametrize("outputs", [CLASSES, CLASSES + 3])
def test_the_meta_gradient_reaches_the_convolutions_and_is_that_of_a_plain_loop(plastic, outputs):
    learner, episode = of_convolutions(plastic, outputs), of_images()
    loss = flp_loss_by_plain_torch(learner, episode, plastic)
    names = [name for name, _ in learner.named_parameters()]
    gradients = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True, materialize_grads=True)
    expected = loss.item(), dict(zip(names, gradients, strict=True))
    for name in ("layers.kernels.0", "layers.kernel_biases.1", "coefficients.0"):
        assert float(expected[1][name].norm()) > 1e-4, name
    for strategy in [*EXACT, Truncated(STEPS)]:
        assert_same(lived(learner, episode, strategy), expected)


def test_in_float32_the_closed_form_finds_what_autograd_finds():
    learner, episode = of_convolutions().float(), of_images(n=3)
    expected = lived(learner, episode, Autograd())
    for strategy in (Full(), Checkpointed(), Reversible()):
        assert_same(lived(learner, episode, strategy), expected, 1e-3)


@pytest.mark.parametrize("strategy", [Full(), Checkpointed(), Autograd()], ids=str)
@pytest.mark.parametrize("name", other_learners())
def test_lifetimes_do_not_depend_on_their_neighbours(name, strategy):
    learner, together = other_learners()[name], of_images(n=4)
    lifetime = run_lifetime(learner, together, meta_gradient=strategy)
    total, gradient = 0.0, {n: torch.zeros_like(p) for n, p in learner.named_parameters()}
    for i in range(4):
        alone = run_lifetime(learner, together[i : i + 1], meta_gradient=strategy)
        assert alone.query_loss.item() == pytest.approx(lifetime.query_loss[i].item(), rel=1e-12)
        assert alone.query_score.item() == lifetime.query_score[i].item()
        torch.testing.assert_close(alone.query_predictions[0], lifetime.query_predictions[i], rtol=1e-10, atol=1e-12)
        loss, part = lived(learner, together[i : i + 1], strategy)
        total += loss
        gradient = {n: g + part[n] for n, g in gradient.items()}
    assert len(set(lifetime.query_loss.tolist())) == 4
    assert_same(lived(learner, together, strategy), (total, gradient))


@pytest.mark.parametrize("name", other_learners())
def test_loss_and_score_are_those_of_the_answers(name):
    learner, episode = other_learners(CLASSES + 4)[name], of_images(n=5)
    lifetime = run_lifetime(learner, episode)
    answers = lifetime.query_predictions.detach()[:, :, 0]
    assert answers.shape == (5, STEPS, CLASSES + 4)
    labels = episode.query_y[:, :, 0]
    wrong = answers[..., :CLASSES].numpy().argmax(-1) != labels
    np.testing.assert_allclose(lifetime.query_score, 100 * wrong.mean(1), rtol=1e-12)
    probabilities = torch.softmax(answers[..., :CLASSES], -1).numpy()
    of_the_right = np.take_along_axis(probabilities, labels[..., None], -1)
    np.testing.assert_allclose(lifetime.query_loss.detach(), -np.log(of_the_right).mean((1, 2)), rtol=1e-10)


def test_labels_become_one_hot_and_images_stay_bytes():
    learner, episode = of_convolutions(outputs=5), of_images(n=2)
    tensors = EpisodeTensors.of(learner, episode)
    assert tensors.support_x.dtype == tensors.query_x.dtype == torch.uint8
    for y, labels in ((tensors.support_y, episode.support_y), (tensors.query_y, episode.query_y)):
        assert y.shape == (2, STEPS, 1, 5)
        assert y.dtype == torch.float64
        assert torch.equal(y.argmax(-1), torch.from_numpy(labels))
        assert torch.equal(y.sum(-1), torch.ones(2, STEPS, 1, dtype=torch.float64))


class Counted:
    """Remembers the shapes of what a learner's ``encode`` was given."""

    def __init__(self, learner):
        self.shapes, self._encode = [], learner.encode
        learner.encode = self

    def __call__(self, x):
        self.shapes.append(tuple(x.shape))
        return self._encode(x)


@pytest.mark.parametrize("name", other_learners())
def test_features_are_computed_once_a_lifetime_for_support_and_query_together(name):
    together, half = (3, 2 * STEPS, 1, *SHAPE.image_shape), (3, STEPS, 1, *SHAPE.image_shape)
    for strategy, calls in ((Full(), 1), (Autograd(), 1), (Truncated(2), 1), (Checkpointed(), 2)):
        learner = other_learners()[name]
        counted = Counted(learner)
        loss = run_lifetime(learner, of_images(n=3), meta_gradient=strategy).query_loss.sum()
        # To first order the support's features need no graph, so the query's are computed apart.
        apart = learner.first_order and strategy != Autograd()
        assert counted.shapes == ([half, half] if apart else [together])
        loss.backward()
        # Checkpointed forgets them, and needs those with a graph once more.
        again = [half if apart else together] * (calls - 1)
        assert counted.shapes == ([half, half] if apart else [together]) + again, strategy
    learner = other_learners()[name]
    counted = Counted(learner)
    env = flp_envs.make("FLPGlyph-IID-v0", image_size=9, num_classes=CLASSES, shots=2, query_shots=2)
    evaluate(learner, env, episodes=3)
    assert counted.shapes == [(1, *together[1:]), (2, *together[1:])]


@pytest.mark.parametrize("name", other_learners())
def test_units_beyond_the_classes_take_no_part(name):
    """The released code's 1,000 output units are as good as one for each class."""
    narrow, wide = other_learners()[name], other_learners(1000)[name]
    with torch.no_grad():
        for small, large in zip(narrow.parameters(), wide.parameters(), strict=True):
            large[tuple(slice(size) for size in small.shape)] = small
    episode = of_images(n=2)
    expected, got = run_lifetime(narrow, episode), run_lifetime(wide, episode)
    torch.testing.assert_close(got.query_predictions[..., :CLASSES], expected.query_predictions, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(got.query_loss, expected.query_loss, rtol=1e-10, atol=0)
    assert torch.equal(got.query_score, expected.query_score)
    before, after = wide.init(2), got.state
    assert torch.equal(after.weights[-1][:, CLASSES:], before.weights[-1][:, CLASSES:])
    assert torch.equal(after.biases[-1][:, CLASSES:], before.biases[-1][:, CLASSES:])
    moved = (after.weights[-1] - before.weights[-1])[:, :CLASSES]
    assert (moved.abs().amax(2) > 1e-4).all()
    gradient, wide_gradient = lived(narrow, episode)[1], lived(wide, episode)[1]
    for parameter, small in gradient.items():
        large = wide_gradient[parameter]
        part = large[tuple(slice(size) for size in small.shape)]
        torch.testing.assert_close(part, small, rtol=1e-8, atol=1e-11, msg=parameter)
        assert large.abs().sum().item() == pytest.approx(part.abs().sum().item(), rel=1e-12, abs=1e-15), parameter


@pytest.mark.parametrize("strategy", [Full(), Checkpointed(2), Truncated(2)], ids=str)
@pytest.mark.parametrize("name", other_learners())
def test_nothing_is_copied_to_the_device_within_a_lifetime(name, strategy, monkeypatch):
    """On torch's meta device, with no tensor made from host values: what passes can be recorded in a CUDA graph."""
    learner = other_learners()[name]
    tensors = EpisodeTensors(*(t.to("meta") for t in EpisodeTensors.of(learner, of_images(n=2))))
    learner = learner.to("meta")
    for maker in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, maker, lambda *_, **__: pytest.fail("a tensor was made from host values"))
    run_lifetime(learner, tensors, meta_gradient=strategy).query_loss.mean().backward()
    assert learner.layers.kernels[0].grad.shape == (3, 1, 3, 3)


def make_glyphs(split):
    return flp_envs.make("FLPGlyph-Continual-v0", split=split, image_size=14, num_classes=3, shots=4, query_shots=2)


@pytest.mark.parametrize("name", ["flp", "gradient-based"])
def test_a_few_dozen_outer_steps_answer_clearly_better_than_chance(name, monkeypatch):
    """Chance is a query loss of ln 3 and two wrong answers in three; classes of meta-testing are new."""
    starts = {"initial_coefficient": 1.0, "coefficient_unit": 0.05, "hidden_multiplier": 0.02, "initial_rate": 50.0}
    preset = get_preset("paper", name, starts, kind="images")
    shape = Convolutions((1, 14, 14), 8, (2, 2), 1, mean=(1.0,), deviation=(-1.0,))
    network = Network((shape.features, 32, 3), convolutions=shape)
    monkeypatch.setattr(factory, "network_for", lambda *_: network)
    learner = factory.build_learner(name, make_glyphs("meta-train"), preset, 1)
    untrained = evaluate(learner, make_glyphs("meta-test"), episodes=40, seed=9).mean
    rates = {"weights": 1e-2, "feedback": 1e-2, "coefficients": 0.02, "inner_rates": 0.1}
    rates = {group: rates.get(group, 0.0) for group in learner.parameter_groups()}
    trainer = MetaTrainer(learner, make_glyphs("meta-train"), rates=rates, meta_batch=4, seed=1)
    losses = [trainer.step().query_loss for _ in range(60)]
    assert np.mean(losses[-20:]) < 0.85 * math.log(3)
    assert evaluate(learner, make_glyphs("meta-test"), episodes=40, seed=9).mean < min(50.0, untrained)
