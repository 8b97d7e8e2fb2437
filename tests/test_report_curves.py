"""Curves of several cells put together, against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_results import made_up_result

from flp_agents.benchmark.report.curves import (
    MOST_POINTS,
    loss_at_each_step,
    query_loss,
    r_matrix,
    running_mean,
    task_ends,
)
from flp_agents.benchmark.report.leaderboard import make_leaderboards


def row_of(*results):
    return make_leaderboards(results)[0].rows[0]


def with_curves(seed, network="one", **curves):
    return replace(made_up_result(seed=seed, network=network), curves=curves)


def test_every_network_counts_the_same():
    """Cells 0 and 1 are of one network, cell 2 of another: (1 + 3) / 2 = 2, (2 + 6) / 2 = 4."""
    cells = [
        with_curves(0, prequential=[1.0], prequential_error=[0.4]),
        with_curves(1, prequential=[3.0], prequential_error=[0.4]),
    ]
    cells.append(with_curves(2, "two", prequential=[6.0], prequential_error=[0.6]))
    curve = loss_at_each_step(row_of(*cells))
    assert curve.at.tolist() == [1]
    assert curve.mean.tolist() == [4.0]
    # Weights 1/4, 1/4, 1/2: sqrt(0.1^2 + 0.1^2 + 0.3^2).
    assert curve.error == pytest.approx([0.11**0.5])


def test_an_error_that_is_not_known_stays_so():
    curve = loss_at_each_step(row_of(with_curves(0, prequential=[1.0, 2.0])))
    assert np.isnan(curve.error).all()


def test_the_running_mean_ends_at_the_prequential_score():
    result = made_up_result()
    curve = running_mean(row_of(result))
    assert curve.mean[-1] == pytest.approx(np.mean(result.scores["prequential_score"]))
    assert curve.mean[1] == pytest.approx(np.mean(result.curves["prequential"][:2]))
    assert curve.at[[0, -1]].tolist() == [1, 20]


def test_long_curves_keep_their_mean_with_fewer_points():
    losses = np.arange(5 * MOST_POINTS + 1.0)
    entry = row_of(with_curves(0, prequential=losses.tolist()))
    steps, running = loss_at_each_step(entry), running_mean(entry)
    assert len(steps.at) <= MOST_POINTS
    assert steps.mean[:2].tolist() == [2.5, 8.5]
    assert steps.at[:2].tolist() == [3.5, 9.5]
    assert steps.mean[-1] == losses[-5:].mean()
    assert len(running.at) == MOST_POINTS
    assert running.at[-1] == len(losses)


def test_query_curves_and_r_matrix():
    result = made_up_result(tasks=3, steps=2)
    entry = row_of(result)
    assert query_loss(entry).at.tolist() == [0, 2, 4, 6]
    assert task_ends(entry).tolist() == [2, 4, 6]
    assert r_matrix(entry).tolist() == result.curves["query_by_task"]


def test_mixed_sub_tasks_have_a_query_curve_but_no_r_matrix():
    entry = row_of(made_up_result(env="FLPSine-IID-v0"))
    assert query_loss(entry) is not None
    assert task_ends(entry) is None
    assert r_matrix(entry) is None


def test_a_learner_that_was_asked_at_the_end_only_has_no_query_curve():
    entry = row_of(made_up_result("joint-training"))
    assert query_loss(entry) is None
    assert r_matrix(entry) is None
    assert loss_at_each_step(entry) is not None


def test_no_curves_at_all():
    entry = row_of(replace(made_up_result(), curves={}))
    assert [f(entry) for f in (loss_at_each_step, running_mean, query_loss, r_matrix, task_ends)] == [None] * 5


def test_curves_of_unequal_length_are_not_put_together():
    entry = row_of(with_curves(0, prequential=[1.0]), with_curves(1, prequential=[1.0, 2.0]))
    assert loss_at_each_step(entry) is None
