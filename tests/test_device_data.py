"""Sine waves drawn by torch are those of the task; a CUDA graph is refused where there is none to be had."""

import numpy as np
import pytest
import torch

from flp_agents import MetaTrainer, build_learner, get_preset
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.training.meta_trainer import MetaTrainer as Trainer
from flp_agents.training.sines_on_device import SineOnDevice
from flp_envs import FLPError, SineTask, make

CPU = torch.device("cpu")


@pytest.mark.parametrize("interleaving", [0.0, 0.5, 1.0])
def test_episodes_are_like_those_of_the_task(interleaving):
    task = SineTask(
        num_functions=3, steps_per_function=4, batch_size=6, query_size=12, interleaving=interleaving, max_amplitude=2.0
    )
    drawn = SineOnDevice(task, CPU, torch.float64).draw(seed=3, step=7, n=5)
    expected = task.sample(np.random.default_rng(0), 5)
    arrays = (expected.support_x, expected.support_y, expected.query_x, expected.query_y)
    assert [t.shape for t in drawn] == [a.shape for a in arrays]
    for x in (drawn.support_x, drawn.query_x):
        assert set(x[..., :-1].unique().tolist()) == {0.0, 1.0}
        assert (x[..., :-1].sum(-1) == 1).all()
        assert x[..., -1].abs().max() <= 5.0
        assert x[..., -1].std() == pytest.approx(10 / 12**0.5, rel=0.2)
    indices = drawn.support_x[:, :, 0, :-1].argmax(-1)
    assert (torch.nn.functional.one_hot(indices).sum(1) == 4).all()
    in_order = torch.arange(3).repeat_interleave(4).expand(5, -1)
    assert torch.equal(indices, in_order) == (interleaving == 0.0)
    assert torch.equal(drawn.query_x[0, :, 0, :-1].argmax(-1), torch.arange(3).repeat_interleave(2))
    # Every function is one of the pool, the same in support and query, and another for each index.
    pool = torch.as_tensor(np.stack([task.amplitudes, task.phases], 1))
    for e in range(5):
        found = []
        for index in range(3):
            x = torch.cat([drawn.support_x[e].flatten(0, 1), drawn.query_x[e].flatten(0, 1)])
            y = torch.cat([drawn.support_y[e].flatten(), drawn.query_y[e].flatten()])
            mine = x[:, index] == 1
            errors = (pool[:, :1] * torch.sin(x[mine, -1] + pool[:, 1:]) - y[mine]).abs().amax(1)
            assert errors.min() < 1e-9
            found.append(int(errors.argmin()))
        assert len(set(found)) == 3


def test_lifetimes_depend_on_seed_and_step_alone():
    sampler = SineOnDevice(SineTask(), CPU)
    first = sampler.draw(1, 5, 2)
    sampler.draw(1, 6, 2)
    for a, b in zip(first, sampler.draw(1, 5, 2), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.support_y, sampler.draw(1, 6, 2).support_y)
    assert not torch.equal(first.support_y, sampler.draw(2, 5, 2).support_y)


def trainer(**options) -> Trainer:
    env = make("FLPSine-Continual-v0", num_functions=2, steps_per_function=4, batch_size=4, query_size=4)
    learner = build_learner("flp", env, get_preset("cpu", "flp", {"hidden_widths": (8, 8)}))
    rates = {**dict.fromkeys(learner.parameter_groups(), 0.0), "weights": 1e-2}
    return MetaTrainer(learner, env, rates=rates, meta_batch=2, **options)


def test_meta_training_on_device_data():
    first, second = trainer(device_data=True, seed=4), trainer(device_data=True, seed=4)
    losses = [first.step().query_loss for _ in range(3)]
    assert losses == [second.step().query_loss for _ in range(3)]
    assert len(set(losses)) == 3


def test_other_environments_cannot_be_drawn_on_the_device():
    class Other:
        unwrapped = None

    with pytest.raises(FLPError, match="only sine waves can be drawn on the device"):
        SineOnDevice.of(Other(), CPU)


def test_a_cuda_graph_needs_its_learner_on_a_gpu():
    with pytest.raises(FLPError, match="leave cuda_graph out, or use --device cuda"):
        trainer(cuda_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_graph_finds_what_was_recorded():
    def losses(**options):
        made = trainer(device_data=True, **options)
        return [made.step().query_loss for _ in range(5)]

    assert losses(cuda_graph=True) == pytest.approx(losses(), rel=1e-3)


def test_episode_tensors_can_be_taken_apart():
    drawn = SineOnDevice(SineTask(), CPU).draw(0, 0, 4)
    assert isinstance(drawn.part(slice(1, 3)), EpisodeTensors)
    assert [len(t) for t in drawn.part(slice(1, 3))] == [2] * 4
