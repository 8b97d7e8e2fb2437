"""Watching one lifetime: a learner in an env, frame by frame, to a GIF or a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from flp_agents.gym_agent import GymAgent
from flp_agents.learner import Learner
from flp_envs.errors import FLPError
from flp_envs.files import write_atomically
from flp_envs.rendering import require_matplotlib

FRAME_MILLISECONDS = 100
LAST_FRAME_MILLISECONDS = 3000


def render_lifetime(
    learner: Learner[Any], env: gym.Env[Any, Any], path: Path, *, seed: int = 0, every: int = 10
) -> float:
    """Writes one lifetime as an animation (``.gif``) or its end as a picture (``.png``).

    Args:
        learner: who lives.
        env: made with ``render_mode="rgb_array"``.
        path: where to.
        seed: of the episode.
        every: inner steps between frames.

    Returns:
        The lifetime's query mean squared error.

    Raises:
        FLPError: for another suffix, or if the file cannot be written.
    """
    if path.suffix not in (".gif", ".png"):
        raise FLPError(f"expected a file name that ends in .gif or .png, got {path}")
    require_matplotlib()
    agent = GymAgent(learner, env)
    observation, _ = env.reset(seed=seed)
    state: Any = None

    @torch.no_grad()
    def predict_now(x: NDArray[np.float32]) -> NDArray[np.float32]:
        answers, _ = learner.predict(state, learner.encode(learner.tensor(x[None])))
        return np.asarray(answers[0].cpu())

    env.unwrapped.show_predictions(predict_now)  # type: ignore[attr-defined]
    frames: list[NDArray[np.uint8]] = []
    returned, step, done = 0.0, 0, False
    while not done:
        action, state = agent.predict(observation, state)
        is_first_query = bool(observation["phase"]) and not returned
        if is_first_query or (path.suffix == ".gif" and not observation["phase"] and step % every == 0):
            frames.append(np.asarray(env.render()))
        observation, reward, done, _, _ = env.step(action)
        returned += float(reward)
        step += 1
    _write(path, frames)
    return -returned


def _write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    data = io.BytesIO()
    if path.suffix == ".png":
        pictures[-1].save(data, "png")
    else:
        palette = pictures[0].quantize(64)  # the first frame shows every colour, the last not all
        durations = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
        first, *rest = [picture.quantize(palette=palette) for picture in pictures]
        first.save(data, "gif", save_all=True, append_images=rest, duration=durations, loop=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.getvalue())
    except OSError as error:
        raise FLPError(f"cannot write {path}: {error.strerror or error}") from None
