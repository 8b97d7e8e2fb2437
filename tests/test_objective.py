"""What answers are held against targets with: values worked by hand, and torch's own functions."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import flp_envs
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces, SquaredError, in_words, objective_of
from flp_envs import InvalidSize

SMALL_GLYPH = {"num_classes": 3, "shots": 1, "query_shots": 1, "image_size": 8}
SMALL_SINE = {"num_functions": 2, "steps_per_function": 1, "batch_size": 4, "query_size": 4}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(*shape, classes, seed=0):
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def test_squared_error_by_hand():
    answers = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[0.0, 0.0]], [[0.0, 2.0]]]])
    targets = torch.tensor([[[[1.0, 0.0]], [[0.0, 4.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])
    assert SquaredError().losses(answers, targets).tolist() == [13 / 4, 1.0]
    assert SquaredError().scores(answers, targets).tolist() == [13 / 4, 1.0]
    # 2 / (pairs x outputs) times the difference.
    gradient = SquaredError().gradient(answers[:, :, 0], targets[:, :, 0])
    assert gradient.tolist() == [[[0.0, 1.0], [1.5, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]


def test_cross_entropy_by_hand():
    """With answers ln 1, ln 2, ln 5 the classes have the probabilities 1/8, 2/8, 5/8."""
    objective = CrossEntropy(3, 4)
    answers = torch.tensor([1.0, 2.0, 5.0, 1e9]).log().expand(1, 2, 1, 4)
    targets = objective.targets(torch.tensor([[[0], [2]]]))
    assert targets.tolist() == [[[[1, 0, 0, 0]], [[0, 0, 1, 0]]]]
    assert objective.losses(answers, targets).item() == pytest.approx((np.log(8) + np.log(8 / 5)) / 2)
    assert objective.scores(answers, targets).tolist() == [50.0]
    gradient = objective.gradient(answers[:, :, 0], targets[:, :, 0])
    expected = [[-7 / 16, 1 / 8, 5 / 16, 0.0], [1 / 16, 1 / 8, -3 / 16, 0.0]]
    np.testing.assert_allclose(gradient[0].numpy(), expected, rtol=1e-6)


def test_squared_error_is_torchs_mean_squared_error():
    answers, targets = drawn(3, 4, 2, 5), drawn(3, 4, 2, 5, seed=1)
    expected = [functional.mse_loss(a, t).item() for a, t in zip(answers, targets, strict=True)]
    assert SquaredError().losses(answers, targets).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("outputs", [5, 9])
def test_cross_entropy_is_torchs_over_the_first_units(outputs):
    objective, y = CrossEntropy(5, outputs), labels(3, 4, 2, classes=5)
    answers = 3.0 * drawn(3, 4, 2, outputs)
    got = objective.losses(answers, objective.targets(y))
    used = answers[..., :5].reshape(3, 8, 5)
    expected = [functional.cross_entropy(a, t).item() for a, t in zip(used, y.reshape(3, 8), strict=True)]
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


def test_large_answers_lose_no_digits():
    objective = CrossEntropy(2, 2)
    answers = torch.tensor([[[[1000.0, 0.0]]], [[[0.0, -1000.0]]]], requires_grad=True)
    loss = objective.losses(answers, objective.targets(torch.tensor([[[1]], [[1]]])))
    assert loss.tolist() == [1000.0, 1000.0]
    loss.sum().backward()
    assert answers.grad.flatten().tolist() == [1.0, -1.0, 1.0, -1.0]


@settings(max_examples=40, deadline=None)
@given(
    classes=st.integers(2, 6),
    unused=st.integers(0, 3),
    lifetimes=st.integers(1, 3),
    batch=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_gradients_are_those_of_the_loss_of_one_minibatch(classes, unused, lifetimes, batch, seed):
    objective = CrossEntropy(classes, classes + unused)
    answers = (2.0 * drawn(lifetimes, batch, classes + unused, seed=seed)).requires_grad_()
    targets = objective.targets(labels(lifetimes, batch, classes=classes, seed=seed)).double()
    (expected,) = torch.autograd.grad(objective.losses(answers.unsqueeze(1), targets.unsqueeze(1)).sum(), answers)
    got = objective.gradient(answers, targets)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-14)
    assert not got[..., classes:].any()
    numbers = drawn(*answers.shape, seed=seed + 1)
    loss = SquaredError().losses(answers.unsqueeze(1), numbers.unsqueeze(1)).sum()
    (expected,) = torch.autograd.grad(loss, answers)
    torch.testing.assert_close(SquaredError().gradient(answers, numbers), expected, rtol=1e-10, atol=1e-14)


def test_units_beyond_the_classes_never_win_and_change_nothing():
    objective, y = CrossEntropy(3, 6), labels(2, 4, 1, classes=3)
    answers = drawn(2, 4, 1, 6)
    targets = objective.targets(y)
    loud = answers.clone()
    loud[..., 3:] = 1e6
    assert objective.actions(loud).max() < 3
    for judge in (objective.losses, objective.scores):
        assert torch.equal(judge(loud, targets), judge(answers, targets))
    loud.requires_grad_()
    objective.losses(loud, targets).sum().backward()
    assert not loud.grad[..., 3:].any()
    assert loud.grad[..., :3].any()


@pytest.mark.parametrize("shape", [(), (7,), (2, 5, 1)])
def test_actions_undo_targets(shape):
    y = labels(*shape, classes=4)
    for outputs in (4, 10):
        objective = CrossEntropy(4, outputs)
        targets = objective.targets(y.to(torch.uint8))
        assert targets.shape == (*shape, outputs)
        assert (targets.sum(-1) == 1).all()
        assert torch.equal(objective.actions(targets), y)
    numbers = drawn(*shape, 2)
    assert torch.equal(SquaredError().actions(SquaredError().targets(numbers)), numbers)


def test_the_score_is_the_share_of_wrong_answers_in_per_cent():
    objective = CrossEntropy(4, 4)
    y = torch.tensor([[[0], [1], [2], [3]], [[0], [0], [0], [0]]])
    answered = torch.tensor([[[0], [1], [2], [0]], [[1], [2], [3], [0]]])
    scores = objective.scores(objective.targets(answered).float(), objective.targets(y))
    assert scores.tolist() == [25.0, 75.0]
    assert objective.metric == "error_percent"


def test_a_return_becomes_a_score():
    assert SquaredError().score_of_return(-2.5) == 2.5
    assert CrossEntropy(5, 5).score_of_return(0.75) == 25.0


@pytest.mark.parametrize(("classes", "outputs"), [(1, 5), (5, 4), (2.5, 5)])
def test_impossible_sizes_are_refused(classes, outputs):
    with pytest.raises(InvalidSize, match="must be a whole number of at least"):
        CrossEntropy(classes, outputs)


@pytest.mark.parametrize("make", [flp_envs.make, lambda name, **o: gym.make_vec(name, num_envs=2, **o)])
def test_an_environment_says_what_it_asks_for(make):
    assert objective_of(make("FLPSine-IID-v0", **SMALL_SINE)) == SquaredError()
    assert objective_of(make("FLPSine-IID-v0", **SMALL_SINE), 7) == SquaredError()
    glyphs = make("FLPGlyph-IID-v0", **SMALL_GLYPH)
    assert objective_of(glyphs) == CrossEntropy(3, 3)
    assert objective_of(glyphs, 2) == CrossEntropy(3, 3)
    assert objective_of(glyphs, 1000) == CrossEntropy(3, 1000)


class OfSpace:
    def __init__(self, **parts):
        self.observation_space = spaces.Dict(parts)


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        (gym.make("CartPole-v1"), r"Box\(\(4,\), float32\)"),
        (OfSpace(x=spaces.Discrete(3)), r"Dict\(x: Discrete\(3\)\)"),
        (OfSpace(x=spaces.Discrete(3), y=spaces.MultiBinary(2)), r"y: MultiBinary\(2\)\)"),
        (OfSpace(y=spaces.Discrete(3)), r"Dict\(y: Discrete\(3\)\)"),
        (OfSpace(x=spaces.Discrete(3), y=spaces.Discrete(3, start=1)), r"y: Discrete\(3, start=1\)\)"),
    ],
)
def test_a_space_without_numbers_or_labels_is_refused_in_one_line(env, shown):
    with pytest.raises(IncompatibleSpaces, match=f"y of numbers .* or labels .*, got .*{shown}") as caught:
        objective_of(env)
    assert "\n" not in str(caught.value)


def test_a_space_is_shown_in_one_line_however_large():
    space = flp_envs.make("FLPSine-IID-v0").observation_space
    assert "\n" in str(space)
    text = in_words(space)
    assert "x: Box((32, 11), float32), y: Box((32, 1), float32)" in text
    assert "\n" not in text
    assert "\n" not in in_words(spaces.Tuple([space]))
