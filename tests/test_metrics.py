"""Every measure against values worked out by hand, and what must hold whatever the scores are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flp_agents.evaluation.metrics import (
    InvalidScores,
    area_under_curve,
    average_final_score,
    backward_transfer,
    forgetting,
    forward_transfer,
    interference,
    prequential_curve,
    prequential_score,
)

some = settings(max_examples=60, deadline=None)
COMPARED = (forgetting, backward_transfer, forward_transfer)

# Three sub-tasks (columns); rows: before all learning, and after the first, second, third.
LOSSES = [[[4, 4, 6], [2, 3, 5], [1, 1, 2], [3, 2, 1]]]
ACCURACIES = [[[20, 20, 20], [80, 30, 20], [90, 70, 40], [60, 75, 85]]]

BY_HAND = [
    # (3 + 2 + 1) / 3, and (60 + 75 + 85) / 3
    (average_final_score, 2.0, 220 / 3),
    # The best of rows 1 and 2 on sub-tasks 1 and 2: ((3 - 1) + (2 - 1)) / 2, and ((90 - 60) + (70 - 75)) / 2
    (forgetting, 1.5, 12.5),
    # Just after it was learned, less the end: ((2 - 3) + (1 - 2)) / 2, and ((60 - 80) + (75 - 70)) / 2
    (backward_transfer, -1.0, -7.5),
    # Before all learning, less just before it was learned: ((4 - 3) + (6 - 2)) / 2, and ((30 - 20) + (40 - 20)) / 2
    (forward_transfer, 2.5, 15.0),
]


@st.composite
def score_matrices(draw):
    """``(E, K + 1, K)`` whole numbers, with which every sum is exact."""
    sub_tasks, episodes = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    return draw(arrays(np.int64, (episodes, sub_tasks + 1, sub_tasks), elements=st.integers(-50, 50)))


@st.composite
def lives(draw, labels):
    """Answers to the query, and the sub-task of each query step: each has one, in any order."""
    sub_tasks, episodes, batch = draw(st.integers(2, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    outputs = () if labels else (draw(st.integers(1, 2)),)
    order = st.permutations([*range(sub_tasks), 0])
    shape = (episodes, sub_tasks + 1, sub_tasks + 1, batch, *outputs)
    answers = draw(arrays(np.int64, shape, elements=st.integers(0, 4)))
    return answers if labels else answers.astype(np.float64), np.array([draw(order) for _ in range(episodes)])


@pytest.mark.parametrize(("measure", "of_losses", "of_accuracies"), BY_HAND)
def test_by_hand(measure, of_losses, of_accuracies):
    flag = {} if measure is average_final_score else {"higher_is_better": True}
    np.testing.assert_allclose(measure(LOSSES), [of_losses], rtol=1e-15)
    np.testing.assert_allclose(measure(ACCURACIES, **flag), [of_accuracies], rtol=1e-15)


def test_prequential_by_hand():
    losses = [[4.0, 2.0, 0.0, 2.0], [1.0, 0.0, 0.0, 1.0]]
    np.testing.assert_allclose(prequential_curve(losses), [[4, 3, 2, 2], [1, 1 / 2, 1 / 3, 1 / 2]], rtol=1e-15)
    np.testing.assert_array_equal(prequential_score(losses), [2, 0.5])


def test_area_by_hand():
    """Trapezoids of width 1, 2 and 5: (1 (8 + 4)/2 + 2 (4 + 2)/2 + 5 (2 + 0)/2) / 8 = (6 + 6 + 5) / 8."""
    np.testing.assert_array_equal(area_under_curve([[8, 4, 2, 0], [1, 1, 1, 1]], [0, 1, 3, 8]), [17 / 8, 1])


def test_the_best_of_forgetting_may_come_before_the_sub_task_but_not_before_all_learning_nor_last():
    """Sub-task 1 was best before all learning (0), which does not count: 5 - 4. Sub-task 2 was best after the first one
    (1), which does: 3 - 1."""
    r = [[[0, 9, 9], [4, 1, 9], [6, 2, 9], [5, 3, 9]]]
    assert forgetting(r) == [(1 + 2) / 2]
    # The last row is better than all before: negative, not 0.
    assert forgetting([[[9, 9], [4, 9], [1, 9]]]) == [-3]
    assert forgetting([[[0, 0], [40, 0], [70, 0]]], higher_is_better=True) == [-30]


def test_interference_by_hand():
    """Of sub-task 1 two pairs change by 0 and 3 while the second is learned: 9/2. Then, of sub-tasks 1 and 2, by 2, 0,
    1 and 1: 6/4. What happens to the queries of the sub-task itself, and of later ones, does not count."""
    by_task = [
        [[0, 0], [1, 2], [1, 5], [3, 5]],  # sub-task 1: initially, after 1, after 2, after 3
        [[0, 0], [9, 9], [4, 4], [5, 3]],
        [[0, 0], [7, 7], [8, 8], [2, 2]],
    ]
    answers = np.array([by_task], float).swapaxes(1, 2)[..., None]
    np.testing.assert_array_equal(interference(answers, np.array([[0, 1, 2]])), [[4.5, 1.5]])
    # The query's order does not matter, and each episode may have its own.
    both = np.concatenate([answers, answers[:, :, [2, 0, 1]]])
    np.testing.assert_array_equal(interference(both, np.array([[0, 1, 2], [2, 0, 1]])), [[4.5, 1.5]] * 2)
    # As labels: 1 of 2 answers, then 3 of 4.
    np.testing.assert_array_equal(interference(answers[..., 0].astype(int), np.array([[0, 1, 2]])), [[50, 75]])


def test_interference_is_over_output_units_and_counts_each_query_as_much():
    """Two queries of sub-task 1, two output units: squares 1, 0, 4, 4, 0, 0, 0, 0 of two pairs each."""
    before = np.zeros((3, 2, 2))
    after = np.array([[[1, 0], [2, 2]], [[0, 0], [0, 0]], [[5, 5], [5, 5]]], float)
    answers = np.stack([before + 3, before, after])[None]
    np.testing.assert_array_equal(interference(answers, np.array([[0, 0, 1]])), [[9 / 8]])


def test_a_single_sub_task_has_no_earlier_one():
    assert average_final_score([[[5], [3]]]) == [3]
    assert interference(np.zeros((2, 2, 1, 4, 1)), np.zeros((2, 1), int)).shape == (2, 0)
    for measure in COMPARED:
        with pytest.raises(InvalidScores, match="compares sub-tasks: expected scores of at least 2, got 1"):
            measure([[[5], [3]]])


def test_what_is_not_known_is_nan():
    r = np.array(LOSSES, float)
    r[0, 2, 0] = np.nan
    assert np.isnan(forgetting(r))
    assert not np.isnan(backward_transfer(r))


@some
@given(score_matrices(), st.integers(-1000, 1000))
def test_a_shift_of_all_scores_changes_no_transfer_and_no_forgetting(r, shift):
    for measure in COMPARED:
        np.testing.assert_array_equal(measure(r + shift), measure(r))


@some
@given(score_matrices())
def test_losses_are_accuracies_upside_down(r):
    for measure in COMPARED:
        np.testing.assert_array_equal(measure(-r, higher_is_better=True), measure(r))
        np.testing.assert_array_equal(measure(2 * r), 2 * measure(r))


@some
@given(score_matrices(), st.booleans())
def test_forgetting_is_at_least_the_lack_of_backward_transfer(r, higher_is_better):
    """The best that there was is at least as good as just after it was learned."""
    lost = -backward_transfer(r, higher_is_better=higher_is_better)
    assert (forgetting(r, higher_is_better=higher_is_better) >= lost).all()


@some
@given(score_matrices())
def test_episodes_are_measured_each_by_itself(r):
    for measure in (average_final_score, *COMPARED):
        np.testing.assert_array_equal(measure(r), np.concatenate([measure(r[i : i + 1]) for i in range(len(r))]))


@some
@given(st.integers(2, 5), st.floats(-100, 100))
def test_a_constant_learner_neither_transfers_nor_forgets(sub_tasks, score):
    r = np.full((2, sub_tasks + 1, sub_tasks), score)
    assert not any(measure(r).any() for measure in COMPARED)


@some
@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(2, 8)), elements=st.integers(-50, 50)), st.data())
def test_curves(values, data):
    points = values.shape[1]
    np.testing.assert_allclose(prequential_curve(values)[:, -1], prequential_score(values), atol=1e-12)
    order = data.draw(st.permutations(range(points)))
    np.testing.assert_allclose(prequential_score(values[:, order]), prequential_score(values), atol=1e-12)
    at = np.cumsum(data.draw(st.lists(st.integers(1, 9), min_size=points, max_size=points)))
    area = area_under_curve(values, at)
    assert (values.min(axis=1) - 1e-9 <= area).all()
    assert (area <= values.max(axis=1) + 1e-9).all()
    np.testing.assert_allclose(area_under_curve(values, 3 * at - 7), area, atol=1e-9)
    np.testing.assert_allclose(area_under_curve(values + 5, at), area + 5, atol=1e-9)


@some
@given(lives(labels=False), st.integers(-9, 9))
def test_interference_of_numbers(life, shift):
    answers, query_task = life
    measured = interference(answers, query_task)
    assert measured.shape == (len(answers), answers.shape[1] - 2)
    np.testing.assert_allclose(interference(answers + shift, query_task), measured, atol=1e-12)
    np.testing.assert_allclose(interference(3 * answers, query_task), 9 * measured, atol=1e-9)
    assert not interference(np.broadcast_to(answers[:, :1], answers.shape), query_task).any()


@some
@given(lives(labels=True))
def test_interference_of_labels(life):
    answers, query_task = life
    measured = interference(answers, query_task)
    assert (measured >= 0).all()
    assert (measured <= 100).all()
    np.testing.assert_array_equal(interference(np.array([3, 1, 4, 0, 2])[answers], query_task), measured)
    # Where every answer is another number by 1, as many have changed, and by as much.
    parity = answers % 2
    of_numbers = interference(parity[..., None], query_task)
    np.testing.assert_allclose(interference(parity, query_task), 100 * of_numbers, atol=1e-9)
    assert not interference(np.broadcast_to(answers[:, :1], answers.shape), query_task).any()


@pytest.mark.parametrize(
    ("measure", "arguments", "message"),
    [
        (prequential_curve, ([1.0, 2.0],), r"losses: expected numbers of shape \(E, T\), got \(2,\)"),
        (prequential_score, (np.zeros((3, 0)),), r"losses: expected numbers of shape \(E, T\), got \(3, 0\)"),
        (prequential_score, ([[1.0, 2.0], [3.0]],), "rows of unequal length"),
        (prequential_score, ([["good"]],), r"losses: expected numbers of shape \(E, T\), got something else"),
        (area_under_curve, ([[1, 2, 3]], [0, 1]), "at: expected 3 ascending numbers"),
        (area_under_curve, ([[1, 2, 3]], [0, 2, 1]), r"got 3: \[0. 2. 1.\]"),
        (area_under_curve, ([[1, 2, 3]], [0, 2, 2]), "ascending"),
        (area_under_curve, ([[1]], [0]), "at least two, got 1"),
        (forgetting, (np.zeros((2, 3, 3)),), r"expected scores of shape \(E, K \+ 1, K\), .*, got \(2, 3, 3\)"),
        (average_final_score, (np.zeros((4, 3)),), r"r: expected numbers of shape \(E, K \+ 1, K\), got \(4, 3\)"),
        (
            interference,
            (np.zeros((1, 3, 2, 4)), np.zeros((1, 2), int)),
            r"whole numbers: .* got \(1, 3, 2, 4\) float64",
        ),
        (
            interference,
            (np.zeros((1, 1, 2, 4, 1)), np.zeros((1, 2), int)),
            "a row for the initial state, one after each sub-task",
        ),
        (interference, (np.zeros((1, 3, 2, 0, 1)), np.zeros((1, 2), int)), "predictions: expected"),
        (interference, (np.zeros((1, 3, 2, 4, 1)), np.array([[0, 2]])), r"sub-tasks 0..1, and 0 in every episode, .*2"),
        (interference, (np.zeros((1, 3, 2, 4, 1)), np.array([[1, 1]])), "and 0 in every episode"),
        (interference, (np.zeros((1, 3, 2, 4, 1)), np.array([[0, -1]])), "sub-tasks 0..1"),
        (interference, (np.zeros((1, 3, 2, 4, 1)), np.zeros((1, 3), int)), r"shape \(1, 2\) .* got shape \(1, 3\)"),
        (interference, (np.zeros((1, 3, 2, 4, 1)), np.zeros((1, 2))), "query_task: expected"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(measure, arguments, message):
    with pytest.raises(InvalidScores, match=message) as refusal:
        measure(*arguments)
    assert "\n" not in str(refusal.value)


def test_no_episode_is_no_number():
    assert prequential_curve(np.zeros((0, 3))).shape == (0, 3)
    assert forgetting(np.zeros((0, 4, 3))).shape == (0,)
    assert interference(np.zeros((0, 3, 2, 4, 1)), np.zeros((0, 2), int)).shape == (0, 1)
