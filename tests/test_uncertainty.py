"""Errors and intervals against values worked out by hand, and against distributions that are known."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_agents import uncertainty
from flp_agents.metrics import InvalidScores
from flp_agents.uncertainty import compare, standard_error, summarize
from flp_datasets.errors import InvalidSize

some = settings(max_examples=40, deadline=None)
scores = st.lists(st.integers(-50, 50), min_size=2, max_size=20)


def test_standard_error_by_hand():
    """Deviations -2, 0, 0, 2 from 3: variance 8/3, of the mean 8/12."""
    assert standard_error(np.array([1.0, 3, 3, 5])) == pytest.approx((8 / 12) ** 0.5)
    assert math.isnan(standard_error(np.array([1.0])))


def test_summary_by_hand():
    """Networks' means are 2 and 7, whose deviations are 2.5: variance 12.5, of their mean 6.25. Within the first the
    variance is 2, of its mean 1; within the second 4, of its mean 4/3; of the mean of both (1 + 4/3)/4."""
    summary = summarize({"a": [1, 3], "b": [5, 7, 9]})
    assert (summary.mean, summary.networks, summary.episodes) == (4.5, 2, 5)
    assert summary.standard_error_over_networks == pytest.approx(2.5)
    assert summary.standard_error_over_episodes == pytest.approx((7 / 3) ** 0.5 / 2)
    # Of 2 and 7 a resample has the mean 2 in one case of four, and 7 in one of four.
    assert summary.interval_over_networks == (2, 7)


def test_intervals_over_episodes_keep_to_the_networks():
    """The first network's mean is 0, 1 or 2, the second's 10, 12 or 14: the lowest mean of both, 5, in one case of 16,
    which is more than 2.5 %. All four scores in one pot would give 0.5."""
    assert summarize({"a": [0, 2], "b": [10, 14]}).interval_over_episodes == (5, 8)


def test_interval_by_hand():
    """Of 0, 0, 0 and 4, resampled: the mean is 0 in 81 cases of 256, at least 3 in 13 (5 %), and 4 in 1 (0.4 %)."""
    comparison = compare([1, 1, 1, 5], [1, 1, 1, 1])
    assert comparison.interval == (0, 3)
    # Of 0, 0 and 6: the mean is 6 in one case of 27, 3.7 %.
    assert compare([0, 0, 6], [0, 0, 0]).interval == (0, 6)


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
    # All three alike in one case of 27: the ends are those of the means themselves.
    assert together.interval_over_episodes == (1.5, 8.5)
    assert apart.interval_over_episodes[0] > 1.5
    assert together.standard_error_over_networks == apart.standard_error_over_networks == pytest.approx(0.5)
    assert (together.networks, together.episodes, together.mean) == (2, 6, 4.5)


def test_of_one_network_or_episode_nothing_is_known():
    one_network = summarize({"a": [1, 2, 3]})
    assert math.isnan(one_network.standard_error_over_networks)
    assert all(map(math.isnan, one_network.interval_over_networks))
    assert one_network.standard_error_over_episodes == pytest.approx(1 / 3**0.5)
    assert one_network.interval_over_episodes[0] < 2 < one_network.interval_over_episodes[1]
    one_episode = summarize({"a": [1], "b": [3, 4]})
    assert math.isnan(one_episode.standard_error_over_episodes)
    assert all(map(math.isnan, one_episode.interval_over_episodes))
    assert one_episode.standard_error_over_networks == pytest.approx(1.25)
    assert math.isnan(compare([1], [2]).standard_error)
    assert all(map(math.isnan, compare([1], [2]).interval))


def covered(interval_of):
    """Share of samples whose interval holds the true mean, 0."""
    rng = np.random.default_rng(0)
    intervals = np.array([interval_of(rng, seed) for seed in range(500)])
    return np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    """Of 60 or more independent values, it should be 94 to 95 of 100 samples; so few as 500 tell that from 90."""

    def over_networks(rng, seed):
        drawn = {str(i): [score] for i, score in enumerate(rng.normal(size=60))}
        return summarize(drawn, seed, resamples=500).interval_over_networks

    def over_episodes(rng, seed):
        drawn = {"a": rng.normal(5, 1, 60), "b": rng.normal(-5, 4, 80)}
        return summarize(drawn, seed, resamples=500).interval_over_episodes

    def paired(rng, seed):
        hard = 10 * rng.normal(size=80)
        return compare(hard + rng.normal(1, 1, 80), hard + 1, seed=seed, resamples=500).interval

    for interval_of in (over_networks, over_episodes, paired):
        assert 0.92 <= covered(interval_of) <= 0.97, interval_of.__name__


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
    for what in ("networks", "episodes"):
        interval = np.add(getattr(summary, f"interval_over_{what}"), shift)
        np.testing.assert_allclose(getattr(moved, f"interval_over_{what}"), interval, atol=1e-9)
        name = f"standard_error_over_{what}"
        assert getattr(moved, name) == pytest.approx(getattr(summary, name), abs=1e-9)
    assert moved.mean == pytest.approx(summary.mean + shift)


@some
@given(scores, st.integers(-50, 50))
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
        (lambda: summarize({}), "at least one network, got none"),
        (lambda: summarize({"a": [1], "seed 3": []}), "network seed 3: expected scores of at least one episode"),
        (lambda: summarize({"a": [1.0, None]}), "network a: expected finite scores, got nan for episode 1"),
        (lambda: summarize({"a": "good"}), r"network a: expected numbers of shape \(E\), got something else"),
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
