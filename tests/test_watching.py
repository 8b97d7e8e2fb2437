"""A lifetime as a video, an animation, and a picture."""

import io
import re
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from conftest import shows_images, small_options
from PIL import Image

from flp_agents import build_learner, evaluate, get_preset
from flp_agents.experiments.rendering import FRAME_MILLISECONDS, LAST_FRAME_MILLISECONDS, _as_video, render_lifetime
from flp_envs import FLPError
from flp_envs.rendering import MissingDependency

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="videos need the extra flp-envs[video]")
SETTINGS = {
    "numbers": {"hidden_widths": (16, 16, 16), "initial_coefficient": 1.0, "coefficient_unit": 1e-3},
    "images": {"channels": 4, "padding": 1, "hidden_widths": (16,), "initial_coefficient": 5e-4},
}
# Frames of a lifetime of 6 inner steps, every second one: before steps 0, 2 and 4, before the query, after it.
FRAMES = 5


def make(env_id):
    env = gym.make(env_id, render_mode="rgb_array", split="meta-test", **small_options(env_id))
    kind = "images" if shows_images(env_id) else "numbers"
    return env, build_learner("flp", env, get_preset("cpu", "flp", SETTINGS[kind], kind=kind), seed=1)


def read_video(path):
    """Pictures ``(n, height, width, 3)``, and what ffmpeg says of the file."""
    run = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    about = subprocess.run(run, capture_output=True, encoding="utf-8").stderr
    width, height = map(int, re.search(r", (\d+)x(\d+)", about).groups())
    pixels = subprocess.run([*run, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3), about


@pytest.mark.parametrize("env_id", ["FLPSine-Continual-v0", pytest.param("FLPGlyph-IID-v0", marks=pytest.mark.slow)])
def test_a_video_shows_what_the_animation_shows(env_id, tmp_path):
    env, learner = make(env_id)
    video, animation, picture = (tmp_path / "new" / f"life.{suffix}" for suffix in ("mp4", "gif", "png"))
    scores = [render_lifetime(learner, env, path, seed=3, every=2) for path in (video, animation, picture)]
    assert scores == pytest.approx([evaluate(learner, env, episodes=1, seed=3).mean] * 3, rel=1e-5, abs=1e-9)
    frames, about = read_video(video)
    assert re.search(r"Video: h264 .*, yuv420p", about)  # what every browser plays
    assert f", {1000 / FRAME_MILLISECONDS:.0f} fps" in about
    assert len(frames) == FRAMES - 1 + LAST_FRAME_MILLISECONDS / FRAME_MILLISECONDS
    with Image.open(animation) as image:
        assert image.n_frames == FRAMES
    with Image.open(picture) as image:
        end = np.asarray(image).astype(float)
    height, width = end.shape[:2]
    assert frames.shape[1:] == (height + height % 2, width + width % 2, 3)
    # Compression blurs colours, little.
    difference = np.abs(frames[-1][:height, :width] - end).mean()
    assert difference < 3
    assert np.abs(frames[0][:height, :width] - end).mean() > 2 * difference
    assert {path.name for path in video.parent.iterdir()} == {"life.mp4", "life.gif", "life.png"}


def test_frames_of_an_odd_size_are_kept_whole(tmp_path):
    frame = np.full((31, 45, 3), 255, np.uint8)
    frame[10:20, 10:20] = 0
    path = tmp_path / "odd.mp4"
    path.write_bytes(_as_video([frame, frame]))
    frames, _ = read_video(path)
    assert frames.shape[1:] == (32, 46, 3)
    assert np.abs(frames[0][:31, :45].astype(float) - frame).mean() < 3
    assert frames[0][-1, -1].min() > 240


def test_only_videos_animations_and_pictures_are_written(tmp_path):
    env, learner = make("FLPSine-Continual-v0")
    for name in ("life.avi", "life", "mp4"):
        with pytest.raises(FLPError, match=r"^expected a file name that ends in .gif, .mp4 or .png, got"):
            render_lifetime(learner, env, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_an_encoder_a_video_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    env, learner = make("FLPSine-Continual-v0")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingDependency, match=r'^videos need imageio-ffmpeg: pip install "flp-envs\[video\]"$'):
        render_lifetime(learner, env, tmp_path / "life.mp4")
    render_lifetime(learner, env, tmp_path / "life.png")
    assert [path.name for path in tmp_path.iterdir()] == ["life.png"]


def test_an_encoder_that_fails_is_reported_in_one_line(tmp_path, monkeypatch):
    env, learner = make("FLPSine-Continual-v0")
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    for executable in (broken, tmp_path / "missing"):
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda path=executable: str(path))
        with pytest.raises(FLPError, match=r"^cannot make a video: .+") as caught:
            render_lifetime(learner, env, tmp_path / "life.mp4")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "life.mp4").exists()


def test_a_file_that_cannot_be_written_is_reported(tmp_path):
    env, learner = make("FLPSine-Continual-v0")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FLPError, match=r"^cannot write .*life\.gif: "):
        render_lifetime(learner, env, tmp_path / "file" / "life.gif")
    assert not list(tmp_path.glob(".*"))


def test_importing_needs_no_encoder():
    code = "import sys, flp_agents.experiments.rendering as r; "
    code += "assert not {'imageio_ffmpeg', 'moviepy', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_is_the_last_frame():
    from flp_agents.experiments.rendering import _as_picture

    frames = [np.full((4, 6, 3), value, np.uint8) for value in (0, 200)]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(_as_picture(frames)))), frames[1])
