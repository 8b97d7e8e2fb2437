"""Outer objectives: the same loss and gradient whoever lives and however the lifetime is differentiated."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import mean_online_loss, small_episode
from hypothesis import given, settings
from hypothesis import strategies as st
from test_chain import ENGINES, KEEPS, chain_of, needs_compiler

from flp_agents import (
    FLP,
    OML,
    Autograd,
    ByAutograd,
    Checkpointed,
    CheckpointError,
    Feedback,
    Full,
    GradientBased,
    Hebb,
    MetaTrainer,
    Mixed,
    Network,
    NormalisedOja,
    OnlineLoss,
    QueryLoss,
    Reversible,
    Truncated,
    UnsupportedObjective,
    run_lifetime,
)
from flp_agents.closed_form import gradient
from flp_agents.closed_form.gradient import Keep, predict
from flp_agents.learners.objective import CrossEntropy
from flp_agents.lifetime.inner_loop import Rollout, inner_loop
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError, InvalidSize
from flp_envs import Episode, make

FULL = Full()
pytestmark = pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")

NETWORK, LABELS = Network((3, 9, 8, 7, 1)), CrossEntropy(3, 5)
OF_LABELS = Network((3, 9, 8, 7, 5))
SETTINGS = {"initial_coefficient": 0.004, "initial_strength": 0.4}
CLAMPED = {"feedback": Feedback(signal="target", output="clamped"), "objective": LABELS, **SETTINGS}
RATE = {"initial_rate": 0.02}
LEARNERS = {
    "flp 2": lambda: FLP(NETWORK, 2, **SETTINGS),
    "flp 3, after": lambda: FLP(NETWORK, 3, presynaptic="after", feedback=Feedback(rectified=False), **SETTINGS),
    "flp 4, hebb": lambda: FLP(NETWORK, 4, rule=Hebb(), initial_coefficient=0.0005),
    "feature reuse": lambda: FLP(NETWORK, 1, **SETTINGS),
    "flp 2, labels": lambda: FLP(OF_LABELS, 2, **CLAMPED),
    "flp 2, normalised": lambda: FLP(NETWORK, 2, rule=NormalisedOja(), **SETTINGS),
    "second order": lambda: GradientBased(NETWORK, 3, **RATE),
    "second order, labels": lambda: GradientBased(OF_LABELS, 2, objective=LABELS, **RATE),
    "first order": lambda: GradientBased(NETWORK, 2, order="first", rate_unit=0.7, **RATE),
    "first order, labels": lambda: GradientBased(OF_LABELS, 4, order="first", objective=LABELS, **RATE),
    "oml": lambda: OML(NETWORK, 3, inner_rate=0.02),
}
CLOSED = ("flp 2", "flp 3, after", "flp 4, hebb", "feature reuse", "flp 2, labels")
EXACT = [Full(), Checkpointed(), Checkpointed(5), Reversible(), Reversible(4), Truncated(6)]
ONLINE = [OnlineLoss(), Mixed(0.3)]


def shaken(learner, dtype=torch.float64):
    """A learner whose meta-parameters all differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in learner.double().named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += noise * (2e-4 if "coefficients" in name else 5e-3 if "rates" in name else 0.1)
    return learner.to(dtype)


def episode_for(name, n=2):
    episode = small_episode(n=n)
    if "labels" not in name:
        return episode
    rng = np.random.default_rng(3)
    labels = [rng.integers(0, 3, y.shape[:-1]) for y in (episode.support_y, episode.query_y)]
    return Episode(episode.support_x, labels[0], episode.support_task, episode.query_x, labels[1], episode.query_task)


def lived(learner, episode, outer_objective, strategy=FULL):
    """The outer loss and its gradient by meta-parameter."""
    learner.zero_grad(set_to_none=True)
    lifetime = run_lifetime(learner, episode, meta_gradient=strategy, outer_objective=outer_objective)
    weights = torch.linspace(0.5, 1.5, len(lifetime.outer_loss), dtype=lifetime.outer_loss.dtype)
    loss = (lifetime.outer_loss * weights).sum()  # not all lifetimes alike
    loss.backward()
    return loss.item(), {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in learner.named_parameters()}


def assert_same(got, expected, tolerance=1e-9):
    assert got[0] == pytest.approx(expected[0], rel=tolerance)
    for name, grad in expected[1].items():
        assert (got[1][name] - grad).norm() <= tolerance * grad.norm() + 1e-12, name


def assert_equal(got, expected):
    assert got[0] == expected[0]
    assert all(torch.equal(got[1][name], grad) for name, grad in expected[1].items())


# What they are.


@pytest.mark.parametrize("name", ["flp 2", "flp 2, labels", "second order", "oml"])
def test_definitions(name):
    learner, episode = shaken(LEARNERS[name]()), episode_for(name)
    tensors, answers = EpisodeTensors.of(learner, episode), []
    state = inner_loop(learner, learner.init(2), learner.encode(tensors.support_x), tensors.support_y, answers.append)
    at_the_end = learner.predict_all(state, learner.encode(tensors.query_x))
    by_step = [learner.objective.losses(a, y) for a, y in zip(answers, tensors.support_y.unbind(1), strict=True)]
    online, query = torch.stack(by_step).mean(0), learner.objective.losses(at_the_end, tensors.query_y)
    expected = {OnlineLoss(): online, QueryLoss(): query, Mixed(0.3): 0.3 * online + 0.7 * query}
    for outer_objective, loss in expected.items():
        lifetime = run_lifetime(learner, episode, outer_objective=outer_objective)
        torch.testing.assert_close(lifetime.outer_loss, loss, rtol=1e-10, atol=0)
        if outer_objective.needs_support:
            torch.testing.assert_close(lifetime.support_predictions, torch.stack(answers, 1), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(lifetime.outcome.support.losses_by_step, torch.stack(by_step, 1))
        else:
            assert lifetime.support_predictions is None


@pytest.mark.parametrize("name", ["flp 2", "second order", "first order"])
@pytest.mark.parametrize("strategy", [Autograd(), *EXACT[:3], Truncated(2)], ids=str)
def test_the_ends_of_the_mixture_and_the_default_are_the_same_to_the_bit(name, strategy):
    learner, episode = shaken(LEARNERS[name](), torch.float32), episode_for(name)
    of_query = lived(learner, episode, QueryLoss(), strategy)
    assert_equal(lived(learner, episode, Mixed(0), strategy), of_query)
    assert_equal(lived(learner, episode, Mixed(1), strategy), lived(learner, episode, OnlineLoss(), strategy))
    plain = run_lifetime(learner, episode, meta_gradient=strategy)
    assert plain.outer_loss is plain.query_loss
    tensors = EpisodeTensors.of(learner, episode)
    support, query = strategy.encode(learner, tensors.support_x, tensors.query_x, online=False)
    state = strategy.rollout(learner, learner.init(2), support, tensors.support_y, online=False).state
    predictions = learner.predict_all(state, query)
    assert torch.equal(plain.query_predictions, predictions)
    assert torch.equal(plain.outer_loss, learner.objective.losses(predictions, tensors.query_y))
    assert torch.equal(plain.query_score, learner.objective.scores(predictions, tensors.query_y))


# The gradient.


@pytest.mark.parametrize("outer_objective", ONLINE, ids=str)
@pytest.mark.parametrize("name", LEARNERS)
def test_exact_strategies_find_the_gradient_that_autograd_finds(name, outer_objective):
    learner, episode = shaken(LEARNERS[name]()), episode_for(name)
    expected = lived(learner, episode, outer_objective, Autograd())
    moved = [n for n, grad in expected[1].items() if float(grad.norm()) > 0]
    # Of a clamped output nothing is fed back; and the last step's update shows in the query alone.
    assert len(moved) >= len(expected[1]) - 3, set(expected[1]) - set(moved)
    for strategy in EXACT:
        if not isinstance(strategy, Reversible) or name in CLOSED:
            assert_same(lived(learner, episode, outer_objective, strategy), expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CLOSED)
def test_both_engines_in_float32(engine, name, monkeypatch):
    needs_compiler(engine, torch.float32)
    learner, episode = shaken(LEARNERS[name](), torch.float32), episode_for(name)
    expected = lived(learner, episode, Mixed(0.5), Autograd())
    monkeypatch.setattr(gradient, "make_engine", ENGINES[engine])
    for strategy in (Full(), Checkpointed(), Reversible()):
        assert_same(lived(learner, episode, Mixed(0.5), strategy), expected, 1e-3)


@pytest.mark.parametrize("name", ["flp 2", "flp 3, after", "flp 2, labels", "second order", "second order, labels"])
@pytest.mark.parametrize("outer_objective", ONLINE, ids=str)
def test_finite_differences(name, outer_objective):
    """In a direction that moves all meta-parameters at once."""
    learner, episode = shaken(LEARNERS[name]()), episode_for(name)
    _, grads = lived(learner, episode, outer_objective)
    generator = torch.Generator().manual_seed(2)
    parameters = dict(learner.named_parameters())
    scale = {n: 1e-2 if "coefficients" in n or "rates" in n else 1.0 for n in parameters}
    way = {n: scale[n] * torch.randn(p.shape, generator=generator).double() for n, p in parameters.items()}
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            for n, p in parameters.items():
                p += step * way[n]
        values.append(lived(learner, episode, outer_objective)[0])
        with torch.no_grad():
            for n, p in parameters.items():
                p -= step * way[n]
    slope = sum(float((grads[n] * way[n]).sum()) for n in parameters)
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("output", ["mixed", "clamped"])
def test_gradcheck_of_predictions_and_weights(engine, output, monkeypatch):
    needs_compiler(engine)
    monkeypatch.setattr(gradient, "make_engine", ENGINES[engine])
    learner, features, targets = chain_of(
        lifetimes=2, steps=3, batch=3, widths=(3, 4, 3, 2), plastic=2, output=output, presynaptic="after"
    )
    form, tensors = learner.plastic_chain(learner.init(2))
    flat = [t.detach().clone().requires_grad_() for t in tensors.flat()]

    def all_of_it(features, *flat):
        keep = Keep(2, activity=True, weights=False)
        predictions, weights = predict(form, type(tensors).from_flat(flat), features, targets, keep)
        return predictions, *weights

    torch.autograd.gradcheck(all_of_it, (features, *flat), eps=1e-6, atol=1e-7, fast_mode=True)


def of_chain(learner, features, predictions, weights):
    """Gradients of a sum in which every prediction and every final weight counts differently."""
    generator = torch.Generator().manual_seed(9)
    parts = [(t * torch.randn(t.shape, generator=generator, dtype=t.dtype)).sum() for t in (predictions, *weights)]
    wanted = [features, *learner.parameters()]
    grads = torch.autograd.grad(sum(parts), wanted, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, grads, strict=True)]


def agrees_with_autograd(engine, case, keep, threads=1):
    learner, features, targets = case
    answers = []
    state = inner_loop(learner, learner.init(len(features)), features, targets, answers.append)
    expected = of_chain(learner, features, torch.stack(answers, 1), state.weights)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gradient, "make_engine", ENGINES[engine])
            form, tensors = learner.plastic_chain(learner.init(len(features)))
            predictions, weights = predict(form, tensors, features, targets, keep)
            got = of_chain(learner, features, predictions, weights)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(predictions, torch.stack(answers, 1), rtol=1e-9, atol=1e-9)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


def any_chain(data):
    """A chain of any size and form, and what to keep of it."""
    plastic = data.draw(st.integers(1, 3), "plastic")
    widths = tuple(data.draw(st.lists(st.integers(1, 40), min_size=plastic + 1, max_size=plastic + 2), "widths"))
    most = {"lifetimes": 4, "steps": 6, "batch": 20}
    sizes = {name: data.draw(st.integers(1, limit), name) for name, limit in most.items()}
    forms = {
        "rule": ["oja", "hebb"],
        "signal": ["error", "target"],
        "output": ["mixed", "clamped"],
        "rectified": [True, False],
        "presynaptic": ["before", "after"],
        "granularity": ["synapse", "neuron", "layer"],
    }
    form = {name: data.draw(st.sampled_from(choices), name) for name, choices in forms.items()}
    keep = data.draw(st.sampled_from([*KEEPS.values(), Keep(1, activity=False, weights=False)]), "keep")
    return chain_of(widths=widths, plastic=plastic, coefficient=0.0005, **sizes, **form), keep


def any_chain_agrees_with_autograd(engine, data):
    needs_compiler(engine)
    case, keep = any_chain(data)
    agrees_with_autograd(engine, case, keep, data.draw(st.integers(1, 3), "threads"))


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_any_chain_agrees_with_autograd(engine, data):
    any_chain_agrees_with_autograd(engine, data)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_many_chains_agree_with_autograd(engine, data):
    any_chain_agrees_with_autograd(engine, data)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_segment_that_cannot_be_walked_back_is_replayed(engine):
    """A lifetime with a step that erases a synapse."""
    needs_compiler(engine)
    learner, features, targets = chain_of(lifetimes=1, steps=6, widths=(4, 3, 1), plastic=1, output="clamped")
    with torch.no_grad():
        learner.coefficients[0].copy_(torch.full((1, 3), 1 / 0.7))
        targets.mul_(0.01)
        targets[:, 2] = 0.0
        targets[:, 2, 0] = 1.0
    agrees_with_autograd(engine, (learner, features, targets), Keep(3, activity=True, weights=False))


@pytest.mark.parametrize("name", ["flp 2", "second order", "first order", "oml"])
@pytest.mark.parametrize("steps", [0, 2, 5])
def test_truncated_takes_updates_before_the_cut_for_shifts(name, steps):
    learner, episode = shaken(LEARNERS[name]()), episode_for(name)
    tensors = EpisodeTensors.of(learner, episode)
    features = learner.encode(tensors.support_x)
    born, answers = learner.init(2), []
    state = now = born
    for t in range(6):
        if t <= 6 - steps:
            weights, biases = (
                tuple(b + (a - b).detach() for a, b in zip(after, before, strict=True))
                for after, before in ((now.weights, born.weights), (now.biases, born.biases))
            )
            state = born._replace(weights=weights, biases=biases)
        made, state = learner.predict(state, features[:, t])
        answers.append(made)
        now = state = learner.update(state, tensors.support_y[:, t])
    losses = learner.objective.losses(torch.stack(answers, 1), tensors.support_y)
    learner.zero_grad(set_to_none=True)
    loss = (losses * torch.linspace(0.5, 1.5, 2).double()).sum()
    loss.backward()
    grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in learner.named_parameters()}
    got = lived(learner, episode, OnlineLoss(), Truncated(steps))
    assert_same(got, (loss.item(), grads))
    assert got[1]["layers.weights.3"].norm() > 0


def graph_size(loss):
    """How many operations autograd remembers."""
    found, queue = set(), [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in found:
            found.add(node)
            queue += [of for of, _ in node.next_functions]
    return len(found)


@pytest.mark.parametrize("name", ["first order", "oml", "flp 2"])
def test_no_graph_of_the_lifetime(name):
    learner = LEARNERS[name]().double()
    sizes = [
        graph_size(
            run_lifetime(learner, small_episode(steps_per_function=steps), outer_objective=Mixed(0.5)).outer_loss
        )
        for steps in (3, 30)
    ]
    assert sizes[0] == sizes[1]


class WithoutPredictions(OML):
    """To first order with its own way through a lifetime, and none that keeps the predictions along the way."""

    def update(self, state, y):
        return super().update(state, y)

    def rollout_to_first_order(self, state, features, targets):
        return super().rollout_to_first_order(state, features, targets)


def test_learners_to_first_order_that_keep_no_predictions_are_differentiated_by_autograd():
    learner, parent = (of(NETWORK, 2, inner_rate=0.02).double() for of in (WithoutPredictions, OML))
    for outer_objective in (QueryLoss(), OnlineLoss()):
        assert_same(
            lived(learner, small_episode(n=2), outer_objective), lived(parent, small_episode(n=2), outer_objective)
        )


@pytest.mark.parametrize("strategy", [Autograd(), *EXACT, Truncated(2)], ids=str)
def test_without_a_gradient_the_loss_is_the_same(strategy):
    learner, episode = shaken(LEARNERS["flp 2"]()), episode_for("flp 2")
    for outer_objective in ONLINE:
        expected = run_lifetime(learner, episode, outer_objective=outer_objective).outer_loss
        with torch.no_grad():
            got = run_lifetime(learner, episode, meta_gradient=strategy, outer_objective=outer_objective)
        assert not got.outer_loss.requires_grad
        torch.testing.assert_close(got.outer_loss, expected.detach(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("strategy", [Full(), Checkpointed(3), Truncated(2)], ids=str)
@pytest.mark.parametrize("name", ["flp 2", "first order"])
def test_nothing_waits_for_the_device(strategy, name):
    """On torch's meta device whatever asks for a value fails: what passes can be recorded in a CUDA graph."""
    learner = LEARNERS[name]()
    tensors = EpisodeTensors.of(learner, small_episode(n=2))
    learner, tensors = learner.to("meta"), EpisodeTensors(*(t.to("meta") for t in tensors))
    run_lifetime(learner, tensors, meta_gradient=strategy, outer_objective=Mixed(0.5)).outer_loss.mean().backward()
    assert learner.layers.weights[-1].grad.shape == learner.layers.weights[-1].shape


# What is not needed is not computed.


class Counting(FLP):
    """Notes how many inputs it encodes, and how often it answers from one state."""

    encoded, answered = 0, 0

    def encode(self, x):
        self.encoded += x[..., 0].numel()
        return super().encode(x)

    def predict_all(self, state, features):
        self.answered += 1
        return super().predict_all(state, features)


@pytest.mark.parametrize(
    ("outer_objective", "support", "query"), [(QueryLoss(), 1, 1), (OnlineLoss(), 1, 0), (Mixed(0.5), 1, 1)], ids=str
)
def test_the_query_is_run_where_it_is_needed(outer_objective, support, query):
    learner, episode = Counting(NETWORK, 2, **SETTINGS), small_episode(n=2)
    lifetime = run_lifetime(learner, episode, outer_objective=outer_objective)
    sizes = [x[..., 0].size for x in (episode.support_x, episode.query_x)]
    assert learner.encoded == support * sizes[0] + query * sizes[1]
    assert learner.answered == query
    if not query:
        for part in ("query_predictions", "query_loss", "query_score"):
            with pytest.raises(UnsupportedObjective, match=r"the query was not run.*needs_query is True"):
                getattr(lifetime, part)


# One of one's own.


@dataclass(frozen=True)
class LateLoss:
    """The mean loss over the last support steps."""

    steps: int
    needs_support = True
    needs_query = False

    def losses(self, outcome):
        return outcome.support.losses_by_step[:, -self.steps :].mean(1)


@pytest.mark.parametrize("name", ["flp 2", "first order"])
def test_an_objective_of_ones_own(name):
    learner, episode = shaken(LEARNERS[name]()), episode_for(name)
    assert_same(lived(learner, episode, LateLoss(6)), lived(learner, episode, OnlineLoss()))
    late = lived(learner, episode, LateLoss(2))
    assert_same(late, lived(learner, episode, LateLoss(2), Autograd()))
    assert late[0] != pytest.approx(lived(learner, episode, OnlineLoss())[0])


@dataclass(frozen=True)
class OneForAll:
    needs_support = False
    needs_query = True

    def losses(self, outcome):
        return outcome.query.losses.mean()


class Nosy(QueryLoss):
    def losses(self, outcome):
        return outcome.support.losses


class WithoutThem(Full):
    """A strategy that keeps no predictions."""

    def rollout(self, learner, state, features, targets, *, online):
        return Rollout(super().rollout(learner, state, features, targets, online=False).state, None)


@pytest.mark.parametrize(
    ("outer_objective", "strategy", "message"),
    [
        (OnlineLoss, Full(), r"expected an outer objective such as QueryLoss\(\).*, which is a class"),
        ("online", Full(), "expected an outer objective .*got 'online', which has no needs_support"),
        (OneForAll(), Full(), r"expected of OneForAll\(\) one loss for each of 2 lifetimes, got losses of shape \(\)"),
        (Nosy(), Full(), "the predictions along the way were not kept.*needs_support is True"),
        (OnlineLoss(), WithoutThem(), r"OnlineLoss\(\) needs the predictions along the way, which WithoutThem\(\)"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_line(outer_objective, strategy, message):
    with pytest.raises(UnsupportedObjective, match=message) as raised:
        run_lifetime(LEARNERS["flp 2"](), small_episode(n=2), meta_gradient=strategy, outer_objective=outer_objective)
    assert isinstance(raised.value, FLPError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), True, "half", None])
def test_weights_beyond_0_and_1_are_refused(weight):
    with pytest.raises(InvalidSize, match="weight of Mixed must be a finite number of at least 0 and at most 1, got"):
        Mixed(weight)


# Meta-training.


def trainer_of(learner, **options):
    env = make("FLPSine-Continual-v0", num_functions=2, steps_per_function=4, batch_size=4, query_size=4)
    rates = {**dict.fromkeys(learner.parameter_groups(), 0.0), "weights": 1e-2}
    return MetaTrainer(learner, env, rates=rates, **{"meta_batch": 2, **options})


@pytest.mark.parametrize("name", ["flp 2", "second order", "first order", "oml"])
def test_meta_training_lowers_the_online_loss(name):
    """On lifetimes that it was not meta-trained on."""
    learner = LEARNERS[name]()
    trainer = trainer_of(learner, outer_objective=OnlineLoss(), meta_batch=8)
    held_out = trainer.env.unwrapped.task.sample(np.random.default_rng(7), 64)

    before = mean_online_loss(learner, held_out)
    for _ in range(20):
        trainer.step()
    assert mean_online_loss(learner, held_out) < 0.8 * before


def test_the_trainer_follows_its_objective():
    trainer, twin = trainer_of(LEARNERS["flp 2"](), outer_objective=Mixed(0.5)), LEARNERS["flp 2"]()
    episode = trainer.env.unwrapped.task.sample(np.random.default_rng(0), 2)
    expected = run_lifetime(twin, episode, outer_objective=Mixed(0.5)).outer_loss.mean()
    assert trainer.step_on(episode).outer_loss == expected.item()
    assert "outer_objective=Mixed(weight=0.5)" in repr(trainer)


class Deaf(GradientBased):
    """Predicts without a gradient."""

    @torch.no_grad()
    def predict(self, state, features):
        return super().predict(state, features)

    @torch.no_grad()
    def update(self, state, y):
        return super().update(state, y)


def test_a_trainer_refuses_what_cannot_be():
    with pytest.raises(UnsupportedObjective, match="expected an outer objective such as"):
        trainer_of(LEARNERS["oml"](), outer_objective=0.5)
    trainer = trainer_of(Deaf(NETWORK, 2), outer_objective=OnlineLoss())
    with pytest.raises(UnsupportedObjective, match=r"OnlineLoss\(\) of Deaf depends on none of its meta-parameters"):
        trainer.step()


@pytest.mark.parametrize("objective", [QueryLoss(), OnlineLoss(), Mixed(0.25)], ids=repr)
def test_a_trainer_is_saved_and_resumed_with_its_objective(objective, tmp_path):
    trainer = trainer_of(LEARNERS["oml"](), outer_objective=objective)
    trainer.step()
    trainer.save(tmp_path / "run")
    resumed = MetaTrainer.resume(tmp_path / "run")
    assert resumed.outer_objective == objective
    assert resumed.step() == trainer.step()


@dataclass(frozen=True)
class OfNobody(OnlineLoss):
    """Not registered."""


def test_a_trainer_with_an_objective_that_nobody_knows_is_not_saved(tmp_path):
    trainer = trainer_of(LEARNERS["oml"](), outer_objective=OfNobody())
    with pytest.raises(CheckpointError, match=r"outer objective is OfNobody\(\): expected a registered one \(.*query"):
        trainer.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_falling_back_is_visible():
    with pytest.warns(ByAutograd, match="Oja's rule and Hebb's, not NormalisedOja"):
        run_lifetime(LEARNERS["flp 2, normalised"](), small_episode(), outer_objective=OnlineLoss())
