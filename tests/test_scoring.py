"""What answers score: a loss at every step, and rewards that add up to the paper's figure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flp_envs import FLPError, InvalidAction
from flp_envs.scoring import LabelError, SquaredError

BEYOND_FLOAT32 = float(np.finfo(np.float32).max) * 2


def numbers(*shape):
    return arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))


def test_an_invalid_action_is_a_value_error_of_this_package():
    assert issubclass(InvalidAction, FLPError)
    assert issubclass(InvalidAction, ValueError)


def test_the_metrics_are_named():
    assert SquaredError().metric == "mse"
    assert LabelError(5).metric == "error_percent"


@settings(max_examples=50, deadline=None)
@given(numbers(3, 4, 2), numbers(3, 4, 2))
def test_the_loss_of_numbers_is_the_mean_squared_error_of_every_row(answers, targets):
    losses = SquaredError().losses(answers, targets)
    exact = np.square(answers.astype(np.float64) - targets).mean(axis=(1, 2))
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, exact, rtol=1e-5, atol=1e-12)


def test_losses_too_large_for_float32_are_right():
    answers = np.array([[3e38, -3e38], [1.0, 2.0]], np.float32)
    losses = SquaredError().losses(answers, np.zeros((2, 2), np.float32))
    np.testing.assert_allclose(losses, [9e76, 2.5], rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    answers = np.array([[0.0, 1.0], [2.0, wrong]], np.float32)
    with pytest.raises(InvalidAction, match=r"^expected an action of finite numbers, got NaN or infinity in it$"):
        SquaredError().losses(answers, np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("query_steps", [1, 7, 10])
def test_rewards_of_numbers_add_up_to_minus_the_mean_loss(query_steps):
    losses = np.random.default_rng(0).random((query_steps, 3))
    returns = sum(SquaredError().rewards(row, query_steps) for row in losses)
    np.testing.assert_allclose(returns, -losses.mean(axis=0))


@pytest.mark.parametrize(
    "action",
    [np.ones((2, 1)), np.ones((2, 1), np.int64), [[1], [1.0]], ((1,), (1,))],
    ids=["f8", "i8", "list", "tuple"],
)
def test_numbers_are_taken_in_any_form(action):
    answer = SquaredError().check(action, (2, 1))
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, np.ones((2, 1)))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([1.0, 1.0], r"^expected an action of shape \(2, 1\), got \(2,\): answer every input of the step$"),
        (1.0, r"^expected an action of shape \(2, 1\), got \(\): answer every input"),
        ([[1.0], []], r"^expected an action of \(2, 1\) finite numbers, got list: answer every input of the step with"),
        ({}, r"finite numbers, got dict: "),
    ],
    ids=str,
)
def test_what_is_no_array_of_numbers_of_the_shape_is_refused(action, message):
    with pytest.raises(InvalidAction, match=message):
        SquaredError().check(action, (2, 1))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 9).flatmap(
        lambda n: st.tuples(st.just(n), *[arrays(np.int64, (8, 3), elements=st.integers(0, n - 1))] * 2)
    )
)
def test_rewards_of_labels_add_up_to_the_accuracy(drawn):
    num_classes, answers, targets = drawn
    scoring = LabelError(num_classes)
    losses = [scoring.losses(answer, target) for answer, target in zip(answers, targets, strict=True)]
    np.testing.assert_array_equal(losses, (answers != targets).astype(np.float64))
    assert losses[0].dtype == np.float64
    returns = sum(scoring.rewards(loss, 8) for loss in losses)
    np.testing.assert_allclose(returns, (answers == targets).mean(axis=0))


def test_the_returns_of_all_right_and_all_wrong_are_1_and_0():
    scoring, targets = LabelError(600), np.arange(600)
    for answers, accuracy in ((targets, 1.0), ((targets + 1) % 600, 0.0)):
        assert scoring.rewards(scoring.losses(answers, targets), 600).sum() == pytest.approx(accuracy)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_of_any_whole_type_are_judged_alike(dtype):
    scoring = LabelError(5)
    answers = scoring.check(np.array([0, 4, 2], dtype), (3,))
    np.testing.assert_array_equal(scoring.losses(answers, np.array([0, 4, 1])), [0.0, 0.0, 1.0])


@pytest.mark.parametrize("action", [4, np.int64(4), np.array(4), np.uint8(4)], ids=lambda action: type(action).__name__)
def test_a_single_label_is_taken_in_any_form(action):
    answer = LabelError(5).check(action, ())
    assert answer.shape == ()
    assert answer == 4


@pytest.mark.parametrize("action", [[0, 4], (0, 4), np.array([0, 4])], ids=lambda action: type(action).__name__)
def test_many_labels_are_taken_in_any_form(action):
    np.testing.assert_array_equal(LabelError(5).check(action, (2,)), [0, 4])


def test_no_labels_for_no_envs_are_all_labels():
    assert LabelError(5).check(np.zeros(0, np.int64), (0,)).shape == (0,)


ONE = "expected a label, a whole number from 0 to 4"
TWO = f"{ONE}, for each of 2 envs"


@pytest.mark.parametrize(
    ("action", "shape", "message"),
    [
        (5, (), f"{ONE}, got 5"),
        (-1, (), f"{ONE}, got -1"),
        (2**63, (), f"{ONE}, got 9223372036854775808"),
        (10**30, (), f"{ONE}, got int 1{'0' * 30}"),
        (2.0, (), f"{ONE}, got float 2.0"),
        (True, (), f"{ONE}, got bool True"),
        (None, (), f"{ONE}, got NoneType None"),
        ("2", (), f"{ONE}, got str 2"),
        ("a\nb", (), f"{ONE}, got str a b"),
        (BEYOND_FLOAT32, (), f"{ONE}, got float {BEYOND_FLOAT32}"),
        ([2], (), f"{ONE}, got an array of shape (1,)"),
        ([1, 5], (2,), f"{TWO}, got [1, 5]"),
        ([-1, 0], (2,), f"{TWO}, got [-1, 0]"),
        ([0, 1, 2], (2,), f"{TWO}, got an array of shape (3,)"),
        (0, (2,), f"{TWO}, got an array of shape ()"),
        ([0.0, 1.0], (2,), f"{TWO}, got list [0.0, 1.0]"),
        ([[0], [0, 1]], (2,), f"{TWO}, got list [[0], [0, 1]]"),
        (np.zeros((2, 2)), (2,), f"{TWO}, got ndarray [[0. 0.] [0. 0.]]"),
        (["0"] * 100, (2,), f"{TWO}, got list {str(['0'] * 100)[:40]}"),
    ],
)
def test_what_is_no_label_is_refused_in_one_short_line(action, shape, message):
    with pytest.raises(InvalidAction) as refusal:
        LabelError(5).check(action, shape)
    assert str(refusal.value) == message
