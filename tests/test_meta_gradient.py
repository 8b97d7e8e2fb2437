"""Strategies: one gradient from all that are exact, for every learner and type; clear words where one does not fit."""

import numpy as np
import pytest
import torch
from conftest import small_episode

from flp_agents import (
    FLP,
    OML,
    Autograd,
    Backpropagation,
    ByAutograd,
    Checkpointed,
    Feedback,
    Full,
    GradientBased,
    Hebb,
    MetaTrainer,
    Network,
    Reversible,
    Truncated,
    UnsupportedStrategy,
    run_lifetime,
)
from flp_agents.closed_form import gradient
from flp_agents.lifetime.meta_gradient import describe
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.lifetime.strategies.strategy import STRATEGIES, make_strategy, register_strategy
from flp_agents.support.memory import OutOfMemory, explaining_out_of_memory, free_bytes, measure_peak
from flp_base.errors import InvalidChoice
from flp_base.machine_memory import readable
from flp_base.registry import RegistryError
from flp_envs import InvalidSize, make

NETWORK = Network((3, 9, 8, 7, 1))
SETTINGS = {"initial_coefficient": 0.004, "initial_strength": 0.4}
LEARNERS = {
    "flp 2": lambda: FLP(NETWORK, 2, **SETTINGS),
    "flp 4, hebb": lambda: FLP(NETWORK, 4, rule=Hebb(), **{**SETTINGS, "initial_coefficient": 0.0005}),
    "feature reuse": lambda: FLP(NETWORK, 1, **SETTINGS),
    "flp 2, feedback of two layers": lambda: FLP(NETWORK, 2, feedback=Feedback(hidden_layers=1), **SETTINGS),
    "gradient-based, second order": lambda: GradientBased(NETWORK, 3, initial_rate=0.02),
    "gradient-based, first order": lambda: GradientBased(NETWORK, 2, order="first", initial_rate=0.02),
    "oml": lambda: OML(NETWORK, 3, inner_rate=0.02),
}
EXACT = [
    Full(),
    Checkpointed(),
    Checkpointed(1),
    Checkpointed(5),
    Reversible(),
    Reversible(2),
    Reversible(6),
    Truncated(6),
]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}


def reversible(name):
    return name.startswith(("flp", "feature")) and "two layers" not in name


def lived(learner, episode, strategy):
    """The query loss and its gradient by meta-parameter."""
    learner.zero_grad(set_to_none=True)
    loss = run_lifetime(learner, episode, meta_gradient=strategy).query_loss.sum()
    loss.backward()
    grads = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
    return loss.item(), grads


def assert_same(got, expected, tolerance):
    assert got[0] == pytest.approx(expected[0], rel=tolerance)
    for name, grad in expected[1].items():
        difference = (got[1].get(name, torch.zeros_like(grad)) - grad).norm()
        assert difference <= tolerance * grad.norm() + 1e-12, name


@pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("strategy", EXACT, ids=str)
@pytest.mark.parametrize("name", LEARNERS)
def test_exact_strategies_find_the_gradient_that_autograd_finds(name, strategy, dtype):
    if isinstance(strategy, Reversible) and not reversible(name):
        with pytest.raises(UnsupportedStrategy, match="use Checkpointed"):
            lived(LEARNERS[name](), small_episode(n=2), strategy)
        return
    learner = LEARNERS[name]().to(dtype)
    episode = small_episode(n=2)
    assert_same(lived(learner, episode, strategy), lived(learner, episode, Autograd()), TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["flp 2", "gradient-based, second order", "oml"])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_truncated_takes_earlier_steps_for_a_shift_of_the_initial_weights(name, steps):
    learner, episode = LEARNERS[name]().double(), small_episode(n=2)
    got = lived(learner, episode, Truncated(steps))
    tensors = EpisodeTensors.of(learner, episode)
    cut = tensors.support_x.shape[1] - steps
    with torch.no_grad():
        early = tensors._replace(support_x=tensors.support_x[:, :cut], support_y=tensors.support_y[:, :cut])
        first = run_lifetime(learner, early).state
    born = learner.init(2)
    moved = born._replace(
        weights=tuple(w + (after - w).detach() for w, after in zip(born.weights, first.weights, strict=True)),
        biases=tuple(b + (after - b).detach() for b, after in zip(born.biases, first.biases, strict=True)),
    )
    learner.zero_grad(set_to_none=True)
    rest = tensors._replace(support_x=tensors.support_x[:, cut:], support_y=tensors.support_y[:, cut:])
    loss = run_lifetime(learner, rest, moved, meta_gradient=Autograd()).query_loss.sum()
    loss.backward()
    expected = loss.item(), {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}
    assert_same(got, expected, 1e-9)
    exact = lived(learner, episode, Full())
    if name != "oml":  # to first order and with one rate, earlier steps are nothing but a shift
        assert any((exact[1][n] - g).norm() > 1e-3 * g.norm() for n, g in got[1].items())


@pytest.mark.parametrize("learner", ["flp 2", "gradient-based, second order"])
def test_meta_training_goes_the_same_way_with_every_exact_strategy(learner):
    curves = {}
    for strategy in [Autograd(), *EXACT]:
        if isinstance(strategy, Truncated) or (isinstance(strategy, Reversible) and learner != "flp 2"):
            continue
        env = make("FLPSine-Continual-v0", num_functions=2, steps_per_function=4, batch_size=4, query_size=4)
        made = LEARNERS[learner]()
        rates = {**dict.fromkeys(made.parameter_groups(), 0.0), "weights": 1e-2}
        trainer = MetaTrainer(made, env, rates=rates, meta_batch=2, estimator=Backpropagation(strategy))
        curves[str(strategy)] = [trainer.step().query_loss for _ in range(12)]
    (first, *others) = curves.values()
    assert first[-1] != first[0]
    for curve in others:
        np.testing.assert_allclose(curve, first, rtol=2e-3)


def test_falling_back_is_visible():
    learner, episode = LEARNERS["flp 2, feedback of two layers"](), small_episode()
    with pytest.warns(ByAutograd, match="found by autograd: the closed form covers feedback of one layer"):
        run_lifetime(learner, episode)
    assert "by autograd (the closed form covers feedback of one layer" in describe(learner)
    assert describe(LEARNERS["gradient-based, second order"]()) == "by autograd (GradientBased has no closed form)"
    assert describe(LEARNERS["oml"]()) == "to first order, without a graph of the lifetime"
    assert describe(LEARNERS["flp 2"]()).startswith("in closed form, in ")


class Decay:
    """A rule of somebody's own."""

    def __call__(self, weight, pre, post, coefficient, unit=1.0):
        return weight - unit * coefficient * weight


def test_a_rule_of_ones_own_is_differentiated_by_autograd():
    learner = FLP(NETWORK, 2, rule=Decay(), initial_coefficient=0.01)
    with pytest.warns(ByAutograd, match="Oja's rule and Hebb's, not Decay"):
        loss = run_lifetime(learner, small_episode()).query_loss.sum()
    loss.backward()
    assert learner.coefficients[0].grad.norm() > 0


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Checkpointed(7), r"Checkpointed\(every=7\): a lifetime has 6 inner steps: choose every of at most 6"),
        (Reversible(7), r"Reversible\(every=7\): a lifetime has 6 inner steps"),
        (Checkpointed(0), "every of Checkpointed must be"),
        (Truncated(7), r"Truncated\(steps=7\): a lifetime has 6 inner steps: choose at most as many"),
        (Truncated(-1), "steps of Truncated must be"),
    ],
)
@pytest.mark.parametrize("name", ["flp 2", "oml"])
def test_sizes_that_do_not_fit_are_refused(name, strategy, message):
    with pytest.raises(InvalidSize, match=message):
        lived(LEARNERS[name](), small_episode(), strategy)


def test_without_a_gradient_strategies_only_live():
    learner, episode = LEARNERS["flp 2"]().double(), small_episode(n=3)
    expected = run_lifetime(learner, episode, meta_gradient=Autograd()).query_loss
    with torch.no_grad():
        for strategy in [*EXACT, Truncated(2)]:
            got = run_lifetime(learner, episode, meta_gradient=strategy).query_loss
            torch.testing.assert_close(got, expected.detach(), rtol=1e-10, atol=0)


def test_names_make_strategies():
    made = {name: make_strategy(name, 5) for name in STRATEGIES.built_in()}
    assert made == {
        "full": Full(),
        "checkpointed": Checkpointed(5),
        "reversible": Reversible(5),
        "truncated": Truncated(5),
        "autograd": Autograd(),
    }
    assert make_strategy("reversible", 0) == Reversible()
    assert make_strategy("truncated", 0) == Truncated(0)
    with pytest.raises(InvalidChoice, match="unknown memory strategy 'ful': did you mean 'full'"):
        make_strategy("ful", 0)


def test_what_is_no_strategy_is_not_registered():
    with pytest.raises(RegistryError, match="expected the memory strategy 'mine' to be a class with rollout, got"):
        register_strategy("mine")(InvalidSize)
    with pytest.raises(RegistryError, match="another memory strategy is registered as 'full' already"):
        register_strategy("full")(type("Other", (Full,), {}))


def test_what_will_not_fit_is_said_before_it_is_tried(monkeypatch):
    learner, episode = FLP(Network((3, 50, 50, 1)), 2, **SETTINGS), small_episode(steps_per_function=50)
    for free, advice in [
        (600_000, r"would keep [\d.]+ MiB, and 586 KiB are free: use another strategy: Reversible needs .*, Checkpoi"),
        (1000, "use fewer lifetimes or a narrower network"),
    ]:
        monkeypatch.setattr(gradient, "free_bytes", lambda device, free=free: free)
        with pytest.raises(OutOfMemory, match=advice):
            run_lifetime(learner, episode)
    for free in (free_bytes, lambda device: None):
        monkeypatch.setattr(gradient, "free_bytes", free)
        run_lifetime(learner, episode)


def test_running_out_of_memory_is_explained():
    with (
        pytest.raises(OutOfMemory, match=r"out of memory with Full\(\): use Checkpointed\(\)"),
        explaining_out_of_memory(Full()),
    ):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="something else"), explaining_out_of_memory(Full()):
        raise RuntimeError("something else")


def test_memory_is_measured():
    assert free_bytes(torch.device("cpu")) is None or free_bytes(torch.device("cpu")) > 2**20
    assert [readable(b) for b in (12, 2048, 3 * 2**20, 2.5 * 2**30)] == ["12 bytes", "2 KiB", "3 MiB", "2.5 GiB"]
    with measure_peak(torch.device("cpu")) as peak:
        torch.zeros(2**26).sum()
    assert peak.added is None or 0.9 * 2**28 <= peak.added < 2**29


@pytest.mark.parametrize("strategy", [Full(), Checkpointed(3), Truncated(2)], ids=str)
def test_nothing_waits_for_the_device(strategy):
    """On torch's meta device whatever asks for a value fails: what passes can be recorded in a CUDA graph."""
    learner = LEARNERS["flp 2"]()
    tensors = EpisodeTensors.of(learner, small_episode(n=2))
    learner, tensors = learner.to("meta"), EpisodeTensors(*(t.to("meta") for t in tensors))
    run_lifetime(learner, tensors, meta_gradient=strategy).query_loss.mean().backward()
    assert learner.coefficients[0].grad.shape == learner.coefficients[0].shape


class Halving:
    """Goes half of each inner step."""

    def update(self, state, y):
        after = super().update(state, y)
        return after._replace(weights=tuple((a + b) / 2 for a, b in zip(state.weights, after.weights, strict=True)))


class HalvingFLP(Halving, FLP):
    pass


class HalvingOML(Halving, OML):
    pass


@pytest.mark.parametrize(
    ("cls", "options"), [(HalvingFLP, SETTINGS), (HalvingOML, {"inner_rate": 0.02})], ids=["flp", "oml"]
)
@pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
def test_a_subclass_that_learns_in_another_way_is_differentiated_as_it_learns(cls, options):
    """The closed form that it inherits is that of its parent."""
    episode = small_episode(n=2)
    learner, parent = (of(NETWORK, 2, **options).double() for of in (cls, cls.__mro__[2]))
    assert describe(learner).startswith("by autograd (Halving")
    exact, got = (lived(learner, episode, strategy) for strategy in (Autograd(), Full()))
    of_parent = lived(parent, episode, Full())
    assert got[0] == pytest.approx(exact[0], rel=1e-12)
    assert got[0] != pytest.approx(of_parent[0], rel=1e-3)
    for name, gradient_of in exact[1].items():
        assert torch.allclose(got[1][name], gradient_of, rtol=1e-9, atol=1e-12), name
