"""The reservoir, and what is replayed from it."""

import numpy as np
import pytest
import torch
from conftest import small_episode
from test_gradient_based import cross_entropy_of_the_first_units
from test_whole_network import IMAGES, LABELS, NUMBERS, image_episodes, network_of, plain_answer

from flp_agents import run_lifetime
from flp_agents.baselines.descent import SGD, Adam
from flp_agents.baselines.experience_replay import ExperienceReplay, Reservoir
from flp_agents.baselines.online_gradient import OnlineGradient
from flp_agents.learners.objective import SquaredError
from flp_envs import InvalidSize


def filled(size, pairs, batch, seed, lifetimes=1):
    """A reservoir that has met pairs numbered from 0."""
    numbers = torch.arange(pairs, dtype=torch.float64).reshape(1, -1, 1).expand(lifetimes, -1, -1)
    memory = Reservoir.empty(numbers, numbers, size)
    for start in range(0, pairs, batch):
        part = numbers[:, start : start + batch]
        memory = memory.add(part, -part, seed)
    return memory


@pytest.mark.parametrize(("batch", "seeds"), [(1, 200), (4, 800), (16, 2000)])
def test_the_reservoir_is_a_uniform_sample_of_all_pairs(batch, seeds):
    """Every pair is in memory with probability 5/40: within four deviations."""
    size, pairs = 5, 40
    counts = np.zeros(pairs)
    for seed in range(seeds):
        kept = filled(size, pairs, batch, seed).x[0, :, 0].numpy().astype(int)
        assert len(set(kept)) == size
        counts[kept] += 1
    share = size / pairs
    assert np.abs(counts / seeds - share).max() < 4 * (share * (1 - share) / seeds) ** 0.5
    # On average, half of memory is from either half of the stream.
    assert counts[:20].sum() / counts.sum() == pytest.approx(0.5, abs=4 * 0.5 / (seeds * size) ** 0.5)


def test_a_reservoir_keeps_targets_with_inputs_and_all_pairs_while_there_is_room():
    memory = filled(50, 40, 8, 0, lifetimes=2)
    assert torch.equal(memory.filled, torch.tensor([40, 40]))
    assert sorted(memory.x[1, :40, 0].tolist()) == list(range(40))
    for size in (5, 50):
        memory = filled(size, 40, 8, 0)
        assert torch.equal(memory.x, -memory.y)


def test_what_is_kept_depends_on_the_number_of_pairs_alone_and_not_on_neighbours():
    together = filled(5, 24, 8, 3, lifetimes=2)
    late = Reservoir(
        *(
            torch.cat([a, b])
            for a, b in zip(filled(5, 16, 8, 3), Reservoir.empty(*[torch.zeros(1, 1, 1).double()] * 2, 5), strict=True)
        )
    )
    numbers = torch.arange(16, 24, dtype=torch.float64).reshape(1, -1, 1).expand(2, -1, -1)
    mixed = late.add(numbers, -numbers, 3)
    assert torch.equal(mixed.x[0], together.x[0])
    assert mixed.met.tolist() == [24, 8]
    assert set(mixed.x[1, :, 0].tolist()) <= set(range(16, 24))
    assert not torch.equal(filled(5, 24, 8, 4).x, together.x[:1])


def replaying(shape, **options):
    objective = SquaredError() if shape.convolutions is None else LABELS
    return ExperienceReplay(network_of(shape), SGD(0.05), objective=objective, **options)


@pytest.mark.parametrize("shape", [NUMBERS, IMAGES], ids=["numbers", "images"])
@pytest.mark.parametrize("descent", [SGD(0.05), Adam(0.01)], ids=["sgd", "adam"])
def test_without_memory_it_is_plain_descent(shape, descent):
    images = shape.convolutions is not None
    objective = LABELS if images else SquaredError()
    episode = image_episodes(2) if images else small_episode(n=2)
    plain = run_lifetime(OnlineGradient(network_of(shape), descent, objective=objective), episode)
    none = run_lifetime(ExperienceReplay(network_of(shape), descent, memory_size=0, objective=objective), episode)
    some = run_lifetime(ExperienceReplay(network_of(shape), descent, memory_size=3, objective=objective), episode)
    assert torch.equal(none.query_predictions, plain.query_predictions)
    assert not torch.allclose(some.query_predictions, plain.query_predictions, rtol=1e-3)


@pytest.mark.parametrize("shape", [NUMBERS, IMAGES], ids=["numbers", "images"])
@pytest.mark.parametrize("replayed", [None, 3])
def test_each_step_descends_the_mean_loss_of_new_and_replayed_pairs(shape, replayed):
    learner = replaying(shape, memory_size=4, replayed=replayed, seed=2)
    images = shape.convolutions is not None
    episode = image_episodes(2) if images else small_episode(n=2)
    loss_of = cross_entropy_of_the_first_units if images else torch.nn.functional.mse_loss
    support_x, support_y = torch.from_numpy(episode.support_x), torch.from_numpy(episode.support_y)
    state = learner.init(2)
    _, state = learner.predict(state, learner.encode(support_x[:, 0]))
    first = OnlineGradient.gradients(learner, state, learner.targets(support_y[:, 0]))
    for alone, g in zip(first, learner.gradients(state, learner.targets(support_y[:, 0])), strict=True):
        torch.testing.assert_close(g, alone, rtol=1e-12, atol=1e-15)  # there is nothing to replay
    state = learner.update(state, learner.targets(support_y[:, 0]))
    _, state = learner.predict(state, learner.encode(support_x[:, 1]))
    number = replayed or support_x.shape[2]
    which = learner._replay(state.kept, number)
    assert which.shape == (2, number)
    assert which.max() < min(4, support_x.shape[2])  # of those that are in memory
    old_x, old_y = state.kept.take(which)
    got = learner.gradients(state, learner.targets(support_y[:, 1]))
    for i in range(2):
        mine = tuple(p[i : i + 1].clone().requires_grad_() for p in state.parameters)
        scaled = old_x if images else old_x / torch.tensor(shape.input_scale).double()
        answers = plain_answer(learner.network, mine, 0, torch.cat([support_x[i, 1], scaled[i]]))
        labels = old_y[i].argmax(-1) if images else old_y[i]
        loss = loss_of(answers, torch.cat([support_y[i, 1], labels]))
        for g, e in zip(got, torch.autograd.grad(loss, mine), strict=True):
            torch.testing.assert_close(g[i], e[0], rtol=1e-9, atol=1e-12)


def test_images_stay_bytes_in_memory_and_sizes_are_checked():
    state = run_lifetime(replaying(IMAGES, memory_size=4), image_episodes(2)).state
    assert state.kept.x.dtype == torch.uint8
    assert state.kept.met.tolist() == [6, 6]
    with pytest.raises(InvalidSize, match="memory_size must be a whole number of at least 0, got -1"):
        replaying(NUMBERS, memory_size=-1)
    with pytest.raises(InvalidSize, match="replayed must be"):
        replaying(NUMBERS, replayed=0)
