"""Errors and intervals against values worked out by hand, and against distributions that are known."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_agents.evaluation import uncertainty
from flp_agents.evaluation.metrics import InvalidScores
from flp_agents.evaluation.uncertainty import (
    FEWEST,
    compare,
    standard_error,
    student_interval,
    student_quantile,
    summarize,
)
from flp_base.errors import InvalidSize

some = settings(max_examples=40, deadline=None)
scores = st.lists(st.integers(-50, 50), min_size=2, max_size=20)


def test_standard_error_by_hand():
    """Deviations -2, 0, 0, 2 from 3: variance 8/3, of the mean 8/12."""
    assert standard_error(np.array([1.0, 3, 3, 5])) == pytest.approx((8 / 12) ** 0.5)
    assert math.isnan(standard_error(np.array([1.0])))


def test_summary_by_hand():
    """Replicates' means are 2 and 7, whose deviations are 2.5: variance 12.5, of their mean 6.25. Within the first the
    variance is 2, of its mean 1; within the second 4, of its mean 4/3; of the mean of both (1 + 4/3)/4."""
    summary = summarize({"a": [1, 3], "b": [5, 7, 9]})
    assert (summary.mean, summary.replicates, summary.episodes, summary.means) == (4.5, 2, 5, (2, 7))
    assert summary.standard_error_over_replicates == pytest.approx(2.5)
    assert summary.standard_error_over_episodes == pytest.approx((7 / 3) ** 0.5 / 2)
    # Of the 12.5 between the means, episodes explain the mean of 1 and 4/3.
    assert summary.deviation_between_replicates == pytest.approx((12.5 - 7 / 6) ** 0.5)
    assert summary.deviation_between_episodes == pytest.approx(3**0.5)


@pytest.mark.parametrize("number", range(1, FEWEST))
def test_of_few_values_there_is_no_interval(number):
    of_few_replicates = summarize({str(i): [i, i + 1, i - 1, i + 2, i] for i in range(number)})
    assert all(map(math.isnan, of_few_replicates.interval_over_replicates))
    assert not any(map(math.isnan, of_few_replicates.interval_over_episodes))
    assert len(of_few_replicates.means) == number
    of_few_episodes = summarize({str(i): [*range(number), i] if i else [*range(number)] for i in range(FEWEST)})
    assert all(map(math.isnan, of_few_episodes.interval_over_episodes))
    assert not any(map(math.isnan, of_few_episodes.interval_over_replicates))
    assert all(map(math.isnan, compare(range(number), [2] * number).interval))


def test_students_interval_by_hand():
    """Of 1 to 5: mean 3, standard error (2.5/5)**0.5; Student's t of four degrees of freedom is 2.776 at 95 %."""
    summary = summarize({str(i): [i] for i in range(1, 6)})
    half = 2.7764451 * 0.5**0.5
    assert summary.interval_over_replicates == pytest.approx((3 - half, 3 + half), rel=1e-6)


def test_students_quantiles_are_those_of_the_tables():
    """Abramowitz & Stegun (1964), table 26.10; of many degrees of freedom it is the normal distribution's."""
    known = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {freedom: round(student_quantile(freedom), 3) for freedom in known} == known
    assert student_quantile(5000) == pytest.approx(1.96, abs=1e-3)


def test_intervals_over_episodes_keep_to_the_replicates():
    """Each one's own episodes are resampled: how far apart the two are does not show."""
    near, far = summarize({"a": range(10), "b": range(10)}), summarize({"a": range(10), "b": range(100, 110)})
    widths = [high - low for low, high in (near.interval_over_episodes, far.interval_over_episodes)]
    assert widths[0] == pytest.approx(widths[1])


def test_interval_by_hand():
    """Of six zeros and a 7, resampled: the mean is the number of sevens, binomial with 7 draws and p = 1/7. Student's t
    of six degrees of freedom is 2.447, and (7/6)**0.5 times that cuts off 0.41 % of a normal distribution. Of the
    resamples, 34 % have no seven, 1.02 % have four or more, and 0.1 % five or more: so the ends are 0 and 4."""
    assert compare([0] * 6 + [7], [0] * 7).interval == (0, 4)
    assert compare([1] * 6 + [8], [1] * 7).interval == (0, 4)


def test_comparison_by_hand():
    """Differences -1, 0, -2, -1: mean -1, variance 2/3; better, a tie, better, better."""
    comparison = compare([1, 2, 3, 4], [2, 2, 5, 5])
    assert (comparison.episodes, comparison.mean_difference) == (4, -1)
    assert comparison.standard_error == pytest.approx((2 / 3 / 4) ** 0.5)
    assert comparison.share_better == 3.5 / 4
    assert compare([1, 2, 3, 4], [2, 2, 5, 5], higher_is_better=True).share_better == 0.5 / 4


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(0)
    hard = 10 * rng.normal(size=200)
    a, b = hard + rng.normal(size=200), hard + rng.normal(size=200) + 1
    comparison = compare(a, b)
    assert comparison.standard_error == pytest.approx(0.1, rel=0.2)
    assert comparison.interval[1] < 0 < standard_error(a)
    apart = math.hypot(standard_error(a), standard_error(b))
    assert apart == pytest.approx(1.0, rel=0.2)


def test_networks_on_the_same_episodes_share_what_is_hard():
    """Means over networks are 1.5, 3.5, 8.5: variance 13, of their mean 13/3. Taken for independent, half of that."""
    same = {"a": [1, 3, 8], "b": [2, 4, 9]}
    together, apart = summarize(same, same_episodes=True), summarize(same)
    assert together.standard_error_over_episodes == pytest.approx((13 / 3) ** 0.5)
    assert apart.standard_error_over_episodes == pytest.approx((13 / 6) ** 0.5)
    assert together.standard_error_over_replicates == apart.standard_error_over_replicates == pytest.approx(0.5)
    assert (together.replicates, together.episodes, together.mean) == (2, 6, 4.5)
    # The second is worse by 1 on every episode: all of the variance of their means, 1/2, is theirs. Where the episodes
    # were not the same, episodes would explain it.
    assert together.deviation_between_replicates == pytest.approx(0.5**0.5)
    assert apart.deviation_between_replicates == 0
    widths = []
    for same_episodes in (True, False):
        low, high = summarize({"a": range(20), "b": range(1, 21)}, same_episodes=same_episodes).interval_over_episodes
        widths.append(high - low)
    assert widths[0] > 1.3 * widths[1]


def test_of_one_replicate_or_episode_nothing_is_known():
    one_network = summarize({"a": [1, 2, 3]})
    assert math.isnan(one_network.standard_error_over_replicates)
    assert math.isnan(one_network.deviation_between_replicates)
    assert one_network.deviation_between_episodes == 1
    assert one_network.standard_error_over_episodes == pytest.approx(1 / 3**0.5)
    one_episode = summarize({"a": [1], "b": [3, 4]})
    assert math.isnan(one_episode.standard_error_over_episodes)
    assert math.isnan(one_episode.deviation_between_replicates)
    assert math.isnan(one_episode.deviation_between_episodes)
    assert one_episode.standard_error_over_replicates == pytest.approx(1.25)
    assert math.isnan(compare([1], [2]).standard_error)


def covered(interval_of):
    """Share of samples whose interval holds the true mean, 0."""
    rng = np.random.default_rng(0)
    intervals = np.array([interval_of(rng, seed) for seed in range(500)])
    return np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    """Of 60 or more independent values, it should be 94 to 95 of 100 samples; so few as 500 tell that from 90."""

    def over_replicates(rng, seed):
        drawn = {str(i): [score] for i, score in enumerate(rng.normal(size=60))}
        return summarize(drawn, seed, resamples=500).interval_over_replicates

    def over_episodes(rng, seed):
        drawn = {"a": rng.normal(5, 1, 60), "b": rng.normal(-5, 4, 80)}
        return summarize(drawn, seed, resamples=500).interval_over_episodes

    def paired(rng, seed):
        hard = 10 * rng.normal(size=80)
        return compare(hard + rng.normal(1, 1, 80), hard + 1, seed=seed, resamples=500).interval

    for interval_of in (over_replicates, over_episodes, paired):
        assert 0.92 <= covered(interval_of) <= 0.97, interval_of.__name__


@pytest.mark.parametrize("number", [FEWEST, 8, 20])
def test_intervals_over_few_replicates_hold_the_true_mean_too(number):
    """Whose starts differ, and whose episodes differ besides: the interval is for both together."""

    def over_replicates(rng, seed):
        starts = rng.normal(0, 1, (number, 1))
        return student_interval((starts + rng.normal(0, 2, (number, 6))).mean(axis=1))

    assert 0.93 <= covered(over_replicates) <= 0.97


@pytest.mark.parametrize("number", [FEWEST, 8, 20])
def test_intervals_over_few_episodes_hold_the_true_mean_nearly_as_often_as_they_say(number):
    """Percentiles as they are would do so in 84, 88 and 93 of 100 samples."""

    def over_episodes(rng, seed):
        return summarize({"a": rng.normal(size=number)}, seed, resamples=2000).interval_over_episodes

    assert covered(over_episodes) >= 0.91


@pytest.mark.parametrize(("between", "within"), [(1.0, 2.0), (0.0, 1.0), (3.0, 0.5)])
@pytest.mark.parametrize("same_episodes", [True, False])
def test_what_differs_between_starts_and_between_episodes_is_taken_apart(between, within, same_episodes):
    """Both variances are found, however large the other one is; a start has a share in how an episode goes, too."""
    rng = np.random.default_rng(0)
    starts = between * rng.normal(size=(200, 1))
    shared = within * rng.normal(size=(1 if same_episodes else 200, 30))
    scores = starts + shared + 0.3 * rng.normal(size=(200, 30))
    drawn = dict(zip(map(str, range(200)), scores, strict=True))
    summary = summarize(drawn, same_episodes=same_episodes, resamples=1)
    assert summary.deviation_between_replicates == pytest.approx(between, rel=0.15, abs=0.15)
    expected = math.hypot(within, 0.3)
    assert summary.deviation_between_episodes == pytest.approx(expected, rel=0.3 if same_episodes else 0.05)


def test_of_many_values_the_interval_is_that_of_a_normal_mean():
    values = np.random.default_rng(3).normal(size=1000)
    low, high = summarize({"a": values}).interval_over_episodes
    half = 1.96 * standard_error(values)
    assert [low, high] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.05 * half)


def test_a_seed_gives_the_same_interval_in_any_order():
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(size=30) for name in "abc"}
    backwards = {name: drawn[name] for name in "cba"}
    assert summarize(drawn) == summarize(drawn) == summarize(backwards)
    assert summarize(drawn).interval_over_episodes != summarize(drawn, 1).interval_over_episodes
    assert compare(drawn["a"], drawn["b"]) == compare(drawn["a"], drawn["b"])
    assert compare(drawn["a"], drawn["b"]).interval != compare(drawn["a"], drawn["b"], seed=1).interval


def test_memory_does_not_grow_with_the_resamples():
    values = np.random.default_rng(0).normal(size=1000)
    tracemalloc.start()
    compare(values, values[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # All indices at once would be 80 MB.


def test_how_many_are_drawn_at_a_time_does_not_show(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    at_once = summarize({"a": values, "b": values**2}, resamples=300)
    monkeypatch.setattr(uncertainty, "DRAWS_AT_ONCE", 170)
    assert summarize({"a": values, "b": values**2}, resamples=300) == at_once


@some
@given(st.dictionaries(st.sampled_from("abcd"), scores, min_size=2), st.integers(-1000, 1000))
def test_a_shift_moves_the_interval_and_leaves_the_errors(drawn, shift):
    summary = summarize(drawn, resamples=200)
    moved = summarize({name: np.add(values, shift) for name, values in drawn.items()}, resamples=200)
    for what in ("replicates", "episodes"):
        interval = np.add(getattr(summary, f"interval_over_{what}"), shift)
        np.testing.assert_allclose(getattr(moved, f"interval_over_{what}"), interval, atol=1e-9)
        name = f"standard_error_over_{what}"
        assert getattr(moved, name) == pytest.approx(getattr(summary, name), abs=1e-9)
    assert moved.mean == pytest.approx(summary.mean + shift)


@some
@given(st.lists(st.integers(-50, 50), min_size=3, max_size=20), st.integers(-50, 50))
def test_intervals_of_symmetric_scores_hold_the_mean(half, centre):
    values = [centre + part for score in half for part in (score, -score)]
    low, high = summarize({"a": values}, resamples=1000).interval_over_episodes
    assert low - 1e-9 <= centre <= high + 1e-9
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@some
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=20), st.booleans())
def test_the_other_way_round_a_comparison_says_the_same(pairs, higher_is_better):
    a, b = map(list, zip(*pairs, strict=True))
    there = compare(a, b, higher_is_better=higher_is_better, resamples=200)
    back = compare(b, a, higher_is_better=higher_is_better, resamples=200)
    assert back.mean_difference == -there.mean_difference
    assert back.standard_error == pytest.approx(there.standard_error)
    np.testing.assert_allclose(back.interval, np.negative(there.interval[::-1]), atol=1e-9)
    assert back.share_better == pytest.approx(1 - there.share_better)
    turned = compare(np.negative(a), np.negative(b), higher_is_better=not higher_is_better, resamples=200)
    assert turned.share_better == there.share_better


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: compare([1, 2], [1, 2, 3]), "same episodes, got 2 and 3: evaluate both with the same environment"),
        (lambda: compare([], []), "a: expected scores of at least one episode, got none"),
        (lambda: compare([1, 2], [1, math.nan]), "b: expected finite scores, got nan for episode 1"),
        (lambda: compare([1, math.inf], [1, 2]), "a: expected finite scores, got inf for episode 1"),
        (lambda: compare([[1, 2]], [[1, 2]]), r"a: expected numbers of shape \(E\), got \(1, 2\)"),
        (lambda: summarize({}), "at least one network or seed, got none"),
        (lambda: summarize({"a": [1], "seed 3": []}), "seed 3: expected scores of at least one episode"),
        (lambda: summarize({"a": [1.0, None]}), r"a: expected numbers of shape \(E\), got something else"),
        (lambda: summarize({"a": "good"}), r"a: expected numbers of shape \(E\), got something else"),
        (lambda: summarize({"a": [1, 2], "b": [1]}, same_episodes=True), r"all on the same episodes, got \[1, 2\]"),
    ],
)
def test_bad_scores_are_refused_in_one_line(refused, message):
    with pytest.raises(InvalidScores, match=message) as refusal:
        refused()
    assert "\n" not in str(refusal.value)


def test_at_least_one_resample():
    for refused in (lambda: summarize({"a": [1, 2]}, resamples=0), lambda: compare([1, 2], [3, 4], resamples=0)):
        with pytest.raises(InvalidSize, match="resamples must be a whole number of at least 1"):
            refused()
