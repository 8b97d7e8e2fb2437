"""Watching one lifetime: a learner in an env, frame by frame, to a video, a GIF or a picture."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from flp_agents.adapters.gym_agent import GymAgent
from flp_agents.learners.learner import Learner
from flp_base.errors import FLPError
from flp_base.files import write_atomically
from flp_envs.rendering import MissingDependency, require_matplotlib

if TYPE_CHECKING:
    from PIL import Image

FRAME_MILLISECONDS = 100
LAST_FRAME_MILLISECONDS = 3000


def render_lifetime(
    learner: Learner[Any],
    env: gym.Env[Any, Any],
    path: Path,
    *,
    seed: int = 0,
    every: int = 10,
    on_step: Callable[[int], object] = lambda step: None,
) -> float:
    """Writes one lifetime as a video (``.mp4``) or an animation (``.gif``), or its end as a picture (``.png``).

    Args:
        learner: runs through it.
        env: made with ``render_mode="rgb_array"``.
        path: where to.
        seed: of the episode.
        every: inner steps between frames.
        on_step: receives the number of steps, query included, after each of them.

    Returns:
        The lifetime's score, in the learner's metric.

    Raises:
        FLPError: for another suffix, if the env draws no pictures, or if the file cannot be written.
        MissingDependency: if what draws or encodes it is not installed.
    """
    if path.suffix not in _ENCODERS:
        raise FLPError(f"expected a file name that ends in .gif, .mp4 or .png, got {path}")
    require_matplotlib()
    if path.suffix == ".mp4":
        require_ffmpeg()
    modes = env.metadata.get("render_modes") or []
    if "rgb_array" not in modes:
        raise FLPError(f'{_name_of(env)} draws no pictures: expected "rgb_array" among its render_modes, got {modes}')
    agent = GymAgent(learner, env)
    learner = agent.learner
    observation, _ = env.reset(seed=seed)
    state: Any = None

    @torch.no_grad()
    def predict_now(x: NDArray[Any]) -> NDArray[Any]:
        predictions, _ = learner.predict(state, learner.encode(learner.tensor(x[None])))
        return np.asarray(learner.objective.actions(predictions)[0].cpu())

    show: Any = getattr(env.unwrapped, "show_predictions", None)
    if show is not None:
        show(predict_now)
    frames: list[NDArray[np.uint8]] = []
    returned, step, querying, done = 0.0, 0, False, False
    while not done:
        action, state = agent.predict(observation, state)
        is_first_query = bool(observation["phase"]) and not querying
        querying = bool(observation["phase"])
        if is_first_query or (path.suffix != ".png" and not observation["phase"] and step % every == 0):
            frames.append(_frame_of(env))
        observation, reward, done, _, _ = env.step(action)
        returned += float(reward)
        step += 1
        on_step(step)
    frames.append(_frame_of(env))
    _write(path, frames)
    return max(0.0, learner.objective.score_of_return(returned))  # rounding may leave it just below


def _frame_of(env: gym.Env[Any, Any]) -> NDArray[np.uint8]:
    """What the env draws, ``(height, width, 3)``.

    Raises:
        FLPError: if that is no picture.
    """
    expected = f"{_name_of(env)} draws no pictures: expected render() to return (height, width, 3) uint8"
    try:
        drawn: Any = env.render()
    except NotImplementedError:
        raise FLPError(f"{expected}, it is not implemented") from None
    frame = np.asarray(drawn)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        what = f"an array of {frame.shape} {frame.dtype}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise FLPError(f"{expected}, got {what}")
    return frame


def _name_of(env: gym.Env[Any, Any]) -> str:
    return env.spec.id if env.spec else type(env.unwrapped).__name__


def require_ffmpeg() -> None:
    """Checks that videos can be made.

    Raises:
        MissingDependency: if imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise MissingDependency('videos need imageio-ffmpeg: pip install "flp-envs[video]"') from None


def _write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    data = _ENCODERS[path.suffix](frames)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise FLPError(f"cannot write {path}: {error.strerror or error}") from None


def _as_picture(frames: list[NDArray[np.uint8]]) -> bytes:
    """The last frame as PNG."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(frames[-1]).save(data, "png")
    return data.getvalue()


def _as_animation(frames: list[NDArray[np.uint8]]) -> bytes:
    """All frames as GIF."""
    from PIL import Image

    data, pictures = io.BytesIO(), [Image.fromarray(frame) for frame in frames]
    palette = _beside([pictures[0], pictures[len(pictures) // 2], pictures[-1]]).quantize(64)
    durations = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
    first, *rest = [picture.quantize(palette=palette) for picture in pictures]
    first.save(data, "gif", save_all=True, append_images=rest, duration=durations, loop=0)
    return data.getvalue()


def _as_video(frames: list[NDArray[np.uint8]]) -> bytes:
    """All frames as H.264 in MP4, which every browser plays.

    Raises:
        FLPError: if the encoder fails.
    """
    import imageio_ffmpeg

    height, width = frames[0].shape[:2]
    still = [frames[-1]] * (LAST_FRAME_MILLISECONDS // FRAME_MILLISECONDS - 1)
    shown = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    shown += ["-framerate", str(1000 / FRAME_MILLISECONDS), "-i", "pipe:0"]
    # Players want an even number of pixels on each side, and the index before the pictures.
    encoded = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-c:v", "libx264", "-crf", "18"]
    encoded += ["-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lifetime.mp4"
        try:
            done = subprocess.run(
                [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *shown, *encoded, str(path)],
                input=b"".join(frame.tobytes() for frame in (*frames, *still)),
                capture_output=True,
                check=False,
            )
        except (OSError, RuntimeError) as error:
            raise FLPError(f"cannot make a video: {' '.join(str(error).split())}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").split() or [f"ffmpeg ended with code {done.returncode}"]
            raise FLPError(f"cannot make a video: {' '.join(said)}")
        return path.read_bytes()


_ENCODERS: dict[str, Callable[[list[NDArray[np.uint8]]], bytes]] = {
    ".gif": _as_animation,
    ".mp4": _as_video,
    ".png": _as_picture,
}


def _beside(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size in a row: together they show every colour."""
    from PIL import Image

    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for place, picture in enumerate(pictures):
        row.paste(picture, (width * place, 0))
    return row
