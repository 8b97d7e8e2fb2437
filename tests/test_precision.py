"""Products in bfloat16, where the processor has instructions for them and where it has not."""

import pytest
import torch

from flp_agents.learners.convolutions import Convolutions, convolve
from flp_agents.learners.trunk import features_of
from flp_agents.support import precision
from flp_agents.support.precision import usable_precision
from flp_agents.training.plan import make_plan
from flp_agents.training.presets import get_preset
from flp_agents.training.run import TrainingRun
from flp_base.errors import InvalidChoice

CPU = torch.device("cpu")


@pytest.fixture
def old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)


@pytest.mark.parametrize("instructions", [True, False])
def test_bfloat16_is_used_where_it_can_be(instructions, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: instructions)
    assert usable_precision("bfloat16", CPU) == ("bfloat16" if instructions else "float32")
    assert usable_precision("bfloat16", torch.device("cuda")) == "bfloat16"
    assert usable_precision("float32", CPU) == "float32"
    with pytest.raises(InvalidChoice, match="did you mean 'bfloat16'"):
        usable_precision("bfloat", CPU)


def test_without_instructions_linear_layers_and_convolutions_are_those_of_float32(old_processor):
    """oneDNN has no such product there, and torch fails."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, generator=generator)
    layers = (
        [torch.randn(7, 5, generator=generator), torch.randn(3, 7, generator=generator)],
        [torch.ones(7), torch.ones(3)],
    )
    assert torch.equal(features_of(x, *layers, "bfloat16"), features_of(x, *layers, "float32"))
    shape = Convolutions((1, 12, 12), 4, strides=(2, 1), padding=1)
    kernels = [torch.randn(size, generator=generator) for size in shape.kernel_shapes]
    biases = [torch.zeros(4) for _ in kernels]
    images = torch.randint(0, 256, (5, 1, 12, 12), dtype=torch.uint8, generator=generator)
    got = convolve(shape, images, kernels, biases, "bfloat16")
    assert torch.equal(got, convolve(shape, images, kernels, biases, "float32"))


def test_a_run_says_that_its_products_are_in_float32(old_processor, tmp_path):
    assert get_preset("cpu", "flp", kind="images").outer_loop.precision == "bfloat16"
    run = TrainingRun(make_plan("FLPGlyph-IID-v0", "flp", overrides={"channels": 2, "outer_steps": 1}), tmp_path)
    assert "this processor has no instructions for bfloat16: all products are in float32" in run.notes
