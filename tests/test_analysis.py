"""Measures within a lifetime, on cases whose answer is known."""

import numpy as np
import pytest
import torch
from conftest import SMALL_IMAGES, small_episode

from flp_agents import FLP, GradientBased, Network, build_learner, get_preset, run_lifetime
from flp_agents.experiments.analysis import (
    NoPlasticLayers,
    analyse,
    change_on_earlier_tasks,
    moments_of,
    predictions_over_lifetime,
    query_loss_over_lifetime,
    query_score_over_lifetime,
)
from flp_envs import InvalidSize, make
from flp_envs.recording import draw_episodes, seed_env

NETWORK = Network((3, 6, 5, 1))
THREE = Network((4, 6, 5, 1))
SINE = {"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4}


def glyphs(name="flp", schedule="Continual", **settings):
    """An environment of labels, a small learner of them, and two episodes."""
    env = make(f"FLPGlyph-{schedule}-v0", **SMALL_IMAGES)
    preset = get_preset("cpu", name, {"channels": 4, "hidden_widths": (8,), **settings}, kind="images")
    seed_env(env, 0)
    return env, build_learner(name, env, preset).double(), draw_episodes(env, 2)


def test_the_last_point_of_the_curve_is_the_query_loss():
    episode = small_episode(n=3)
    learner = GradientBased(NETWORK, 2, initial_rate=0.003).double()
    loss = query_loss_over_lifetime(predictions_over_lifetime(learner, episode, [0, 2, 6]), episode)
    assert loss.shape == (3, 3)
    np.testing.assert_allclose(loss[-1], run_lifetime(learner, episode).query_loss.detach(), rtol=1e-12)
    assert (loss[0] != loss[1]).all()


@pytest.mark.parametrize("name", ["flp", "gradient-based"])
def test_labels_are_judged_as_meta_training_and_evaluation_judge_them(name):
    _, learner, episode = glyphs(name)
    answers = predictions_over_lifetime(learner, episode, [0, 3, 6])
    lived = run_lifetime(learner, episode)
    loss = query_loss_over_lifetime(answers, episode, learner.objective)
    score = query_score_over_lifetime(answers, episode, learner.objective)
    assert loss.shape == score.shape == (3, 2)
    np.testing.assert_allclose(loss[-1], lived.query_loss.detach(), rtol=1e-9)
    np.testing.assert_array_equal(score[-1], lived.query_score)
    assert (loss[0] != loss[-1]).all()


def test_a_learner_that_does_not_learn_changes_nothing():
    learner = FLP(NETWORK, 2, initial_coefficient=0.0).double()
    assert not change_on_earlier_tasks(learner, small_episode(n=2)).any()
    _, learner, episode = glyphs(initial_coefficient=0.0)
    assert not change_on_earlier_tasks(learner, episode).any()


def test_change_of_labels_by_hand():
    _, learner, episode = glyphs("oml", inner_rate=1.0)
    answers = predictions_over_lifetime(learner, episode, [2, 4, 6])[..., :3].argmax(-1)
    change = change_on_earlier_tasks(learner, episode)
    assert change.shape == (2, 2)
    assert change.any()
    for e in range(2):
        for k in (1, 2):
            earlier = episode.query_task[e] < k
            assert change[e, k - 1] == 100 * (answers[k, e] != answers[k - 1, e])[earlier].mean()


def test_change_on_earlier_tasks_by_hand():
    episode = small_episode(n=4, num_functions=3)
    learner = GradientBased(THREE, 2, initial_rate=0.003).double()
    answers = predictions_over_lifetime(learner, episode, [3, 6, 9])
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
            predictions_over_lifetime(learner, small_episode(), at)


def test_a_curve_has_birth_and_end_and_few_points_between():
    assert moments_of(3) == [0, 1, 2, 3]
    assert moments_of(400) == [*range(0, 401, 5)]
    for steps in (79, 80, 159, 160, 405):
        moments = moments_of(steps)
        assert (moments[0], moments[-1]) == (0, steps)
        assert len(moments) <= 161
        assert (np.diff(moments) > 0).all()


def test_everything_together_is_what_each_is_alone():
    env = make("FLPSine-Continual-v0", split="meta-test", **SINE)
    learner = FLP(NETWORK, 2, initial_coefficient=1e-3)
    # More episodes than are lived through at once.
    analysis = analyse(learner, env, episodes=18, seed=3)
    seed_env(env, 3)
    episode = draw_episodes(env, 18)
    assert (analysis.metric, analysis.plastic_layers) == ("mse", 2)
    assert analysis.task_ends.tolist() == [3, 6]
    answers = predictions_over_lifetime(learner.double(), episode, analysis.asked_at.tolist())
    np.testing.assert_allclose(analysis.query_losses, query_loss_over_lifetime(answers, episode).T, rtol=1e-9)
    np.testing.assert_array_equal(analysis.query_scores, analysis.query_losses)
    np.testing.assert_allclose(analysis.changes, change_on_earlier_tasks(learner, episode), rtol=1e-6)
    assert analysis.readout_scores.shape == (18,)
    assert analysis.updates.cosines.shape == (18, 6, 2)


def test_analysing_leaves_the_learner_as_it_is():
    learner = FLP(NETWORK, 2).train()
    analyse(learner, make("FLPSine-IID-v0", **SINE), episodes=1)
    assert learner.training
    assert next(learner.parameters()).dtype == torch.float32


def test_mixed_labels_are_analysed_without_interference():
    env, learner, _ = glyphs(schedule="IID")
    analysis = analyse(learner, env, episodes=2)
    assert analysis.changes is None
    assert analysis.task_ends is None
    assert analysis.metric == "error_percent"


def test_who_has_no_layers_is_refused():
    class Plain:
        def reset(self): ...
        def predict(self, x): ...
        def update(self, x, y): ...

    with pytest.raises(NoPlasticLayers, match="expected a network with plastic layers"):
        analyse(Plain(), make("FLPSine-Continual-v0", **SINE))
