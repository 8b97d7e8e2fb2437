"""One learner, several threads: each gets what it would get alone."""

import threading

import numpy as np
import pytest
import torch

from flp_agents import FLP, Autograd, Checkpointed, Full, Network, Reversible, run_lifetime
from flp_agents.closed_form import gradient
from flp_agents.closed_form.build import NotBuilt, load_library
from flp_agents.closed_form.native_engine import NativeEngine
from flp_agents.closed_form.torch_engine import TorchEngine
from flp_agents.training.plan import make_plan
from flp_agents.training.run import TrainingRun
from flp_envs import SineTask

ENGINES = {"torch": TorchEngine, "native": NativeEngine}
STRATEGIES = [Full(), Reversible(), Checkpointed(), Autograd()]


def in_threads(work, threads=4):
    """Runs ``work(number)`` in several threads at once and raises what one of them raised."""
    faults = []

    def run(number):
        try:
            barrier.wait()
            work(number)
        except Exception as error:
            faults.append(error)

    barrier = threading.Barrier(threads)
    started = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if faults:
        raise faults[0]


def use_engine(engine, monkeypatch):
    """Or skips, where it cannot be built."""
    if engine == "native":
        try:
            load_library(torch.float32)
        except NotBuilt as reason:
            pytest.skip(str(reason))
    monkeypatch.setattr(gradient, "make_engine", ENGINES[engine])


def stress(engine, monkeypatch, rounds):
    """Threads that share a learner, with lifetimes of different lengths, so that their buffers differ."""
    use_engine(engine, monkeypatch)
    tasks = [SineTask(num_functions=2, steps_per_function=steps, batch_size=4, query_size=4) for steps in (3, 4, 6, 9)]
    episodes = [task.sample(np.random.default_rng(number), 2) for number, task in enumerate(tasks)]
    learner = FLP(Network((episodes[0].support_x.shape[-1], 20, 16, 1)), 2)
    parameters = list(learner.parameters())

    def gradients(number, strategy):
        loss = run_lifetime(learner, episodes[number], meta_gradient=strategy).query_loss.mean()
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    alone = {(n, s): gradients(n, s) for n in range(4) for s in STRATEGIES}

    def work(number):
        for turn in range(rounds):
            strategy = STRATEGIES[(number + turn) % len(STRATEGIES)]
            for found, right in zip(gradients(number, strategy), alone[number, strategy], strict=True):
                assert (found is None) == (right is None)
                assert found is None or torch.equal(found, right)

    in_threads(work)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_that_share_a_learner(engine, monkeypatch):
    stress(engine, monkeypatch, rounds=12 if engine == "native" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_threads_that_share_a_learner_for_long(engine, monkeypatch):
    stress(engine, monkeypatch, rounds=400)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lifetime_in_one_thread_and_its_gradient_in_another(engine, monkeypatch):
    use_engine(engine, monkeypatch)
    episode = SineTask(num_functions=2, steps_per_function=4, batch_size=4).sample(np.random.default_rng(0), 1)
    learner = FLP(Network((episode.support_x.shape[-1], 20, 16, 1)), 2)
    parameters = list(learner.parameters())
    losses = [run_lifetime(learner, episode).query_loss.mean() for _ in range(4)]
    right = torch.autograd.grad(run_lifetime(learner, episode).query_loss.mean(), parameters)

    def work(number):
        for found, wanted in zip(torch.autograd.grad(losses[number], parameters), right, strict=True):
            assert torch.equal(found, wanted)

    in_threads(work)


def test_runs_in_threads(tmp_path):
    """Each into a folder of its own; who started them is told of signals, not they."""
    overrides = {"meta_batch": 2, "outer_steps": 2, "hidden_widths": (8, 8), "short_outer_steps": 0, "warm_up": 0}
    plans = [
        make_plan("FLPSine-IID-v0", "feature-reuse", seed=seed, overrides=overrides, env_options={"num_functions": 2})
        for seed in range(2)
    ]
    runs = [TrainingRun(plan, tmp_path / str(seed)) for seed, plan in enumerate(plans)]
    in_threads(lambda number: runs[number].run(), threads=2)
    assert all(run.finished for run in runs)
