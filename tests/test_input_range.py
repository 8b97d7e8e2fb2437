"""Inputs of the same shape that mean something else are refused, with what to undo; what learners are tried on not."""

import gymnasium as gym
import numpy as np
import pytest
import user_envs  # noqa: F401 (registers ids)
from conftest import SMALL_SINE
from gymnasium import spaces
from plain_learners import Zero

import flp_envs
from flp_agents import GymAgent, MetaTrainer, as_learner, build_learner, evaluate, get_preset, load_bundled
from flp_agents.adapters.policies import PolicyLearner
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.cli.main import main
from flp_agents.learners.input_range import range_of
from flp_agents.learners.network import Network
from flp_agents.learners.objective import IncompatibleSpaces
from flp_agents.training import checkpoint
from flp_agents.training.factory import kind_of
from flp_base.errors import InvalidSize

GLYPHS = {"num_classes": 3, "shots": 1, "query_shots": 1, "image_size": 20}
LEARNERS = ("flp", "feature-reuse", "gradient-based", "oml")
BORN_HERE = [name for name in BASELINES if "meta-trained" not in name]


class Rescaled(gym.ObservationWrapper):
    """Inputs times a number, of another dtype."""

    def __init__(self, env, factor, dtype=np.float32, high=None):
        super().__init__(env)
        self.factor, self.dtype = factor, dtype
        x = env.observation_space["x"]
        low, top = (np.asarray(bound * factor, dtype) for bound in (x.low, x.high))
        space = spaces.Box(low, top if high is None else np.full_like(top, high), dtype=dtype)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "x": space})

    def observation(self, observation):
        return {**observation, "x": (observation["x"] * self.factor).astype(self.dtype)}


def glyphs(**options):
    return flp_envs.make("FLPGlyph-IID-v0", **{**GLYPHS, **options})


def sine(env_id="FLPSine-IID-v0", **options):
    return flp_envs.make(env_id, **{**SMALL_SINE, **options})


IMAGES = {
    "numbers from 0 to 1": (
        lambda: Rescaled(glyphs(), 1 / 255),
        "float32 from 0 to 1: remove the wrapper that rescales",
    ),
    "bytes of 0 and 1": (
        lambda: Rescaled(glyphs(), 1 / 255, np.uint8),
        "uint8 from 0 to 1: remove the wrapper that resc",
    ),
    "numbers to 255": (
        lambda: Rescaled(glyphs(), 1.0),
        "float32 from 0 to 255: remove the wrapper that makes float32 of",
    ),
    "numbers beyond 255": (
        lambda: Rescaled(glyphs(), 2.0),
        "float32 from 0 to 510: remove the wrapper that rescales them",
    ),
}
NUMBERS = {
    "rescaled": (
        lambda: Rescaled(sine(), 0.2),
        "input 0 of the environment lies between 0 and 0.2, .* it lay between 0 and 1",
    ),
    "shifted": (
        lambda: Rescaled(sine(), 1.0, high=9),
        "input 0 of the environment lies between 0 and 9, .* between 0 and 1",
    ),
}


def small(name, env, **more):
    settings = {"channels": 4, "hidden_widths": (8,), "short_outer_steps": 0, **more}
    if name == "feature-reuse":
        settings["plastic_layers"] = 1
    elif name != "feature-reuse":
        settings["plastic_layers"] = 2
    return build_learner(name, env, get_preset("cpu", name, settings, kind=kind_of(env)))


def assert_refused(learner, make, message):
    """Whatever the learner is used by; and one line."""
    uses = (
        lambda env: evaluate(learner, env, episodes=1),
        lambda env: GymAgent(learner, env),
        lambda env: as_learner(learner, env),
        lambda env: learner.adapt_to(gym.vector.SyncVectorEnv([lambda: env])),
    )
    for use in uses:
        with pytest.raises(IncompatibleSpaces, match=message) as refusal:
            use(make())
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("wrong", IMAGES)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_network_of_images_takes_bytes_to_255_alone(name, wrong):
    make, message = IMAGES[wrong]
    learner = small(name, glyphs())
    assert_refused(learner, make, f"expected images of uint8 from 0 to 255, the environment shows {message}")
    with pytest.raises(IncompatibleSpaces, match="remove the wrapper that"):
        MetaTrainer(learner, make(), rates={"weights": 1e-3})
    with pytest.raises(IncompatibleSpaces, match="remove the wrapper that"):
        build_learner(name, make(), get_preset("cpu", name, kind="images"))
    assert evaluate(learner, glyphs(), episodes=1).scores.shape == (1,)


@pytest.mark.parametrize("wrong", NUMBERS)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_network_of_numbers_takes_the_range_that_it_was_made_for(name, wrong, tmp_path):
    make, message = NUMBERS[wrong]
    learner = small(name, sine())
    assert_refused(learner, make, message)
    with pytest.raises(IncompatibleSpaces, match="remove the wrapper that rescales it"):
        MetaTrainer(learner, make(), rates={"weights": 1e-3})
    checkpoint.save(tmp_path, learner, {})
    again = checkpoint.load(tmp_path).learner
    assert again.input_range == learner.input_range == ((0, 1), (0, 1), (0, 1), (-5, 5))
    assert_refused(again, make, message)


@pytest.mark.parametrize("name", BORN_HERE)
def test_a_learner_that_is_not_meta_trained_keeps_its_range_too(name):
    for make, wrongs in ((sine, NUMBERS), (glyphs, IMAGES)):
        learner = build_baseline(name, make())
        for wrong, message in wrongs.values():
            with pytest.raises(IncompatibleSpaces, match=message):
                learner.adapt_to(wrong())
        assert learner.adapt_to(make()) is learner


@pytest.mark.parametrize("name", ["flp-2-sine-continual", "oml-3-sine-iid"])
def test_a_bundled_checkpoint_knows_its_range_by_its_scale(name):
    learner = load_bundled(name)
    make = lambda **options: flp_envs.make("FLPSine-IID-v0", **options)  # noqa: E731
    assert learner.input_range[10] == (None, pytest.approx(5.0))
    assert_refused(learner, lambda: Rescaled(make(), 0.2), "input 0 .* lies between 0 and 0.2, .* lay at or below 1")
    for legitimate in (make(batch_size=4), make(max_amplitude=2.0), make(steps_per_function=3), make(interleaving=0.3)):
        assert learner.adapt_to(legitimate) is learner


def test_a_scale_that_is_no_range_is_taken_for_none(tmp_path):
    by_hand = build_learner("flp", sine(), get_preset("cpu", "flp", {"hidden_widths": (8,), "scale_inputs": False}))
    by_hand = type(by_hand)(Network((4, 8, 1), (0.1, 0.1, 0.1, 0.1)))
    checkpoint.save(tmp_path, by_hand, {"settings": {"scale_inputs": False}})
    assert checkpoint.load(tmp_path).learner.adapt_to(sine()).input_range is None


@pytest.mark.parametrize("name", LEARNERS)
def test_what_learners_are_tried_on_is_taken(name):
    learner = small(name, sine())
    for env in (
        sine(batch_size=2),
        sine(max_amplitude=1.0),
        sine("FLPSine-Continual-v0", split="meta-test"),
        Rescaled(sine(), 1.0, np.float64),
        Rescaled(sine(), 1.0, high=np.inf),
        gym.make_vec("FLPSine-IID-v0", num_envs=2, **SMALL_SINE),
    ):
        assert learner.adapt_to(env) is learner
    of_images = small(name, glyphs())
    assert of_images.adapt_to(glyphs(num_classes=5)).objective.classes == 5
    assert of_images.adapt_to(flp_envs.make("FLPGlyph-Continual-v0", **GLYPHS, split="meta-test")) is of_images


def test_transfer_takes_numbers_as_they_are_but_images_not(tmp_path, capsys, monkeypatch):
    checkpoint.save(tmp_path / "numbers", small("flp", sine()), _about("FLPSine-IID-v0", SMALL_SINE))
    checkpoint.save(tmp_path / "images", small("flp", glyphs()), _about("FLPGlyph-IID-v0", GLYPHS))
    gym.register("RescaledSine-v0", lambda **options: Rescaled(sine(split="meta-test"), 0.2))
    gym.register("RescaledGlyphs-v0", lambda **options: Rescaled(glyphs(split="meta-test"), 1 / 255))
    for kind, env_id in (("numbers", "RescaledSine-v0"), ("images", "RescaledGlyphs-v0")):
        command = [
            "evaluate",
            "--checkpoint",
            str(tmp_path / kind),
            "--env",
            env_id,
            "--episodes",
            "2",
            "--threads",
            "1",
        ]
        assert main([*command, "--transfer"]) == (0 if kind == "numbers" else 1)
        del gym.registry[env_id]
    assert "remove the wrapper that rescales them" in capsys.readouterr().err


def _about(env_id, options):
    return {"env": env_id, "env_options": options, "learner": "flp"}


def test_an_agent_is_told_when_it_is_shown_another_env():
    agent = GymAgent(small("flp", glyphs()), glyphs())
    with pytest.raises(
        IncompatibleSpaces, match=r"expected x of uint8, .*, got float32: remove the wrapper that rescales"
    ):
        agent.predict(IMAGES["numbers from 0 to 1"][0]().reset(seed=0)[0])
    with pytest.raises(
        IncompatibleSpaces, match=r"expected x of shape \(1, 20, 20\), .*, got \(1, 28, 28\): make an agent"
    ):
        agent.predict(glyphs(image_size=28).reset(seed=0)[0])
    numbers = GymAgent(small("flp", sine()), sine())
    assert numbers.predict(sine().reset(seed=0)[0])[0].shape == (4, 1)
    with pytest.raises(IncompatibleSpaces, match=r"expected x of shape \(4, 4\), .*, got \(4, 6\)"):
        numbers.predict(sine(num_functions=5).reset(seed=0)[0])


class Plain(Zero):
    """Says for which spaces it was made, or does not."""

    def __init__(self, env=None):
        if env is not None:
            self.observation_space = env.observation_space


def test_a_plain_learner_is_held_to_the_spaces_that_it_names():
    wrapped = Rescaled(sine(), 0.2)
    assert evaluate(Plain(), wrapped, episodes=1).metric == "mse"
    assert evaluate(Plain(sine()), sine(), episodes=1).metric == "mse"
    with pytest.raises(
        IncompatibleSpaces, match=r"the learner was made for an observation space .*-5 to 5.*, the environ"
    ):
        evaluate(Plain(sine()), wrapped, episodes=1)


def test_a_plain_learner_is_fitted_anew_where_answers_are_of_another_kind():
    learner = as_learner(Plain(), sine())
    assert learner.adapt_to(sine()) is learner
    assert learner.adapt_to(glyphs()).objective.classes == 3


def test_a_policy_is_told_what_differs():
    class Policy:
        observation_space, action_space = sine().observation_space, sine().action_space

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((1, 4, 1), np.float32), state

    with pytest.raises(IncompatibleSpaces, match=r"x: Box\(\(4, 4\), float32, -5 to 5\).*float32, -1 to 1\)"):
        PolicyLearner(Policy(), Rescaled(sine(), 0.2))


def test_a_range_is_a_pair_for_each_input():
    assert range_of(spaces.Box(-np.inf, np.inf, (3, 2))) is None
    assert range_of(spaces.Box(-1, 1, (3, 2))) == ((-1.0, 1.0),)
    assert range_of(spaces.Box(0, np.inf, (3, 2))) == ((0.0, None),)
    assert range_of(spaces.Box(0, 255, (1, 8, 8), np.uint8)) is None
    assert range_of(spaces.Discrete(3)) is None
    for wrong in (((0, 1), (0, 1)), ((0,),), ((0, 1, 2),)):
        with pytest.raises(
            InvalidSize, match="input_range must hold a smallest and a largest value for each of 3 numbers"
        ):
            Network((3, 4, 1), input_range=wrong)
