"""The closed-form meta-gradient: both engines against autograd, finite differences, and each other."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_agents import FLP, Feedback, Hebb, Network, Oja
from flp_agents.closed_form import gradient
from flp_agents.closed_form.build import NotBuilt, load_library
from flp_agents.closed_form.gradient import Keep, rollout
from flp_agents.closed_form.native_engine import NativeEngine
from flp_agents.closed_form.torch_engine import TorchEngine
from flp_agents.lifetime.inner_loop import inner_loop

ENGINES = {"native": NativeEngine, "torch": TorchEngine}
KEEPS = {
    "all": Keep(),
    "starts of segments": Keep(3, activity=False, weights=False),
    "activity": Keep(3, activity=True, weights=False),
    "activity, one segment": Keep(None, activity=True, weights=False),
}


def needs_compiler(engine, dtype=torch.float64):
    if engine == "native":
        try:
            load_library(dtype)
        except NotBuilt as reason:
            pytest.skip(str(reason))


def chain_of(
    lifetimes=2,
    steps=7,
    batch=5,
    widths=(4, 17, 9, 6, 2),
    plastic=3,
    rule="oja",
    signal="error",
    output="mixed",
    rectified=True,
    presynaptic="before",
    granularity="synapse",
    coefficient=0.005,
    dtype=torch.float64,
    seed=0,
):
    """A learner whose meta-parameters all differ, with the features and targets of some lifetimes."""
    generator = torch.Generator().manual_seed(seed)
    learner = FLP(
        Network(widths),
        plastic,
        rule={"oja": Oja(), "hebb": Hebb()}[rule],
        feedback=Feedback(signal=signal, rectified=rectified, output=output),
        granularity=granularity,
        presynaptic=presynaptic,
        initial_coefficient=coefficient,
        coefficient_unit=0.7,
        hidden_multiplier=1.3,
        seed=seed,
    ).double()
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += noise * (coefficient * 0.2 if "coefficients" in name else 0.1)
    learner = learner.to(dtype)
    features = torch.randn(lifetimes, steps, batch, widths[-plastic - 1], generator=generator, dtype=torch.float64)
    targets = torch.randn(lifetimes, steps, batch, widths[-1], generator=generator, dtype=torch.float64)
    return learner, features.to(dtype).requires_grad_(), targets.to(dtype)


def value_and_gradients(learner, features, weights):
    """Of a sum in which every final weight counts differently."""
    generator = torch.Generator().manual_seed(9)
    value = sum((w * torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w.dtype)).sum() for w in weights)
    wanted = [features, *learner.parameters()]
    grads = torch.autograd.grad(value, wanted, allow_unused=True)
    return value.detach(), [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, grads, strict=True)]


def relative_errors(learner, got, expected):
    names = ["features", *(name for name, _ in learner.named_parameters())]
    pairs = zip(names, got, expected, strict=True)
    return {name: float((a - b).norm() / b.norm().clamp(min=1e-12)) for name, a, b in pairs}


def by_autograd(learner, features, targets):
    return value_and_gradients(
        learner, features, inner_loop(learner, learner.init(len(features)), features, targets).weights
    )


def in_closed_form(learner, features, targets, keep, engine, monkeypatch):
    monkeypatch.setattr(gradient, "make_engine", ENGINES[engine])
    form, tensors = learner.plastic_chain(learner.init(len(features)))
    return value_and_gradients(learner, features, rollout(form, tensors, features, targets, keep))


def assert_agrees(case, keep, engine, monkeypatch, tolerance):
    value, grads = in_closed_form(*case, keep, engine, monkeypatch)
    expected_value, expected = by_autograd(*case)
    assert float(value) == pytest.approx(float(expected_value), rel=tolerance)
    errors = relative_errors(case[0], grads, expected)
    assert max(errors.values()) < tolerance, errors
    moved = [name for name, g in zip(errors, expected, strict=True) if float(g.norm()) > 0]
    assert len(moved) > 5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize(
    ("rule", "signal", "output", "rectified", "presynaptic", "granularity"),
    [
        *itertools.product(
            ["oja", "hebb"],
            ["error", "target"],
            ["mixed", "clamped"],
            [True],
            ["before", "after"],
            ["synapse"],
        ),
        ("oja", "error", "mixed", False, "before", "synapse"),
        ("oja", "error", "mixed", False, "after", "neuron"),
        ("hebb", "target", "clamped", False, "after", "layer"),
        ("oja", "error", "mixed", True, "before", "neuron"),
        ("oja", "error", "mixed", True, "before", "layer"),
    ],
)
def test_every_variant_agrees_with_autograd(
    rule, signal, output, rectified, presynaptic, granularity, keep, engine, monkeypatch
):
    needs_compiler(engine)
    case = chain_of(
        rule=rule,
        signal=signal,
        output=output,
        rectified=rectified,
        presynaptic=presynaptic,
        granularity=granularity,
    )
    assert_agrees(case, KEEPS[keep], engine, monkeypatch, 1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_size_agrees_with_autograd(engine, data):
    needs_compiler(engine)
    plastic = data.draw(st.integers(1, 3), "plastic")
    widths = tuple(data.draw(st.lists(st.integers(1, 40), min_size=plastic + 1, max_size=plastic + 2), "widths"))
    sizes = {
        name: data.draw(st.integers(1, most), name) for name, most in (("lifetimes", 4), ("steps", 6), ("batch", 20))
    }
    keep = Keep(data.draw(st.integers(1, sizes["steps"]), "every"), activity=data.draw(st.booleans()), weights=False)
    case = chain_of(
        widths=widths,
        plastic=plastic,
        presynaptic=data.draw(st.sampled_from(["before", "after"])),
        coefficient=0.001,
        **sizes,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(data.draw(st.integers(1, 3), "threads"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            value, grads = in_closed_form(*case, keep, engine, patch)
    finally:
        torch.set_num_threads(threads)
    expected_value, expected = by_autograd(*case)
    assert float(value) == pytest.approx(float(expected_value), rel=1e-9, abs=1e-9)
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("keep", KEEPS)
def test_float32_agrees_to_its_precision(engine, keep, monkeypatch):
    needs_compiler(engine, torch.float32)
    case = chain_of(widths=(11, 50, 60, 50, 1), steps=40, batch=32, coefficient=2e-5, dtype=torch.float32)
    assert_agrees(case, KEEPS[keep], engine, monkeypatch, 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("output", ["mixed", "clamped"])
@pytest.mark.parametrize("presynaptic", ["before", "after"])
def test_gradcheck(engine, output, presynaptic, monkeypatch):
    """Against finite differences, in every input at once."""
    needs_compiler(engine)
    monkeypatch.setattr(gradient, "make_engine", ENGINES[engine])
    learner, features, targets = chain_of(
        lifetimes=2, steps=3, batch=3, widths=(3, 4, 3, 2), plastic=2, output=output, presynaptic=presynaptic
    )
    form, tensors = learner.plastic_chain(learner.init(2))
    flat = [t.detach().clone().requires_grad_() for t in tensors.flat()]

    def final(features, *flat):
        return rollout(form, type(tensors).from_flat(flat), features, targets, Keep(2, activity=True, weights=False))

    torch.autograd.gradcheck(final, (features, *flat), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", ENGINES)
def test_lifetimes_do_not_depend_on_how_they_are_grouped(engine, monkeypatch):
    needs_compiler(engine)
    learner, features, targets = chain_of(lifetimes=5)
    _, together = in_closed_form(learner, features, targets, Keep(), engine, monkeypatch)
    form, _ = learner.plastic_chain(learner.init(1))
    final = []
    for group in ([0], [1, 2], [3, 4]):
        _, tensors = learner.plastic_chain(learner.init(len(group)))
        final.append(rollout(form, tensors, features[group], targets[group], Keep()))
    weights = [torch.cat(layer) for layer in zip(*final, strict=True)]
    _, apart = value_and_gradients(learner, features, weights)
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("decay", [0.999999999999, 1.0, 1.5, 60.0])
def test_a_step_that_cannot_be_undone_is_replayed(engine, decay, monkeypatch):
    """alpha times the summed squared activity at 1 erases a synapse; beyond 1 it changes its sign."""
    needs_compiler(engine)
    learner, features, targets = chain_of(lifetimes=1, steps=6, widths=(4, 3, 1), plastic=1, output="clamped")
    with torch.no_grad():
        learner.coefficients[0].copy_(torch.full((1, 3), decay / 0.7))
        targets.mul_(0.01)
        targets[:, 2] = 0.0
        targets[:, 2, 0] = 1.0
    expected = by_autograd(learner, features, targets)[1]
    made = []

    class Watched(ENGINES[engine]):
        def replay(self, *arguments):
            made.append("replay")
            super().replay(*arguments)

    monkeypatch.setattr(gradient, "make_engine", Watched)
    form, tensors = learner.plastic_chain(learner.init(1))
    weights = rollout(form, tensors, features, targets, Keep(3, activity=True, weights=False))
    _, grads = value_and_gradients(learner, features, weights)
    assert max(relative_errors(learner, grads, expected).values()) < 1e-9
    assert made == (["replay"] if decay <= 1.0 else [])


def test_walking_back_far_stays_close_to_what_was(monkeypatch):
    needs_compiler("native", torch.float32)
    case = chain_of(widths=(11, 50, 60, 1), plastic=2, steps=400, batch=32, coefficient=2e-6, dtype=torch.float32)
    _, exact = in_closed_form(*case, Keep(), "native", monkeypatch)
    _, back = in_closed_form(*case, Keep(50, activity=True, weights=False), "native", monkeypatch)
    assert max(relative_errors(case[0], back, exact).values()) < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_the_graph_can_be_walked_twice_but_not_differentiated_twice(engine, monkeypatch):
    needs_compiler(engine)
    monkeypatch.setattr(gradient, "make_engine", ENGINES[engine])
    learner, features, targets = chain_of()
    form, tensors = learner.plastic_chain(learner.init(2))
    value = sum(w.square().sum() for w in rollout(form, tensors, features, targets, Keep()))
    wanted = [features, *learner.coefficients, *learner.strengths]
    first = torch.autograd.grad(value, wanted, retain_graph=True)
    second = torch.autograd.grad(value, wanted, create_graph=True)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        second[0].sum().backward()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_a_number_stays_that(engine, monkeypatch):
    needs_compiler(engine)
    learner, features, targets = chain_of()
    with torch.no_grad():
        features[0, 0, 0, 0] = float("nan")
    _, grads = in_closed_form(learner, features, targets, Keep(), engine, monkeypatch)
    assert all(grads[1 + i].isnan().any() for i, (n, _) in enumerate(learner.named_parameters()) if "strengths" in n)
