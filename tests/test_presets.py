"""Presets: the experiments as they are published, and the learners that they build."""

import gymnasium as gym
import numpy as np
import pytest
from conftest import SMALL_IMAGES, make_pack, shows_images

import flp_envs
from flp_agents import FLP, LEARNERS, OML, PRESETS, GradientBased, build_learner, evaluate, get_preset, run_lifetime
from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.feedback import Feedback
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces, SquaredError
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.training.factory import IMAGENET_DEVIATION, IMAGENET_MEAN, kind_of
from flp_agents.training.plan import Plan
from flp_agents.training.presets import preset_env_options, preset_split_options
from flp_agents.training.settings import Settings
from flp_envs import InvalidChoice, InvalidSize, draw_episodes

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


# The same for images: six convolutions and two fully connected layers, 40,000 outer steps, feedback alone (beta = 1).
PAPER_IMAGES = {
    "hidden_widths": (1024,),
    "channels": 256,
    "padding": 0,
    "ink": False,
    "output_units": 0,
    "signal": "target",
    "output_feedback": "clamped",
    "rectified": True,
    "rule": "oja",
    "granularity": "synapse",
    "presynaptic": "before",
    "initial_strength": 1.0,
    "initial_coefficient": 0.0,
    "coefficient_unit": 1.0,
    "hidden_multiplier": 100.0,
    "order": "second",
    "redraw_output": False,
    "outer_steps": 40_000,
    "meta_batch": 1,
    "gradient_clip": 0.0,
    "schedule": "constant",
    "restart_adam_every": 0,
    "rate_weights": 1e-4,
    "rate_feedback": 1e-4,
    "rate_coefficients": 1e-5,
    "rate_strengths": 0.0,
}
HALF_IMAGES = {**PAPER_IMAGES, "channels": 128, "hidden_widths": (128,)}
CODE_IMAGES = {**HALF_IMAGES, "output_units": 1000, "order": "first", "redraw_output": True}


@pytest.mark.parametrize(
    ("name", "numbers"), [("paper", PAPER_IMAGES), ("half", HALF_IMAGES), ("paper-code", CODE_IMAGES)]
)
def test_the_papers_numbers_for_images(name, numbers):
    preset = get_preset(name, "flp", kind="images")
    for key, value in numbers.items():
        assert preset.get(key) == value, key


@pytest.mark.parametrize("name", ["paper", "paper-code"])
def test_the_papers_numbers(name):
    preset = get_preset(name, "flp")
    for key, value in PAPER.items():
        assert preset.get(key) == value, key


RELEASED = ("order", "redraw_output", "restart_adam_every")


def test_the_released_codes_defects_are_switches():
    paper, code = get_preset("paper", "gradient-based"), get_preset("paper-code", "gradient-based")
    assert tuple(map(paper.get, RELEASED)) == ("second", False, 0)
    assert tuple(map(code.get, RELEASED)) == ("first", True, 1000)
    assert preset_env_options("paper-code", "FLPSine-IID-v0") == {"max_amplitude": 5.1}
    assert preset_env_options("paper-code", "Other-v0") == preset_env_options("paper", "FLPSine-IID-v0") == {}


def test_presets_bring_the_image_size_of_the_paper():
    for name in ("paper", "half", "paper-code"):
        for family in ("FLPOmniglot", "FLPGlyph"):
            assert preset_env_options(name, f"{family}-IID-v0") == {"image_size": 84}
        assert preset_env_options(name, "FLPMiniImageNet-IID-v0") == {}
    for env_id in flp_envs.ENV_IDS:
        assert preset_env_options("cpu", env_id) == {}
    preset_env_options("paper", "FLPOmniglot-IID-v0").clear()
    assert preset_env_options("paper", "FLPOmniglot-IID-v0") == {"image_size": 84}


def test_the_released_codes_overlap_is_in_meta_training_only():
    for env_id in ("FLPOmniglot-Continual-v0", "FLPGlyph-IID-v0"):
        assert preset_split_options("paper-code", env_id, "meta-train") == {"query_from": "all"}
        assert preset_split_options("paper-code", env_id, "meta-test") == {}
    assert preset_split_options("paper-code", "FLPMiniImageNet-IID-v0", "meta-train") == {}
    assert preset_split_options("paper-code", "FLPMiniImageNet-IID-v0", "meta-test") == {"shots": 10}
    preset = get_preset("paper-code", "flp", {"channels": 4, "hidden_widths": (8,)}, kind="images")
    plan = Plan("FLPGlyph-IID-v0", {"image_size": 84}, "flp", "paper-code", preset, 0, "flp train")
    asked = {split: plan.make_env(split).unwrapped.task.query_from for split in ("meta-train", "meta-test")}
    assert asked == {"meta-train": "all", "meta-test": "unseen"}


def test_only_meta_training_on_two_cores_turns_characters():
    assert preset_split_options("cpu", "FLPOmniglot-IID-v0", "meta-train") == {"rotations": True}
    assert preset_split_options("cpu", "FLPOmniglot-IID-v0", "meta-test") == {}
    assert preset_split_options("paper", "FLPOmniglot-IID-v0", "meta-train") == {}


def test_the_cpu_preset_knows_schedules_and_forms_of_the_baseline_apart():
    """To first order meta-training diverges at the rates that suit second order; docs/meta-training.md."""

    def rate(schedule, learner="gradient-based", preset="cpu", **overrides):
        return get_preset(preset, learner, overrides, env_id=f"FLPSine-{schedule}-v0").outer_loop.rate_weights

    first, released = {"order": "first"}, {"order": "first", "redraw_output": True}
    assert rate("IID") == rate("Continual") == 4e-3
    assert rate("IID", **first) < rate("Continual", **first) < rate("Continual", **released) < rate("Continual")
    assert rate("IID", "oml") < rate("Continual", "oml")
    assert rate("IID", "feature-reuse") < rate("Continual", "feature-reuse")
    # What is asked for stays, and other presets are the paper's.
    assert rate("IID", rate_weights=0.5, **first) == 0.5
    assert rate("IID", preset="paper", **first) == rate("IID", preset="paper") == 1e-4
    assert get_preset("cpu", "gradient-based", first, env_id="FLPSine-IID-v0").get("order") == "first"


@pytest.mark.parametrize("name", PRESETS)
def test_plastic_layers_are_those_of_table_1(name):
    layers = [
        get_preset(name, learner).network.plastic_layers
        for learner in ("feature-reuse", "flp", "gradient-based", "oml")
    ]
    assert layers == [1, 2, 3, 3]


@pytest.mark.parametrize("name", PRESETS)
def test_plastic_layers_for_images_are_those_of_table_2(name):
    learners = ("feature-reuse", "flp", "gradient-based", "oml")
    layers = [get_preset(name, learner, kind="images").network.plastic_layers for learner in learners]
    assert layers == [1, 2, 2, 2]


@pytest.fixture(scope="module")
def omniglot_of_paper_size(tmp_path_factory):
    root = tmp_path_factory.mktemp("paper-size")
    make_pack(root, "omniglot", 84, 1, ("meta-train",), 10)
    return root


WIDTHS = {"paper": (2304, 1024, 5), "half": (1152, 128, 5), "paper-code": (1152, 128, 1000), "cpu": (256, 128, 5)}


@pytest.mark.parametrize("name", LEARNERS.built_in())
@pytest.mark.parametrize("preset_name", PRESETS)
def test_every_preset_builds_every_learner_for_images_in_its_own_size(preset_name, name, omniglot_of_paper_size):
    """A lifetime of the paper's network takes a core seconds: it is lived on torch's meta device, shapes alone."""
    env_id = "FLPOmniglot-IID-v0"
    options = preset_env_options(preset_name, env_id)
    if "image_size" in options:
        options["data_root"] = omniglot_of_paper_size
    env = flp_envs.make(env_id, **options)
    assert kind_of(env) == "images"
    preset = get_preset(preset_name, name, kind=kind_of(env))
    learner = build_learner(name, env, preset)
    network = learner.layers.network
    # A run that begins with episodes of more classes needs output units for them.
    outputs = preset.outer_loop.first_classes if preset.outer_loop.short_outer_steps else WIDTHS[preset_name][-1]
    assert network.widths == (*WIDTHS[preset_name][:-1], outputs)
    assert network.convolutions == Convolutions(
        env.observation_space["x"].shape,
        preset.network.channels,
        padding=preset.network.padding,
        mean=(1.0,) if preset.network.ink else (0.0,),
        deviation=(-1.0,) if preset.network.ink else (1.0,),
    )
    assert len(learner.layers.plastic_shapes) == preset.network.plastic_layers == (1 if name == "feature-reuse" else 2)
    assert learner.objective == CrossEntropy(5, network.outputs)
    tensors = EpisodeTensors.of(learner, draw_episodes(env, 1))
    tensors = EpisodeTensors(*(t.to("meta") for t in tensors))
    lifetime = run_lifetime(learner.to("meta"), tensors)
    assert lifetime.query_predictions.shape == (1, 25, 1, network.outputs)
    lifetime.query_loss.mean().backward()
    assert learner.layers.kernels[0].grad.shape == (preset.network.channels, 1, 3, 3)


@pytest.mark.parametrize("name", LEARNERS.built_in())
@pytest.mark.parametrize("preset_name", PRESETS)
@pytest.mark.parametrize("env_id", ["FLPOmniglot-Continual-v0", "FLPMiniImageNet-IID-v0"])
def test_every_preset_lives_with_few_channels(env_id, preset_name, name):
    env = gym.make(env_id, **SMALL_IMAGES)
    preset = get_preset(preset_name, name, {"channels": 2, "padding": 1, "hidden_widths": (8,)}, kind="images")
    learner = build_learner(name, env, preset, seed=1)
    result = evaluate(learner, env, episodes=2)
    assert result.metric == "error_percent"
    assert ((result.scores >= 0) & (result.scores <= 100)).all()


def test_the_learners_are_what_the_preset_says():
    env = gym.make("FLPMiniImageNet-IID-v0", **SMALL_IMAGES)
    few = {"channels": 2, "hidden_widths": (8,)}

    def built(name, preset="paper", **more):
        return build_learner(name, env, get_preset(preset, name, {**few, **more}, kind="images"), seed=7)

    flp = built("flp")
    assert type(flp) is FLP
    assert flp.feedback == Feedback("target", rectified=True, output="clamped")
    assert flp.settings["hidden_multiplier"] == 100.0
    assert flp.settings["seed"] == 7
    assert [s.item() for s in flp.strengths] == [1.0, 1.0]
    assert not any(c.any() for c in flp.coefficients)
    assert flp.layers.network.convolutions.mean == IMAGENET_MEAN
    assert flp.layers.network.convolutions.deviation == IMAGENET_DEVIATION
    gradient_based = built("gradient-based")
    assert type(gradient_based) is GradientBased
    assert (gradient_based.order, gradient_based.redraw_output) == ("second", False)
    code = built("gradient-based", "paper-code")
    assert (code.order, code.redraw_output) == ("first", True)
    assert code.layers.network.outputs == 1000
    oml = built("oml")
    assert type(oml) is OML
    assert float(oml.inner_rate) == pytest.approx(0.01)
    with pytest.raises(InvalidSize, match="feature-reuse has 1 plastic layer, got 2: use the learner flp"):
        built("feature-reuse", plastic_layers=2)


def test_ink_is_white_paper_as_0_and_black_ink_as_1():
    env = gym.make("FLPOmniglot-IID-v0", **SMALL_IMAGES)
    values = {}
    for ink in (True, False):
        settings = {"channels": 1, "padding": 1, "ink": ink}
        shape = build_learner(
            "flp", env, get_preset("paper", "flp", settings, kind="images")
        ).layers.network.convolutions
        values[ink] = [(grey / 255 - shape.mean[0]) / shape.deviation[0] for grey in (0, 255)]
    assert values == {True: [1.0, 0.0], False: [0.0, 1.0]}


def test_images_too_small_for_a_preset_are_refused():
    env = gym.make("FLPOmniglot-IID-v0", **SMALL_IMAGES)
    with pytest.raises(
        InvalidSize, match=r"images of 28 x 28 pixels are too small .*: use larger images, more padding"
    ):
        build_learner("flp", env, get_preset("paper", "flp", kind="images"))


@pytest.mark.parametrize("env_id", flp_envs.ENV_IDS)
def test_the_kind_of_every_environment_is_known(env_id):
    env = gym.make(env_id)
    assert kind_of(env) == ("images" if shows_images(env_id) else "numbers")
    preset = get_preset("cpu", "flp", {"channels": 1, "hidden_widths": (4, 4)}, kind=kind_of(env))
    learner = build_learner("flp", env, preset)
    assert type(learner.objective) is (SquaredError if kind_of(env) == "numbers" else CrossEntropy)


class OfSpace:
    def __init__(self, **parts):
        self.observation_space = gym.spaces.Dict(parts)


NUMBERS = gym.spaces.Box(-1, 1, (4, 1), np.float32)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (gym.make("CartPole-v1"), r"expected an observation space with x of \(pairs, size\) numbers or .* got Box"),
        (OfSpace(y=NUMBERS), r"with x of \(pairs, size\) numbers .*, got Dict\(y: Box\(\(4, 1\), float32\)\)"),
        (OfSpace(x=gym.spaces.Box(0, 1, (1, 8, 8), np.float32), y=gym.spaces.Discrete(3)), "image of uint8, got"),
        (OfSpace(x=gym.spaces.Discrete(3), y=NUMBERS), r"image of uint8, got Dict\(x: Discrete\(3\)"),
    ],
)
def test_inputs_of_another_kind_are_refused_in_one_line(env, message):
    with pytest.raises(IncompatibleSpaces, match=message) as caught:
        kind_of(env)
    assert "\n" not in str(caught.value)
    with pytest.raises(IncompatibleSpaces, match="expected an observation space with "):
        build_learner("flp", env, Settings())


def test_targets_of_another_shape_are_refused_in_one_line():
    env = OfSpace(x=NUMBERS, y=gym.spaces.Box(-1, 1, (4, 2, 2), np.float32))
    message = r"y of \(pairs, size\) numbers or labels, got Box\(\(4, 2, 2\), float32\)"
    with pytest.raises(IncompatibleSpaces, match=message):
        build_learner("flp", env, Settings())


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(InvalidChoice, match="did you mean 'paper'"):
        get_preset("papr", "flp")
    with pytest.raises(InvalidChoice, match="did you mean 'outer_steps'"):
        get_preset("cpu", "flp", {"outer_step": 3})
    with pytest.raises(InvalidChoice, match="unknown rule 'oya'"):
        get_preset("cpu", "flp", {"rule": "oya"})
