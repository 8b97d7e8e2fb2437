"""Watching one lifetime: a learner in an env, frame by frame, to a GIF or a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from flp_agents.gym_agent import GymAgent
from flp_agents.learner import Learner
from flp_datasets.errors import FLPError
from flp_datasets.files import write_atomically
from flp_envs.rendering import require_matplotlib

if TYPE_CHECKING:
    from PIL import Image

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
        The lifetime's score, in the learner's metric.

    Raises:
        FLPError: for another suffix, or if the file cannot be written.
    """
    if path.suffix not in (".gif", ".png"):
        raise FLPError(f"expected a file name that ends in .gif or .png, got {path}")
    require_matplotlib()
    agent = GymAgent(learner, env)
    learner = agent.learner
    observation, _ = env.reset(seed=seed)
    state: Any = None

    @torch.no_grad()
    def predict_now(x: NDArray[Any]) -> NDArray[Any]:
        answers, _ = learner.predict(state, learner.encode(learner.tensor(x[None])))
        return np.asarray(learner.objective.actions(answers)[0].cpu())

    env.unwrapped.show_predictions(predict_now)  # type: ignore[attr-defined]
    frames: list[NDArray[np.uint8]] = []
    returned, step, asked, done = 0.0, 0, False, False
    while not done:
        action, state = agent.predict(observation, state)
        is_first_query = bool(observation["phase"]) and not asked
        asked = bool(observation["phase"])
        if is_first_query or (path.suffix == ".gif" and not observation["phase"] and step % every == 0):
            frames.append(np.asarray(env.render()))
        observation, reward, done, _, _ = env.step(action)
        returned += float(reward)
        step += 1
    frames.append(np.asarray(env.render()))
    _write(path, frames)
    return learner.objective.score_of_return(returned)


def _write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    data = io.BytesIO()
    if path.suffix == ".png":
        pictures[-1].save(data, "png")
    else:
        palette = _beside([pictures[0], pictures[len(pictures) // 2], pictures[-1]]).quantize(64)
        durations = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
        first, *rest = [picture.quantize(palette=palette) for picture in pictures]
        first.save(data, "gif", save_all=True, append_images=rest, duration=durations, loop=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.getvalue())
    except OSError as error:
        raise FLPError(f"cannot write {path}: {error.strerror or error}") from None


def _beside(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size in a row: together they show every colour."""
    from PIL import Image

    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for place, picture in enumerate(pictures):
        row.paste(picture, (width * place, 0))
    return row
