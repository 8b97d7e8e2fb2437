"""A task that does not say how it is drawn is drawn all the same, by what it shows."""

import sys
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import user_envs
from gymnasium.utils.env_checker import check_env
from PIL import Image

import flp_envs
from flp_agents.cli.main import main
from flp_base.errors import FLPError
from flp_envs.default_rendering import LabelsRenderer, NumbersRenderer, renderer_of
from flp_envs.image_rendering import ImageRenderer
from flp_envs.rendering import MissingDependency, SineRenderer

IDS = ("user_envs:UserLines-v0", "user_envs:UserCorners-v0")
every_id = pytest.mark.parametrize("env_id", IDS)


def answers(env, env_id):
    """What a poor learner answers."""
    return lambda x: np.zeros((len(x), *env.action_space.shape[1:]), env.action_space.dtype)


@every_id
def test_every_step_of_a_lifetime_is_drawn(env_id):
    env = flp_envs.make(env_id, render_mode="rgb_array", steps=1)
    env.reset(seed=0)
    env.action_space.seed(1)
    frames, done = [env.render()], False
    while not done:
        done = env.step(env.action_space.sample())[2]
        frames.append(env.render())
    for frame in frames:
        assert (frame.dtype, frame.ndim, frame.shape) == (np.uint8, 3, frames[0].shape)
    assert all((one != other).any() for one, other in pairwise(frames))
    env.unwrapped.show_predictions(answers(env, env_id))
    assert (env.render() != frames[-1]).any()
    env.reset()
    assert env.render().shape == frames[0].shape


@pytest.mark.parametrize("extreme", [3e38, -3e38, 0.0])
def test_wild_answers_are_drawn(extreme):
    env = flp_envs.make(IDS[0], render_mode="rgb_array", outputs=3)
    env.reset(seed=0)
    for value in (extreme, 0.1):
        env.step(np.full(env.action_space.shape, value, np.float32))
        env.render()


@pytest.mark.parametrize("corners", [2, 30])
def test_any_number_of_labels_is_drawn(corners):
    env = flp_envs.make(IDS[1], render_mode="rgb_array", corners=corners)
    env.reset(seed=0)
    env.step(corners - 1)
    assert env.render().shape[2] == 3


def test_a_long_query_is_asked_about_in_part():
    env = flp_envs.make("FLPSine-IID-v0", num_functions=2, steps_per_function=1, batch_size=1, query_size=100)
    renderer, asked = NumbersRenderer(env.unwrapped.task.scoring), []
    env.reset(seed=0)
    renderer.begin(env.unwrapped.episode)
    renderer.predict = lambda x: asked.append(x) or np.zeros((len(x), 1))
    renderer.draw(0)
    assert len(asked) == 64
    np.testing.assert_array_equal(asked[-1], env.unwrapped.episode.query_x[0, -1])


@every_id
@pytest.mark.filterwarnings("ignore:.*(Box observation space|infinite|Initializing environment):UserWarning")
def test_gymnasiums_checker_passes_with_pictures(env_id):
    check_env(gym.make(env_id, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize(("env_id", "suffix"), [(IDS[0], ".gif"), (IDS[1], ".png")])
def test_flp_render_draws_it(env_id, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(user_envs.Corners, "__init__", _corners_as_images)
    path = tmp_path / f"lifetime{suffix}"
    assert main(["render", "--env", env_id, "--output", str(path), "--threads", "1", "--every", "9"]) == 0
    with Image.open(path) as picture:
        assert min(picture.size) > 300


def _corners_as_images(self, split="meta-train", **options):
    """Networks take labels of images alone: a task of glyphs in the place of points."""
    from flp_datasets.glyphs import Glyphs
    from flp_envs import FewShotTask

    inner = FewShotTask(Glyphs(split, 28), split, num_classes=3, shots=1, query_shots=1)
    for name in ("split", "input_space", "target_space", "answer_space", "scoring", "sample"):
        setattr(self, name, getattr(inner, name))
    self.support_steps, self.query_steps = inner.support_steps, inner.query_steps


def test_images_are_drawn_as_images_and_a_tasks_own_renderer_comes_first():
    glyphs = flp_envs.make("FLPGlyph-IID-v0").unwrapped.task

    class Plain:
        """The same without a renderer."""

        def __getattr__(self, name):
            if name == "make_renderer":
                raise AttributeError
            return getattr(glyphs, name)

    assert isinstance(renderer_of(Plain()), ImageRenderer)
    assert isinstance(renderer_of(flp_envs.make("FLPSine-IID-v0").unwrapped.task), SineRenderer)
    assert isinstance(renderer_of(user_envs.Lines()), NumbersRenderer)
    assert isinstance(renderer_of(user_envs.Corners()), LabelsRenderer)


@every_id
def test_without_matplotlib_it_is_one_clear_line(env_id, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    env = flp_envs.make(env_id, render_mode="rgb_array")
    with pytest.raises(MissingDependency, match=r"^pictures need matplotlib: pip install \"flp-envs\[plots\]\"$"):
        env.reset(seed=0)
    assert main(["render", "--env", IDS[0], "--output", str(tmp_path / "a.png"), "--threads", "1"]) == 1
    assert capsys.readouterr().err == 'flp: error: pictures need matplotlib: pip install "flp-envs[plots]"\n'
    flp_envs.make(env_id).reset(seed=0)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_an_env_that_draws_nothing_is_one_clear_line(capsys, tmp_path, monkeypatch):
    command = ["render", "--env", "user_envs:UserProtocol-v0", "--output", str(tmp_path / "a.png"), "--threads", "1"]
    assert main(command) == 1
    expected = 'UserProtocol-v0 draws no pictures: expected "rgb_array" among its render_modes, got []\n'
    assert capsys.readouterr().err.endswith(expected)
    monkeypatch.setitem(user_envs.SpeaksTheProtocol.metadata, "render_modes", ["rgb_array"])
    monkeypatch.setitem(user_envs.SpeaksTheProtocol.metadata, "render_fps", 20)
    assert main(command) == 1
    assert capsys.readouterr().err.endswith("to return (height, width, 3) uint8, it is not implemented\n")
    for drawn, found in ((None, "NoneType"), ([], "list"), (np.zeros((3, 3)), r"an array of (3, 3) float64")):
        monkeypatch.setattr(user_envs.SpeaksTheProtocol, "render", lambda self, drawn=drawn: drawn)
        assert main(command) == 1
        error = capsys.readouterr().err
        assert error.endswith(f"got {found}\n")
        assert error.count("\n") == 1
    monkeypatch.setattr(user_envs.SpeaksTheProtocol, "render", lambda self: np.zeros((9, 8, 3), np.uint8))
    assert main(command) == 0


def test_an_env_that_knows_no_pictures_says_so():
    with pytest.raises(FLPError, match="cannot make CartPole-v1"):
        flp_envs.make("CartPole-v1", render_mode="rgb_array", split="meta-test")
