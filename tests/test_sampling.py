"""Random choices: distinct, in range, all equally likely, and the same on every machine."""

import itertools

import numpy as np
import pytest
from conftest import assert_equally_often
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_envs.sampling import choose_distinct, mixed_order


def rng(seed=0):
    return np.random.default_rng(seed)


class Constant:
    """A generator whose uniform numbers are all the same."""

    def __init__(self, value):
        self.value = value

    def random(self, n):
        return np.full(n, self.value)


@st.composite
def sizes(draw):
    among = draw(st.integers(1, 40) | st.integers(1, 2**53))
    return draw(st.integers(0, min(among, 30))), among


@settings(max_examples=200, deadline=None)
@given(sizes(), st.integers(0, 2**31))
def test_choices_are_distinct_and_in_range(size, seed):
    n, among = size
    chosen = choose_distinct(rng(seed), n, among)
    assert chosen.dtype == np.int64
    assert chosen.shape == (n,)
    assert len(set(chosen.tolist())) == n
    assert all(0 <= number < among for number in chosen.tolist())


@pytest.mark.parametrize("among", [1, 2, 3, 7, 1000, 2**32, 2**53 - 1, 2**53])
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0 - 2.0**-53], ids=["least", "half", "most"])
def test_the_extreme_uniform_numbers_choose_from_the_range_too(among, uniform):
    n = min(among, 20)
    chosen = choose_distinct(Constant(uniform), n, among).tolist()
    assert len(set(chosen)) == n
    assert min(chosen) >= 0
    assert max(chosen) < among
    assert chosen[0] == {0.0: 0, 0.5: among // 2}.get(uniform, among - 1)


@pytest.mark.parametrize(("n", "among"), [(1, 5), (2, 4), (3, 5), (3, 3), (4, 4)])
def test_every_choice_in_every_order_is_equally_likely(n, among):
    generator = rng(n * among)
    outcomes = (tuple(choose_distinct(generator, n, among).tolist()) for _ in range(6000))
    assert_equally_often(outcomes, itertools.permutations(range(among), n))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.integers(0, 2**31))
def test_choosing_all_is_a_permutation(n, seed):
    np.testing.assert_array_equal(np.sort(choose_distinct(rng(seed), n, n)), np.arange(n))


def test_choices_among_very_many_are_uniform_to_the_last_bit():
    chosen = choose_distinct(rng(1), 4000, 2**53)
    assert_equally_often((chosen // 2**49).tolist(), range(16))
    assert_equally_often((chosen % 16).tolist(), range(16))


def test_a_longer_choice_begins_with_the_shorter_one():
    np.testing.assert_array_equal(choose_distinct(rng(3), 10, 50)[:4], choose_distinct(rng(3), 4, 50))


@pytest.mark.parametrize(("n", "among"), [(0, 4), (5, 9), (9, 9), (3, 2**53)])
def test_choosing_takes_one_uniform_number_each(n, among):
    chooses, counts = rng(), rng()
    choose_distinct(chooses, n, among)
    counts.random(n)
    assert chooses.random() == counts.random()


def test_without_interleaving_the_order_is_kept_and_nothing_is_random():
    generator = rng()
    np.testing.assert_array_equal(mixed_order(generator, 50, 0.0), np.arange(50))
    assert generator.random() == rng().random()


@pytest.mark.parametrize("interleaving", [1e-9, 0.5, 1.0])
def test_mixing_takes_one_uniform_number_a_step(interleaving):
    mixes, counts = rng(), rng()
    mixed_order(mixes, 7, interleaving)
    counts.random(7)
    assert mixes.random() == counts.random()


def test_full_interleaving_makes_every_order_equally_likely():
    generator = rng(5)
    outcomes = (tuple(mixed_order(generator, 4, 1.0).tolist()) for _ in range(6000))
    assert_equally_often(outcomes, itertools.permutations(range(4)))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200), st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_every_step_has_one_place_however_interleaved(steps, interleaving, seed):
    order = mixed_order(rng(seed), steps, interleaving)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(steps))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 100), st.floats(0.0, 0.9), st.integers(0, 2**31))
def test_steps_overtake_only_those_that_are_near(steps, interleaving, seed):
    """The place weighs ``1 - interleaving``, the noise, in [0, 1), ``interleaving``."""
    order = mixed_order(rng(seed), steps, interleaving)
    overtaken_by = (order[:, None] - order)[np.triu_indices(steps, 1)].max()
    assert overtaken_by <= steps * interleaving / (1.0 - interleaving) + 1e-9


def test_interleaving_grows_disorder():
    disorder = []
    for interleaving in (0.0, 0.1, 0.3, 0.6, 1.0):
        order = mixed_order(rng(2), 400, interleaving)
        disorder.append(np.abs(order - np.arange(400)).mean())
    assert disorder == sorted(set(disorder))
    assert disorder[0] == 0
    assert disorder[-1] == pytest.approx(400 / 3, rel=0.1)  # of two uniform numbers, the mean distance
