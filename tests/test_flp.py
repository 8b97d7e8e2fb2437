"""FLP against an independent NumPy version, and its meta-gradient against complex-step and finite differences."""

import numpy as np
import pytest
import torch
from conftest import small_episode
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import query_loss

from flp_agents import FLP, Feedback, Hebb, Network, NormalisedOja, Oja, run_lifetime
from flp_envs import InvalidChoice, InvalidSize

WIDTHS = (3, 5, 4, 6, 1)
RULES = {"oja": Oja(), "hebb": Hebb(), "normalised-oja": NormalisedOja()}
VARIANTS = [
    {},
    {"rule": "hebb"},
    {"rule": "normalised-oja", "unit": 50.0},
    {"rule": "normalised-oja", "unit": 50.0, "granularity": "neuron", "plastic": 4},
    {"granularity": "neuron"},
    {"granularity": "layer", "rectified": False},
    {"hidden_layers": 2},
    {"hidden_layers": 1, "rectified": False, "presynaptic": "after"},
    {"signal": "target"},
    {"signal": "target", "output": "clamped", "hidden_multiplier": 3.0},
    {"presynaptic": "after"},
    {"presynaptic": "after", "rule": "hebb", "plastic": 4},
    {"plastic": 1},
    {"plastic": 4},
    {"unit": 0.5},
    {"scale": "log", "unit": 0.5},
    {"scale": "log", "plastic": 4, "rule": "hebb", "granularity": "neuron"},
]


def build(seed=0, plastic=2, rule="oja", granularity="synapse", presynaptic="before", unit=1.0, scale="linear", **rest):
    multiplier = rest.pop("hidden_multiplier", 1.0)
    feedback = Feedback(hidden_width=3, **rest)
    learner = FLP(
        Network(WIDTHS),
        plastic,
        rule=RULES[rule],
        feedback=feedback,
        granularity=granularity,
        presynaptic=presynaptic,
        initial_coefficient=0.004,
        coefficient_unit=unit,
        coefficient_scale=scale,
        hidden_multiplier=multiplier,
        seed=seed,
    ).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():  # biases and coefficients that differ from each other, so that mistakes show
        for name, parameter in learner.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += noise * (0.002 if "coefficients" in name and scale == "linear" else 0.2)
    options = {
        "rule": rule,
        "signal": feedback.signal,
        "rectified": feedback.rectified,
        "presynaptic": presynaptic,
        "output": feedback.output,
        "hidden_multiplier": multiplier,
        "coefficient_unit": unit,
        "coefficient_scale": scale,
    }
    return learner, options


def as_numpy(learner):
    return {name: p.detach().numpy().copy() for name, p in learner.named_parameters()}


@pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_query_loss_and_meta_gradient_agree_with_numpy(variant, episode):
    learner, options = build(**variant)
    loss = run_lifetime(learner, episode).query_loss
    loss.sum().backward()
    plastic = variant.get("plastic", 2)
    values = as_numpy(learner)
    assert loss.item() == pytest.approx(query_loss(values, 4, plastic, episode, **options), rel=1e-10)
    assert any(p.grad is not None and p.grad.abs().max() > 1e-7 for p in learner.coefficients)
    for name, parameter in learner.named_parameters():
        expected = np.zeros(parameter.shape)
        for index in np.ndindex(*parameter.shape):
            stepped = {**values, name: values[name].astype(complex)}
            stepped[name][index] += 1e-30j
            expected[index] = np.imag(query_loss(stepped, 4, plastic, episode, **options)) / 1e-30
        got = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10, err_msg=name)


def test_meta_gradient_agrees_with_finite_differences(episode):
    learner, _ = build()
    run_lifetime(learner, episode).query_loss.sum().backward()
    generator = torch.Generator().manual_seed(5)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in learner.parameters()]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(learner.parameters(), direction, strict=True))
    losses = []
    step = 1e-8
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(learner.parameters(), direction, strict=True):
                p += sign * step * d
            losses.append(float(run_lifetime(learner, episode).query_loss.sum()))
            for p, d in zip(learner.parameters(), direction, strict=True):
                p -= sign * step * d
    assert slope == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5)


@pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    plastic=st.integers(1, 4),
    rule=st.sampled_from(list(RULES)),
    signal=st.sampled_from(["error", "target"]),
    presynaptic=st.sampled_from(["before", "after"]),
    granularity=st.sampled_from(["synapse", "neuron", "layer"]),
)
def test_any_combination_agrees_with_numpy(seed, plastic, rule, signal, presynaptic, granularity):
    learner, options = build(seed, plastic, rule, granularity, presynaptic, signal=signal, unit=0.1)
    short = small_episode(seed, steps_per_function=2)
    got = run_lifetime(learner, short).query_loss.item()
    assert got == pytest.approx(query_loss(as_numpy(learner), 4, plastic, short, **options), rel=1e-9)


def rule_arguments(seed, coefficient):
    generator = torch.Generator().manual_seed(seed)
    weight, pre, post = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 3, 4), (2, 5, 4), (2, 5, 3))
    )
    return weight, pre, post, torch.full((3, 4), coefficient, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), exponent=st.floats(-6, 12))
def test_a_normalised_step_goes_part_of_the_way_and_never_beyond(seed, exponent):
    weight, pre, post, coefficient = rule_arguments(seed, 10.0**exponent)
    settled = post.transpose(1, 2) @ pre / post.square().sum(1).unsqueeze(-1)
    part = (NormalisedOja()(weight, pre, post, coefficient) - weight) / (settled - weight)
    assert torch.all(part > 0)
    assert torch.all(part < 1 + 1e-6)


def test_a_normalised_step_is_ojas_where_that_is_small_and_stays_finite_where_that_is_large():
    small, large = rule_arguments(0, 1e-9), rule_arguments(0, -1e12)
    change = NormalisedOja()(*small) - small[0]
    torch.testing.assert_close(change, Oja()(*small) - small[0], rtol=1e-6, atol=0)
    weight = large[0]
    for _ in range(10):
        weight = NormalisedOja()(weight, *large[1:])
    # Each step is away from where it would settle, by no more than the distance; Oja's would be beyond 1e100.
    assert weight.abs().max() < 2**10 * 100


def test_lifetimes_do_not_depend_on_their_neighbours():
    learner, _ = build()
    together = small_episode(n=5)
    losses = run_lifetime(learner, together).query_loss
    for i in range(5):
        alone = run_lifetime(learner, together[i : i + 1]).query_loss
        assert losses[i].item() == pytest.approx(alone.item(), rel=1e-12)


def test_a_learner_without_plasticity_keeps_its_weights(episode):
    learner = FLP(Network(WIDTHS), 2, initial_coefficient=0.0).double()
    state = run_lifetime(learner, episode).state
    for fast, initial in zip(state.weights, list(learner.layers.weights)[2:], strict=True):
        assert torch.equal(fast[0], initial)


def test_a_coefficient_without_a_logarithm_is_refused():
    with pytest.raises(InvalidSize, match="initial_coefficient must be above 0 on a log scale, got 0"):
        FLP(Network(WIDTHS), 2, initial_coefficient=0.0, coefficient_scale="log")
    with pytest.raises(InvalidChoice, match="coefficient scale"):
        FLP(Network(WIDTHS), 2, coefficient_scale="logarithmic")


@pytest.mark.parametrize("plastic", [0, 5, -1])
def test_a_plastic_layer_count_out_of_range_is_refused(plastic):
    with pytest.raises(InvalidSize, match=r"between 1 and .* 4, got"):
        FLP(Network(WIDTHS), plastic)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(InvalidChoice, match="did you mean 'synapse'"):
        FLP(Network(WIDTHS), 2, granularity="synapses")
    with pytest.raises(InvalidChoice, match="did you mean 'target'"):
        Feedback(signal="targets")
