"""Measures within a lifetime, on cases whose answer is known."""

import numpy as np
import pytest
from conftest import small_episode

from flp_agents import FLP, GradientBased, Network, run_lifetime
from flp_agents.analysis import answers_over_lifetime, change_on_earlier_tasks, query_loss_over_lifetime
from flp_envs import InvalidSize

NETWORK = Network((3, 6, 5, 1))
THREE = Network((4, 6, 5, 1))


def test_the_last_point_of_the_curve_is_the_query_loss():
    episode = small_episode(n=3)
    learner = GradientBased(NETWORK, 2, initial_rate=0.003).double()
    loss = query_loss_over_lifetime(answers_over_lifetime(learner, episode, [0, 2, 6]), episode)
    assert loss.shape == (3, 3)
    np.testing.assert_allclose(loss[-1], run_lifetime(learner, episode).query_loss.detach(), rtol=1e-12)
    assert (loss[0] != loss[1]).all()


def test_a_learner_that_does_not_learn_changes_nothing():
    learner = FLP(NETWORK, 2, initial_coefficient=0.0).double()
    assert not change_on_earlier_tasks(learner, small_episode(n=2)).any()


def test_change_on_earlier_tasks_by_hand():
    episode = small_episode(n=4, num_functions=3)
    learner = GradientBased(THREE, 2, initial_rate=0.003).double()
    answers = answers_over_lifetime(learner, episode, [3, 6, 9])
    change = change_on_earlier_tasks(learner, episode)
    assert change.shape == (4, 2)
    assert change.all()
    np.testing.assert_allclose(change[:, 0], np.square(answers[1] - answers[0])[:, 0].mean((1, 2)))
    np.testing.assert_allclose(change[:, 1], np.square(answers[2] - answers[1])[:, :2].mean((1, 2, 3)))


def test_a_single_task_has_no_earlier_one():
    learner = FLP(Network((2, 6, 1)), 1).double()
    assert change_on_earlier_tasks(learner, small_episode(n=3, num_functions=1)).shape == (3, 0)


def test_mixed_episodes_have_no_earlier_tasks():
    learner = FLP(NETWORK, 1).double()
    with pytest.raises(InvalidSize, match="expected continual episodes"):
        change_on_earlier_tasks(learner, small_episode(interleaving=1.0))


def test_points_outside_the_lifetime_are_refused():
    learner = FLP(NETWORK, 1).double()
    for at in ([7], [-1], [3, 1], []):
        with pytest.raises(InvalidSize, match="must ascend within"):
            answers_over_lifetime(learner, small_episode(), at)
