"""One episode at a time, through Gymnasium's ``reset`` and ``step``."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from flp_base.errors import check_choice, check_seed
from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.stream import QUERY, Observation, Stream, observation_space
from flp_envs.task import Renderer, Task, lifetime_of


class OnlineLearningEnv(ShowsOptions, gym.Env[Observation, Any]):
    """## Description
    A learner meets a stream of (x, y) pairs, each seen once. At every step it answers an input and then
    receives the target. At the end of its lifetime it answers fresh inputs: the query.

    ## Action Space
    The answer to ``x``. Numbers (the sine ids): `Box(-10, 10, (B, 1), float32)`, in the target's own units; answers
    outside the bounds are scored as they are. Labels (the image ids): `Discrete(num_classes)`.

    ## Observation Space
    A `Dict`:

    | key          | space: numbers    | space: labels           | meaning                                        |
    |--------------|-------------------|-------------------------|------------------------------------------------|
    | `x`          | `Box` (B, inputs) | `Box` (C, H, W), uint8  | the input to answer now                        |
    | `y`          | `Box` (B, 1)      | `Discrete(num_classes)` | the target of the previous `x`; else zeros     |
    | `has_target` | `Discrete(2)`     | `Discrete(2)`           | whether `y` holds a target                     |
    | `phase`      | `Discrete(2)`     | `Discrete(2)`           | 0: support, its target will follow; 1: query   |

    Where there are no minibatches, one pair a step. Numbers are float32. The stream does not depend on the actions.

    ## Rewards
    On query steps only, scaled so that the return of an episode is minus the query's mean squared error, or its
    accuracy in [0, 1].

    After every step, ``info`` says of the input just answered: ``loss`` (its mean squared error; 0 for a right label,
    1 for a wrong one), ``correct`` (labels only), ``task`` (its sub-task) and ``target``. They are for analysis and for
    meta-training; a learner does not read them.

    ## Episode End
    ``terminated`` after the last query step. Never ``truncated``. ``env.spec.max_episode_steps`` is the number of steps
    of every lifetime, for wrappers that must know it, such as ``TimeAwareObservation``.

    ## Arguments
    ``split`` ("meta-train", "meta-val" or "meta-test"), ``interleaving``,
    ``render_mode`` ("rgb_array"), and those of the task. Sine: ``num_functions``, ``steps_per_function``,
    ``batch_size``, ``query_size``, ``function_pool_size``, ``max_amplitude`` (see :class:`flp_envs.sine.SineTask`).
    Images: ``num_classes``, ``shots``, ``query_shots``, ``query_from``, ``image_size`` (see
    :class:`flp_envs.few_shot.FewShotTask`); Omniglot and Mini-ImageNet also ``data_root``, Omniglot ``rotations``.

    ## Version History
    * v0: initial version
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]

    def __init__(self, task: Task, *, render_mode: str | None = None) -> None:
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.task = task
        self.render_mode = render_mode
        self.observation_space = observation_space(task)  # type: ignore[assignment]
        self.action_space = task.answer_space
        self._shape: tuple[int, ...] = task.answer_space.shape or ()
        self._stream: Stream | None = None
        self._step = 0
        self._renderer: Renderer | None = None
        self._spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What it was made from; ``max_episode_steps`` says how long lifetimes are.

        That depends on the options, so the registration cannot say it. No ``TimeLimit`` is needed: they end by
        themselves.
        """
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = None if spec is None else replace(spec, max_episode_steps=lifetime_of(self.task))

    @property
    def episode(self) -> Episode:
        """The episode under way."""
        self._require_stream()
        return self._episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins a new episode, the next one of the env's random stream.

        Args:
            seed: a whole number, Python's or NumPy's, of the stream to begin with; none: the stream goes on.
            options: none are known.

        Raises:
            InvalidSize: for a seed that is no whole number of at least 0.
        """
        super().reset(seed=None if seed is None else check_seed(seed))
        self._episode = self.task.sample(self.np_random)
        self._stream = Stream(self._episode, minibatches=self.task.minibatches)
        self._step = 0
        if self.render_mode is not None:
            self._get_renderer().begin(self._episode)
        return self._observe(self._stream), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Takes the answer to the current input and shows its target, if it has one, and the next input.

        Raises:
            InvalidAction: if the answer has the wrong shape, or is not finite.
            ResetNeeded: before the first ``reset`` and after the last query step.
        """
        stream, step = self._require_stream(), self._step
        if step >= stream.steps:
            raise gym.error.ResetNeeded("the episode is over: call reset() before the next step()")
        scoring = self.task.scoring
        answer = scoring.check(action, self._shape)
        target = stream.target(step)
        losses = scoring.losses(answer[None], target)
        if self.render_mode is not None:
            self._get_renderer().record(step, answer)
        reward = float(scoring.rewards(losses, stream.query_steps)[0]) if stream.phase(step) == QUERY else 0.0
        info = {"loss": float(losses[0]), "task": int(stream.tasks(step)[0]), "target": target[0].copy()}
        if not self.task.minibatches:
            info["correct"] = not losses[0]
        self._step = step + 1
        return self._observe(stream), reward, self._step == stream.steps, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """A picture of the lifetime so far, ``(height, width, 3)``, with ``render_mode="rgb_array"``.

        The task draws it, or what :func:`flp_envs.default_rendering.renderer_of` finds for what it shows.
        """
        if self.render_mode is None:
            gym.logger.warn('render() needs gym.make(..., render_mode="rgb_array")')
            return None
        self._require_stream()
        return self._get_renderer().draw(self._step)

    def show_predictions(self, predict: Any) -> None:
        """Lets ``render`` show what a learner would answer now, instead of showing its last answers only.

        Args:
            predict: maps inputs ``(n, *input)`` to answers ``(n, *target)`` without learning from them.
        """
        self._get_renderer().predict = predict

    def __getstate__(self) -> dict[str, Any]:
        """All but the learner that ``render`` shows: a copy of an env has none until ``show_predictions`` names one."""
        state = dict(vars(self))
        if self._renderer is not None:
            state["_renderer"] = copy.copy(self._renderer)
            state["_renderer"].predict = None
        return state

    def close(self) -> None:
        """Frees what rendering holds."""
        self._renderer = None

    def _get_renderer(self) -> Renderer:
        if self._renderer is None:
            from flp_envs.default_rendering import renderer_of

            self._renderer = renderer_of(self.task)
            if self._stream is not None:
                self._renderer.begin(self._episode)
        return self._renderer

    def _require_stream(self) -> Stream:
        if self._stream is None:
            raise gym.error.ResetNeeded("there is no episode yet: call reset() first")
        return self._stream

    def _observe(self, stream: Stream) -> Observation:
        step = self._step
        return {
            "x": stream.x(step)[0],
            "y": stream.shown_target(step)[0],
            "has_target": stream.has_target(step),
            "phase": stream.phase(step),
        }
