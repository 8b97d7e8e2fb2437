"""The trunk's own products against torch's ordinary ones."""

import itertools

import pytest
import torch
from conftest import needs_bfloat16
from torch.nn.functional import linear

from flp_agents.learners import trunk
from flp_agents.learners.trunk import features_of
from flp_envs import InvalidChoice


def layers(widths=(5, 40, 30, 20), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(out, into) for into, out in itertools.pairwise(widths)]
    weights = [torch.randn(s, generator=generator) * (2 / s[1]) ** 0.5 for s in shapes]
    biases = [torch.randn(s[0], generator=generator) * 0.1 for s in shapes]
    return [w.requires_grad_() for w in weights], [b.requires_grad_() for b in biases]


def reference(x, weights, biases):
    x = x.double()
    for w, b in zip(weights, biases, strict=True):
        x = torch.relu(linear(x, w.double(), b.double()))
    return x


def relative_error(got, expected):
    return float(((got.double() - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-6), pytest.param("bfloat16", 1e-2, marks=needs_bfloat16)]
)
def test_features_and_gradients_are_those_of_ordinary_layers(precision, tolerance, fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(trunk, "_has_fused_linear", lambda: False)
    weights, biases = layers()
    x = torch.randn(3, 900, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()  # more than one block
    got = features_of(x, weights, biases, precision)
    expected = reference(x, weights, biases)
    assert got.dtype == torch.float32
    assert relative_error(got, expected) < tolerance
    wanted = [x, *weights, *biases]
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    got_grads = torch.autograd.grad((got * direction).sum(), wanted)
    expected_grads = torch.autograd.grad((expected * direction).sum(), wanted)
    for a, b in zip(got_grads, expected_grads, strict=True):
        assert a.shape == b.shape
        assert relative_error(a, b.double()) < 10 * tolerance
    if precision == "bfloat16":
        assert relative_error(got, expected) > 1e-5  # else it would not be what it says


def test_without_layers_features_are_the_inputs():
    x = torch.randn(2, 3)
    assert features_of(x, [], []) is x


def test_what_is_not_a_number_stays_that():
    weights, biases = layers()
    with torch.no_grad():
        weights[1][0, 0] = float("nan")
        assert features_of(torch.ones(4, 5), weights, biases).isnan().any()


def test_float64_and_no_gradient_work_as_well():
    weights, biases = layers()
    x = torch.randn(7, 5)
    with torch.no_grad():
        double = features_of(x.double(), [w.double() for w in weights], [b.double() for b in biases])
        torch.testing.assert_close(double, reference(x, weights, biases), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(features_of(x, weights, biases).double(), double, rtol=1e-5, atol=1e-5)


def test_unknown_precision_suggests_the_nearest():
    with pytest.raises(InvalidChoice, match="did you mean 'bfloat16'"):
        features_of(torch.ones(1, 5), *layers(), "bfloat")
