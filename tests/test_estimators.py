"""Estimators of the outer gradient: windows against autograd, their memory, their state on disk, and others' own."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import mean_online_loss, small_episode
from test_outer_objectives import LEARNERS, shaken

import flp_envs
from flp_agents import (
    ESTIMATORS,
    FLP,
    OML,
    Autograd,
    Backpropagation,
    Checkpointed,
    CheckpointError,
    Estimate,
    Estimator,
    Full,
    GradientBased,
    MetaTrainer,
    Mixed,
    Network,
    NormalisedOja,
    OnlineLoss,
    QueryLoss,
    Reversible,
    Truncated,
    UnsupportedEstimator,
    UnsupportedStrategy,
    Windows,
    run_lifetime,
)
from flp_agents.cli.main import main
from flp_agents.lifetime.in_progress import LifetimesInProgress
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.training.settings import Settings
from flp_agents.training.trainer_state import InvalidState
from flp_base.errors import InvalidSize
from flp_envs.recording import draw_episodes, seed_env

pytestmark = pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
SMALL = {"num_functions": 2, "steps_per_function": 6, "batch_size": 4, "query_size": 4}
OBJECTIVES = [QueryLoss(), OnlineLoss(), Mixed(0.3)]


def make_env(**options):
    return flp_envs.make("FLPSine-Continual-v0", **{**SMALL, **options})


def make(learner=None, env=None, **options):
    learner = learner or LEARNERS["flp 2"]()
    rates = dict.fromkeys(learner.parameter_groups(), 1e-3)
    options = {"rates": rates, "meta_batch": 2, "seed": 5, "estimator": Windows(5), **options}
    return MetaTrainer(learner, env or make_env(), **options)


def gradients(learner):
    return {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}


def assert_same(got, expected, tolerance=1e-9):
    assert got.keys() == expected.keys()
    for name, grad in expected.items():
        assert (got[name] - grad).norm() <= tolerance * grad.norm() + 1e-12, name


# Windows against autograd.


def windows_by_hand(learner, episode, steps, outer_objective):
    """Loss and gradients of every window: a plain loop, autograd, and a state that is detached in between."""
    tensors = EpisodeTensors.of(learner, episode)
    state = learner.init(len(episode))
    for begin in range(0, episode.support_steps, steps):
        end = min(begin + steps, episode.support_steps)
        met = np.isin(episode.query_task[0], episode.support_task[0, :end])
        learner.zero_grad(set_to_none=True)
        losses = []
        for t in range(begin, end):
            answers, state = learner.predict(state, learner.encode(tensors.support_x[:, t]))
            losses.append(learner.objective.losses(answers, tensors.support_y[:, t]))
            state = learner.settle(learner.update(state, tensors.support_y[:, t]))
        answers = learner.predict_all(state, learner.encode(tensors.query_x[:, met]))
        query = learner.objective.losses(answers, tensors.query_y[:, met])
        weight = {QueryLoss(): 0.0, OnlineLoss(): 1.0}.get(outer_objective, 0.3)
        loss = (weight * torch.stack(losses).mean(0) + (1 - weight) * query).mean()
        loss.backward()
        yield loss.item(), gradients(learner)
        state = type(state)(*(tuple(leaf.detach() for leaf in part) for part in state))


@pytest.mark.parametrize("outer_objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("name", ["flp 2", "flp 2, normalised", "second order"])
def test_windows_agree_with_autograd(name, outer_objective):
    learner, twin = shaken(LEARNERS[name]()), shaken(LEARNERS[name]())
    episode = small_episode(n=2)
    steps = episode.support_steps // 2 - 1  # and a shorter one at the end
    lifetimes = LifetimesInProgress(episode, steps)
    state, windows = learner.init(2), 0
    for loss, expected in windows_by_hand(twin, episode, steps, outer_objective):
        learner.zero_grad(set_to_none=True)
        estimate = Windows(steps).differentiate(learner, lifetimes.tensors(learner), state, outer_objective)
        assert estimate.loss.item() == pytest.approx(loss, rel=1e-9)
        assert_same(gradients(learner), expected)
        windows, state = windows + 1, estimate.state
        lifetimes.carry(state)
    assert windows == 3


@pytest.mark.parametrize("strategy", [Checkpointed(2), Reversible(2), Autograd(), Truncated(5)], ids=str)
def test_windows_of_every_strategy_are_those_of_full(strategy):
    curves = []
    for each in (Full(), strategy):
        trainer = make(shaken(LEARNERS["flp 2"]()), estimator=Windows(5, each), outer_objective=Mixed(0.5))
        if isinstance(each, Truncated):  # its last window has two steps
            with pytest.raises(InvalidSize, match="a lifetime has 2 inner steps"):
                trainer.step()
            return
        curves.append([trainer.step().outer_loss for _ in range(7)])
    assert curves[1] == pytest.approx(curves[0], rel=1e-6)


def test_a_window_as_long_as_the_lifetime_is_back_propagation_to_the_bit():
    trainers = [make(estimator=estimator) for estimator in (Backpropagation(), Windows(12), Windows(50))]
    curves = [[trainer.step() for _ in range(3)] for trainer in trainers]
    assert curves[0] == curves[1] == curves[2]
    for other in trainers[1:]:
        for a, b in zip(trainers[0].learner.parameters(), other.learner.parameters(), strict=True):
            assert torch.equal(a, b)


def test_initial_weights_are_moved_in_the_first_window_only():
    trainer = make(outer_objective=OnlineLoss())
    initial = trainer.learner.layers.weights[-1]
    for window in (1, 2, 3, 1):
        before = initial.detach().clone(), trainer.learner.coefficients[-1].detach().clone()
        trainer.step()
        assert torch.equal(initial, before[0]) == (window > 1)
        assert not torch.equal(trainer.learner.coefficients[-1], before[1])


def test_the_query_is_that_of_the_sub_tasks_met_so_far():
    episode = small_episode(n=3)
    lifetimes = LifetimesInProgress(episode, episode.support_steps // 2)
    learner = LEARNERS["flp 2"]()
    met = np.isin(episode.query_task[0], episode.support_task[:, : episode.support_steps // 2])
    assert 0 < met.sum() < len(met)
    assert torch.equal(lifetimes.tensors(learner).query_x, learner.tensor(episode.query_x[:, met]))
    lifetimes.carry(None)
    assert torch.equal(lifetimes.tensors(learner).query_x, learner.tensor(episode.query_x))


def test_given_episodes_are_gone_on_with():
    episode = small_episode(n=2)
    as_arrays, as_tensors = make(outer_objective=OnlineLoss()), make(outer_objective=OnlineLoss())
    first = as_arrays.step_on(episode), as_tensors.step_on(EpisodeTensors.of(as_tensors.learner, episode))
    assert first[0] == first[1]
    assert as_arrays.step() == as_tensors.step()


# Long lifetimes.


def test_memory_and_work_are_those_of_one_window(monkeypatch):
    """Whatever the length of the lifetime: nothing that is made on the way is larger than a window's."""
    sizes = {}
    for steps in (50, 5000):
        learner = FLP(Network((2, 8, 8, 1)), 2, initial_coefficient=1e-4)
        largest, encode = [], learner.encode

        def counted(x, encode=encode, largest=largest):
            largest.append(x.shape[1])
            return encode(x)

        monkeypatch.setattr(learner, "encode", counted)
        env = make_env(num_functions=1, steps_per_function=steps)
        trainer = make(learner, env, estimator=Windows(10), outer_objective=Mixed(0.5))
        for _ in range(7):
            trainer.step()
        carried = sum(t.numel() for n, t in trainer.optimizer_tensors().items() if n.startswith("carried/"))
        sizes[steps] = max(largest), len(largest), carried
    assert sizes[50][:1] == sizes[5000][:1] == (11,)
    assert sizes[50][1:] == sizes[5000][1:]


def test_meta_training_in_windows_learns():
    env = make_env(num_functions=1, steps_per_function=24, batch_size=8, query_size=8)
    learner = GradientBased(Network((2, 16, 16, 1), (1.0, 0.2)), 1, initial_rate=0.01, seed=3)
    options = {"rates": {"weights": 1e-2, "inner_rates": 3e-3}, "meta_batch": 8}
    trainer = make(learner, env, estimator=Windows(6), outer_objective=OnlineLoss(), **options)
    held_out = env.unwrapped.task.sample(np.random.default_rng(7), 16)

    before = mean_online_loss(learner, held_out)
    for _ in range(40):
        trainer.step()
    assert mean_online_loss(learner, held_out) < 0.75 * before


def test_what_is_not_finite_ends_the_lifetimes():
    trainer = make(patience=3)
    trainer.step()
    with torch.no_grad():
        kept = [p.clone() for p in trainer.learner.parameters()]
        trainer.learner.coefficients[-1].fill_(torch.nan)
    assert trainer.step().skipped
    with torch.no_grad():
        for parameter, value in zip(trainer.learner.parameters(), kept, strict=True):
            parameter.copy_(value)
    trainer.step()
    assert trainer.learner.layers.weights[-1].grad is not None  # a first window again


# On disk.


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("done", [1, 2, 3])
def test_resumed_in_the_middle_of_a_lifetime_to_the_bit(tmp_path, done, prefetch):
    whole, part = make(prefetch=prefetch), make(prefetch=prefetch)
    expected = [whole.step() for _ in range(5)]
    assert [part.step() for _ in range(done)] == expected[:done]
    part.save(tmp_path / "run")
    part.save(tmp_path / "run")
    resumed = MetaTrainer.resume(tmp_path / "run")
    assert resumed.estimator == Windows(5)
    assert [resumed.step() for _ in range(5 - done)] == expected[done:]
    for a, b in zip(whole.learner.parameters(), resumed.learner.parameters(), strict=True):
        assert torch.equal(a, b)
    whole.pause(), part.pause()
    assert whole.progress() == resumed.progress()


def test_a_run_is_paused_and_resumed_in_the_middle_of_a_lifetime(tmp_path, capsys):
    command = ["train", *(f"--env-option={name}={value}" for name, value in SMALL.items()), "--hidden-widths=8,8"]
    command += ["--outer-steps=7", "--short-outer-steps=2", "--short-steps-per-function=3", "--meta-batch=2"]
    command += ["--estimator=windows", "--window=5", "--test-episodes=2", "--threads=1"]
    assert main([*command, f"--output={tmp_path / 'whole'}"]) == 0
    assert "in windows of 5 inner steps" in capsys.readouterr().out
    assert main([*command, f"--output={tmp_path / 'part'}", "--minutes=0.000001"]) == 0
    for _ in range(3):  # one outer step at a time
        assert main(["train", f"--resume={tmp_path / 'part'}", "--minutes=0.000001"]) == 0
    assert main(["train", f"--resume={tmp_path / 'part'}", "--test-episodes=2"]) == 0
    files = [tmp_path / name / "checkpoint.json" for name in ("whole", "part")]
    results = [json.loads(file.read_text(encoding="utf-8"))["about"] for file in files]
    assert results[0]["result"] == results[1]["result"]
    assert results[0]["settings"]["window"] == 5


def test_given_episodes_are_not_saved():
    trainer = make()
    trainer.step_on(small_episode(n=2))
    assert "inner_steps_done" not in trainer.progress()
    resumed = make()
    resumed.restore(trainer.progress(), trainer.optimizer_tensors())
    resumed.step()
    assert resumed.progress()["inner_steps_done"] == 5


@pytest.mark.parametrize("change", ["shape", "missing", "more", "no steps", "between", "beyond", "text"])
def test_a_state_that_is_none_is_refused(change):
    trainer = make()
    trainer.step()
    progress, tensors = trainer.progress(), trainer.optimizer_tensors()
    steps = {"no steps": 0, "between": 3, "beyond": 100, "text": "5"}
    progress["inner_steps_done"] = steps.get(change, progress["inner_steps_done"])
    if change == "shape":
        tensors["carried/0"] = tensors["carried/0"][:1]
    if change == "missing":
        tensors.pop("carried/0")
    if change == "more":
        tensors["carried/x"] = torch.zeros(2)
    with pytest.raises(InvalidState) as raised:
        make().restore(progress, tensors)
    assert "\n" not in str(raised.value)
    with pytest.raises(InvalidState, match=r"inner_steps|carried|state of"):
        make(estimator=Backpropagation()).restore(progress, tensors)


# Bad input.


@pytest.mark.parametrize("steps", [0, -1, 1.5, None, True])
def test_windows_of_no_steps_are_refused(steps):
    with pytest.raises(InvalidSize, match="steps of Windows must be a whole number of at least 1, got"):
        Windows(steps)


@pytest.mark.parametrize("given", [Full(), Windows, None, "windows"], ids=str)
def test_what_is_no_estimator_is_refused(given):
    with pytest.raises(UnsupportedEstimator, match="expected an estimator such as Backpropagation") as raised:
        make(estimator=given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("option", ["device_data", "cuda_graph"])
def test_windows_are_not_of_whole_lifetimes(option):
    with pytest.raises(UnsupportedEstimator, match=f"{option} takes whole ones: use one of the two"):
        make(**{option: True})


def test_a_learner_that_an_estimator_does_not_support_is_named():
    with pytest.raises(UnsupportedStrategy, match="Reversible undoes plasticity in closed form"):
        Windows(5, Reversible()).check(FLP(Network((3, 8, 8, 1)), 2, rule=NormalisedOja()), 12)
    trainer = make(OML(Network((3, 8, 1)), 2, inner_rate=0.01))  # all of it is plastic
    trainer.step()
    with pytest.raises(UnsupportedEstimator, match="gets a gradient in the first window only: use Backpropagation"):
        trainer.step()

    class Counting(GradientBased):
        def init(self, n):
            return 0, super().init(n)

    with pytest.raises(UnsupportedEstimator, match=r"Windows carries the state of Counting .* got int in it"):
        make(Counting(Network((3, 8, 1)), 1, initial_rate=0.01)).step()


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InvalidSize, match="estimator windows needs window"):
        Settings.of({"estimator": "windows"})
    with pytest.raises(InvalidSize, match="window is of the estimator windows"):
        Settings.of({"window": 5})


def test_the_old_keyword_is_deprecated():
    with pytest.warns(DeprecationWarning, match=re.escape("estimator=Backpropagation(strategy=Autograd())")):
        trainer = make(estimator=Backpropagation(), meta_gradient=Autograd())
    assert trainer.estimator == Backpropagation(Autograd())


# Others' own.


@dataclass(frozen=True)
class FiniteDifferences(Estimator):
    """A pair of lifetimes on both sides of the meta-parameters, along one direction at random."""

    deviation: float = 1e-3

    @torch.no_grad()
    def differentiate(self, learner, episodes, state, outer_objective):
        parameters = list(learner.parameters())
        noise = [torch.randn_like(p) for p in parameters]

        def moved(by):
            for parameter, direction in zip(parameters, noise, strict=True):
                parameter += by * self.deviation * direction
            return run_lifetime(learner, episodes, outer_objective=outer_objective).outer_loss.mean()

        above, below = moved(1), moved(-2)
        loss = moved(1)
        for parameter, direction in zip(parameters, noise, strict=True):
            parameter.grad = (above - below) / (2 * self.deviation) * direction
        return Estimate(loss)


def test_an_estimator_of_ones_own_is_used_by_the_trainer_as_it_is(tmp_path):
    learner = shaken(LEARNERS["flp 2"]())
    episode = small_episode(n=2)
    got = make(learner, estimator=FiniteDifferences()).step_on(episode)
    assert got.outer_loss == pytest.approx(
        run_lifetime(shaken(LEARNERS["flp 2"]()), episode).outer_loss.mean().item(), rel=1e-9
    )
    assert got.gradient_norm > 0
    trainer = make(estimator=FiniteDifferences())
    with pytest.raises(CheckpointError, match="cannot save a trainer whose estimator is FiniteDifferences"):
        trainer.save(tmp_path / "run")
    ESTIMATORS.add("finite-differences", FiniteDifferences)
    try:
        trainer.save(tmp_path / "run")
        assert MetaTrainer.resume(tmp_path / "run").estimator == FiniteDifferences()
        with pytest.raises(CheckpointError, match="expected a registered one"):
            make(estimator=FiniteDifferences(0.1)).save(tmp_path / "other")
    finally:
        ESTIMATORS.forget("finite-differences")


def test_one_outer_step_of_windows_draws_once_in_a_lifetime():
    trainer, env = make(), make_env()
    seed_env(env, 5)
    for _ in range(2):
        draw_episodes(env, 2)
    for _ in range(6):
        trainer.step()
    assert trainer.env.unwrapped.np_random.bit_generator.state == env.unwrapped.np_random.bit_generator.state
