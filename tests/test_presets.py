"""Presets: the experiments as they are published."""

import pytest

from flp_agents import PRESETS, get_preset
from flp_agents.presets import preset_env_options
from flp_envs import InvalidChoice

# Protocol of the paper's appendix and released code: nine layers, 20,000 outer steps, a rate for each kind.
PAPER = {
    "hidden_widths": (300, 300, 300, 300, 300, 900, 300, 300),
    "outer_steps": 20_000,
    "meta_batch": 1,
    "rate_weights": 1e-4,
    "rate_feedback": 1e-4,
    "rate_coefficients": 1e-8,
    "rate_strengths": 1e-4,
    "initial_coefficient": 0.0,
    "coefficient_unit": 1.0,
    "initial_strength": 0.5,
    "rectified": True,
    "inner_rate": 0.003,
    "schedule": "constant",
}


@pytest.mark.parametrize("name", ["paper", "paper-code"])
def test_the_papers_numbers(name):
    preset = get_preset(name, "flp")
    for key, value in PAPER.items():
        assert getattr(preset, key) == value, key


def test_the_released_codes_defects_are_switches():
    paper, code = get_preset("paper", "gradient-based"), get_preset("paper-code", "gradient-based")
    assert (paper.order, paper.redraw_output, paper.restart_adam_every) == ("second", False, 0)
    assert (code.order, code.redraw_output, code.restart_adam_every) == ("first", True, 1000)
    assert preset_env_options("paper-code", "FLPSine-IID-v0") == {"max_amplitude": 5.1}
    assert preset_env_options("paper-code", "Other-v0") == preset_env_options("paper", "FLPSine-IID-v0") == {}


@pytest.mark.parametrize("name", PRESETS)
def test_plastic_layers_are_those_of_table_1(name):
    layers = [get_preset(name, learner).plastic_layers for learner in ("feature-reuse", "flp", "gradient-based", "oml")]
    assert layers == [1, 2, 3, 3]


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(InvalidChoice, match="did you mean 'paper'"):
        get_preset("papr", "flp")
    with pytest.raises(InvalidChoice, match="did you mean 'outer_steps'"):
        get_preset("cpu", "flp", {"outer_step": 3})
    with pytest.raises(InvalidChoice, match="unknown rule 'oya'"):
        get_preset("cpu", "flp", {"rule": "oya"})
