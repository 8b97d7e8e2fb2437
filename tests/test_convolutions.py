"""The convolutions below the plastic layers, against the same stack written plainly."""

import numpy as np
import pytest
import torch
from conftest import needs_bfloat16
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flp_agents.learners import convolutions
from flp_agents.learners.convolutions import Convolutions, convolve
from flp_envs import InvalidChoice, InvalidSize

SMALL = Convolutions((3, 13, 11), 5, (2, 1), 1, mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.3, -0.4))


def parameters_of(shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    kernels = [torch.randn(s, generator=generator, dtype=torch.float64) * 0.3 for s in shape.kernel_shapes]
    biases = [torch.randn(s[0], generator=generator, dtype=torch.float64) * 0.1 for s in shape.kernel_shapes]
    return [k.to(dtype) for k in kernels], [b.to(dtype) for b in biases]


def images_of(shape, *leading, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (*leading, *shape.image_shape), generator=generator, dtype=torch.uint8)


def plainly(shape, images, kernels, biases):
    """Image by image, in the order of channels and pixels that tensors have by default."""
    mean = torch.tensor(shape.mean, dtype=torch.float64).reshape(-1, 1, 1)
    deviation = torch.tensor(shape.deviation, dtype=torch.float64).reshape(-1, 1, 1)
    rows = []
    for image in images.reshape(-1, *shape.image_shape):
        activity = ((image.double() / 255 - mean) / deviation).to(kernels[0].dtype).unsqueeze(0)
        for kernel, bias, stride in zip(kernels, biases, shape.strides, strict=True):
            activity = torch.nn.functional.conv2d(activity, kernel, bias, stride=stride, padding=shape.padding).relu()
        rows.append(activity.flatten())
    return torch.stack(rows)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("leading", [(1,), (4,), (2, 3), (2, 3, 1), ()])
def test_features_are_those_of_the_stack_written_plainly(leading, dtype, tolerance):
    kernels, biases = parameters_of(SMALL, dtype)
    images = images_of(SMALL, *leading)
    got = convolve(SMALL, images, kernels, biases)
    assert got.shape == (*leading, SMALL.features)
    assert got.dtype == dtype
    expected = plainly(SMALL, images, kernels, biases).reshape(got.shape)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def test_one_value_by_hand():
    """One kernel of ones over one image of 3 x 3 pixels: their sum, in units of 255, plus the bias."""
    shape = Convolutions((1, 3, 3), 1, (1,))
    images = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3)
    value = convolve(shape, images, [torch.ones(1, 1, 3, 3).double()], [torch.full((1,), 0.25).double()])
    assert value.tolist() == pytest.approx([36 / 255 + 0.25])
    ink = Convolutions((1, 3, 3), 1, (1,), mean=(1.0,), deviation=(-1.0,))
    value = convolve(ink, images, [torch.ones(1, 1, 3, 3).double()], [torch.zeros(1).double()])
    assert value.tolist() == pytest.approx([9 - 36 / 255])


def test_one_mean_serves_all_channels():
    one = Convolutions((3, 8, 8), 2, (2,), mean=(0.3,), deviation=(0.7,))
    three = Convolutions((3, 8, 8), 2, (2,), mean=(0.3,) * 3, deviation=(0.7,) * 3)
    images, parameters = images_of(one, 2), parameters_of(one)
    assert torch.equal(convolve(one, images, *parameters), convolve(three, images, *parameters))


def test_bytes_and_numbers_from_0_to_255_are_the_same_images():
    images, parameters = images_of(SMALL, 3), parameters_of(SMALL)
    assert torch.equal(convolve(SMALL, images, *parameters), convolve(SMALL, images.double(), *parameters))


def test_channels_last_in_memory_changes_nothing():
    kernels, biases = parameters_of(SMALL)
    images = images_of(SMALL, 4)
    laid_out = images.contiguous(memory_format=torch.channels_last)
    kernels_laid_out = [k.contiguous(memory_format=torch.channels_last) for k in kernels]
    expected = convolve(SMALL, images, kernels, biases)
    torch.testing.assert_close(convolve(SMALL, laid_out, kernels_laid_out, biases), expected, rtol=1e-12, atol=1e-12)


def test_without_a_gradient_blocks_of_images_are_as_good_as_all_at_once(monkeypatch):
    images, parameters = images_of(SMALL, 2, 5), parameters_of(SMALL)
    whole = convolve(SMALL, images, *parameters)
    monkeypatch.setattr(convolutions, "_BLOCK", 3)
    sizes = []
    inner = convolutions._convolve
    monkeypatch.setattr(
        convolutions, "_convolve", lambda s, block, *rest: sizes.append(len(block)) or inner(s, block, *rest)
    )
    with torch.no_grad():
        torch.testing.assert_close(convolve(SMALL, images, *parameters), whole, rtol=1e-12, atol=1e-12)
    assert sizes == [3, 3, 3, 1]
    convolve(SMALL, images, *parameters)
    assert sizes[4:] == [10]


@settings(max_examples=60, deadline=None)
@given(
    image=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    channels=st.integers(1, 3),
    strides=st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple),
    padding=st.integers(0, 2),
)
def test_the_number_of_features_is_the_real_one(image, channels, strides, padding):
    try:
        shape = Convolutions(image, channels, strides, padding)
    except InvalidSize:
        assume(False)
    kernels, biases = parameters_of(shape)
    assert convolve(shape, images_of(shape, 2), kernels, biases).shape == (2, shape.features)
    assert shape.features > 0


@settings(max_examples=60, deadline=None)
@given(
    image=st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9)),
    strides=st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple),
    padding=st.integers(0, 1),
)
def test_images_are_refused_exactly_where_torch_cannot_convolve_them(image, strides, padding):
    activity, fits = torch.zeros(1, *image), True
    try:
        for stride in strides:
            activity = torch.nn.functional.conv2d(activity, torch.zeros(1, 1, 3, 3), stride=stride, padding=padding)
    except RuntimeError:
        fits = False
    if fits:
        Convolutions(image, 1, strides, padding)
    else:
        with pytest.raises(InvalidSize, match="too small"):
            Convolutions(image, 1, strides, padding)


@pytest.mark.parametrize("channels", [256, 128])
def test_the_papers_network_leaves_9_numbers_of_each_channel(channels):
    """Section 6 of the paper: six convolutions, of images of 84 x 84 pixels."""
    shape = Convolutions((3, 84, 84), channels)
    assert shape.features == 9 * channels
    assert shape.strides == (2, 1, 2, 1, 2, 2)
    assert shape.kernel_shapes == [(channels, 3, 3, 3), *[(channels, channels, 3, 3)] * 5]
    tiny = Convolutions((3, 84, 84), 2)
    assert convolve(tiny, images_of(tiny, 1), *parameters_of(tiny)).shape == (1, 18)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_shape": (1, 28, 28)},
            r"images of 28 x 28 pixels are too small for 6 convolutions .* use larger images",
        ),
        ({"image_shape": (1, 84, 20)}, "images of 84 x 20 pixels are too small"),
        ({"image_shape": (1, 0, 0), "padding": 2}, "images of 0 x 0 pixels are too small"),
        ({"deviation": (0.0,)}, r"deviation must not hold 0, got \(0.0,\)"),
        ({"deviation": (1.0, 0.0, 1.0)}, "deviation must not hold 0"),
        ({"mean": (0.1, 0.2)}, r"mean must hold 1 or 3 numbers, got \(0.1, 0.2\)"),
        ({"deviation": (0.1, 0.2, 0.3, 0.4)}, "deviation must hold 1 or 3 numbers"),
        ({"channels": 0}, "channels must be a whole number of at least 1, got 0"),
        ({"padding": -1}, "padding must be a whole number of at least 0, got -1"),
        ({"strides": (2, 0)}, "a stride must be a whole number of at least 1, got 0"),
        ({"strides": ()}, "the number of strides must be a whole number of at least 1, got 0"),
    ],
)
def test_a_stack_that_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(InvalidSize, match=message) as caught:
        Convolutions(**{"image_shape": (3, 84, 84), **options})
    assert "\n" not in str(caught.value)


@needs_bfloat16
def test_bfloat16_is_close_to_float32():
    shape = Convolutions((1, 28, 28), 8, padding=1)
    kernels, biases = parameters_of(shape, torch.float32)
    images = images_of(shape, 4)
    full = convolve(shape, images, kernels, biases)
    half = convolve(shape, images, kernels, biases, "bfloat16")
    assert half.dtype == torch.float32
    difference = float((half - full).norm() / full.norm())
    assert 1e-5 < difference < 0.02
    with pytest.raises(InvalidChoice, match="did you mean 'bfloat16'"):
        convolve(shape, images, kernels, biases, "bfloat")


def test_gradients_are_those_of_finite_differences():
    shape = Convolutions((2, 6, 5), 2, (2, 1), 1, mean=(0.1, 0.2))
    kernels, biases = parameters_of(shape)
    images = images_of(shape, 2)
    parameters = [p.requires_grad_() for p in (*kernels, *biases)]
    assert torch.autograd.gradcheck(lambda *p: convolve(shape, images, p[:2], p[2:]), parameters)


def test_gradients_are_those_of_the_stack_written_plainly():
    images = images_of(SMALL, 2, 2)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(4, SMALL.features)))
    gradients = []
    for stack in (convolve, plainly):
        kernels, biases = parameters_of(SMALL)
        parameters = [p.requires_grad_() for p in (*kernels, *biases)]
        value = (stack(SMALL, images, kernels, biases).reshape(4, -1) * weights).sum()
        gradients.append(torch.autograd.grad(value, parameters))
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
