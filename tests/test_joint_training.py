"""The oracle trains on all pairs, when it is asked and only then."""

import pytest
import torch
from conftest import small_episode
from test_gradient_based import cross_entropy_of_the_first_units
from test_whole_network import IMAGES, LABELS, NUMBERS, image_episodes, network_of, plain_answer

from flp_agents import Network, run_lifetime
from flp_agents.baselines.descent import Adam
from flp_agents.baselines.joint_training import JointTraining
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.learners.objective import SquaredError
from flp_agents.lifetime.inner_loop import inner_loop
from flp_envs import InvalidSize


def oracle(shape, **options):
    objective = SquaredError() if shape.convolutions is None else LABELS
    return JointTraining(network_of(shape), Adam(0.02), objective=objective, **options)


@pytest.mark.parametrize("shape", [NUMBERS, IMAGES], ids=["numbers", "images"])
def test_training_is_that_of_torchs_own_adam_with_its_cosine(shape):
    learner = oracle(shape, passes=3, batch=5, seed=4)
    images = shape.convolutions is not None
    episode = image_episodes(2) if images else small_episode(n=2)
    answers = run_lifetime(learner, episode).query_predictions
    loss_of = cross_entropy_of_the_first_units if images else torch.nn.functional.mse_loss
    for i in range(2):
        x, y = (
            torch.from_numpy(episode.support_x[i]).flatten(0, 1),
            torch.from_numpy(episode.support_y[i]).flatten(0, 1),
        )
        mine = [p.clone().requires_grad_() for p in learner.network.initial_parameters(1)]
        optimizer, generator = torch.optim.Adam(mine, 0.02), torch.Generator().manual_seed(4)
        parts = [part for _ in range(3) for part in torch.randperm(len(x), generator=generator).split(5)]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(parts))
        for part in parts:
            optimizer.zero_grad()
            loss_of(plain_answer(learner.network, mine, 0, x[part]), y[part]).backward()
            optimizer.step()
            schedule.step()
        expected = plain_answer(learner.network, mine, 0, torch.from_numpy(episode.query_x[i]).flatten(0, 1))
        torch.testing.assert_close(answers[i].flatten(0, 1), expected.detach(), rtol=1e-6, atol=1e-7)


def test_many_passes_are_better_than_one_in_the_order_of_the_stream():
    shape = Network((4, 32, 32, 1), input_scale=(1.0, 1.0, 1.0, 0.2))
    episode = small_episode(n=4, num_functions=3, steps_per_function=20, batch_size=16, query_size=32)
    online = run_lifetime(OnlineGradient(network_of(shape), Adam(0.02)), episode).query_score
    joint = run_lifetime(JointTraining(network_of(shape), Adam(0.02), passes=30), episode).query_score
    assert (joint < 0.2 * online).all()


def test_it_trains_for_the_query_alone(monkeypatch):
    learner, episode = oracle(NUMBERS, passes=2), small_episode(n=2)
    assert learner.trains_for_query
    trained_on = []
    train_on = learner.train_on
    monkeypatch.setattr(learner, "train_on", lambda x, y: trained_on.append(y.shape[1]) or train_on(x, y))
    x, y = torch.from_numpy(episode.support_x), torch.from_numpy(episode.support_y)
    answers = []
    state = inner_loop(learner, learner.init(2), learner.encode(x), y, answers.append)
    newborn = learner.network.predict(learner.network.initial_parameters(2), learner.encode(x[:, -1]))
    assert torch.equal(answers[-1], newborn)
    assert not trained_on
    query = learner.encode(torch.from_numpy(episode.query_x))
    once, again = learner.predict_all(state, query), learner.predict_all(state, query)
    assert torch.equal(once, again)
    assert trained_on == [24, 24]
    untaught = learner.predict_all(learner.init(2), query)[:, 0]
    torch.testing.assert_close(untaught, learner.predict(learner.init(2), query[:, 0])[0], rtol=1e-12, atol=1e-14)


def test_lifetimes_that_have_met_more_and_less_train_as_they_would_alone():
    learner, episode = oracle(NUMBERS, passes=2, batch=3), small_episode(n=2)
    x, y = learner.encode(torch.from_numpy(episode.support_x)), torch.from_numpy(episode.support_y)
    query = learner.encode(torch.from_numpy(episode.query_x))
    state = inner_loop(learner, learner.init(2), x[:, :2], y[:, :2])
    _, state = learner.predict(state, x[:, 2])
    state = learner.update_where(torch.tensor([False, True]), state, y[:, 2])
    got = learner.predict_all(state, query)
    for i, steps in enumerate((2, 3)):
        alone = inner_loop(learner, learner.init(1), x[i : i + 1, :steps], y[i : i + 1, :steps])
        torch.testing.assert_close(got[i], learner.predict_all(alone, query[i : i + 1])[0], rtol=1e-9, atol=1e-12)
    _, born = learner.predict(learner.init(2), x[:, 3])
    _, state = learner.predict(state, x[:, 3])
    reborn = learner.choose(torch.tensor([True, False]), born, state)
    got = learner.predict_all(reborn, query)
    torch.testing.assert_close(got[0], learner.predict_all(learner.init(1), query[:1])[0])
    torch.testing.assert_close(got[1], learner.predict_all(alone, query[1:])[0], rtol=1e-9, atol=1e-12)


def test_numbers_outside_their_range_are_refused():
    for options in ({"passes": 0}, {"batch": 0}):
        with pytest.raises(InvalidSize, match="must be a whole number of at least 1, got 0"):
            oracle(NUMBERS, **options)
