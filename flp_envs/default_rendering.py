"""Pictures of a lifetime on any task: predictions against targets, or labels beside labels, and the running score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.image_rendering import RIGHT, WRONG, ImageRenderer
from flp_envs.rendering import PREDICTION, TRUTH, require_matplotlib
from flp_envs.scoring import Scoring
from flp_envs.task import Renderer, Task

# Query steps that are predicted for one picture; more would take long and show no more.
MOST_QUERIED = 64
# Up to so many labels have a colour each; more share a scale.
MOST_COLOURS = 20


def renderer_of(task: Task) -> Renderer:
    """What draws a task's lifetimes: its own ``make_renderer()`` if it has one, else one for what it shows.

    Raises:
        MissingDependency: if matplotlib is not installed.
    """
    make = getattr(task, "make_renderer", None)
    if make is not None:
        renderer: Renderer = make()
        return renderer
    if not isinstance(task.target_space, spaces.Discrete):
        return NumbersRenderer(task.scoring)
    x = task.input_space
    if isinstance(x, spaces.Box) and x.dtype == np.uint8 and len(x.shape) == 3 and x.shape[0] in (1, 3):
        return ImageRenderer(int(task.target_space.n))
    return LabelsRenderer(int(task.target_space.n))


class _StepByStep(ShowsOptions):
    """Keeps one episode, and what was answered in it.

    Attributes:
        predict: maps inputs ``(n, *input)`` to what the learner would answer now, ``(n, *target)``. Without it, only
            past answers are shown.
    """

    def __init__(self) -> None:
        require_matplotlib()
        self.predict: Callable[[NDArray[Any]], NDArray[Any]] | None = None

    def begin(self, episode: Episode) -> None:
        """Takes a new episode, ``E = 1``."""
        self._y = np.concatenate([episode.support_y[0], episode.query_y[0]])
        self._support_steps, self._query_x = episode.support_steps, episode.query_x[0]
        self._answers: dict[int, NDArray[Any]] = {}

    def record(self, step: int, answer: NDArray[Any]) -> None:
        """Takes the learner's answer at ``step``."""
        self._answers[step] = np.array(answer)

    def draw(self, step: int) -> NDArray[np.uint8]:
        """The picture before the answer to ``step``, ``(height, width, 3)`` uint8."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 3.4), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        figure.suptitle(self._stage(step), fontsize=10)
        left, right = figure.subplots(1, 2)
        self._draw_answers(left, step)
        self._draw_score(right, step)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        return pixels[..., :3].copy()

    def _stage(self, step: int) -> str:
        total, query = self._support_steps, len(self._y) - self._support_steps
        if step < total:
            return f"inner step {step} of {total}"
        return f"query {min(step - total, query)} of {query}, after {total} inner steps"

    def _predicted_now(self) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
        """Query steps, and what the learner would answer to them now; none without a learner."""
        if self.predict is None:
            return np.array([], np.int64), []
        query = len(self._query_x)
        queried = np.unique(np.linspace(0, query - 1, min(query, MOST_QUERIED)).astype(np.int64))
        return queried + self._support_steps, [np.asarray(self.predict(self._query_x[i])) for i in queried]

    def _parts(self) -> tuple[tuple[str, NDArray[np.int64], str], ...]:
        """The name, the answered steps and the line of support and query."""
        steps = np.array(sorted(self._answers), np.int64)
        split = self._support_steps
        return ("support", steps[steps < split], ":"), ("query", steps[steps >= split], "-")

    def _draw_answers(self, axis: Any, step: int) -> None:
        raise NotImplementedError

    def _draw_score(self, axis: Any, step: int) -> None:
        raise NotImplementedError


class NumbersRenderer(_StepByStep):
    """Draws predictions against targets, and the loss of every step.

    Args:
        scoring: of the task.
    """

    def __init__(self, scoring: Scoring) -> None:
        super().__init__()
        self.scoring = scoring

    def _draw_answers(self, axis: Any, step: int) -> None:
        """A point for each number: of the last answer, and with a learner of what it would now answer to the query."""
        low, high = float(self._y.min()), float(self._y.max())
        margin = 0.1 * (high - low) or 1.0
        limits = low - margin, high + margin
        axis.plot(limits, limits, color=TRUTH, linewidth=1)
        queried, answers = self._predicted_now()
        if answers:
            axis.plot(
                np.concatenate([self._y[number].ravel() for number in queried]),
                # What lies outside is drawn at the edge.
                np.clip(np.concatenate([answer.ravel() for answer in answers]), *limits),
                ".",
                color=PREDICTION,
                markersize=3,
                label="the query, now",
            )
        if step - 1 in self._answers:
            last = np.clip(self._answers[step - 1].ravel(), *limits)
            axis.plot(self._y[step - 1].ravel(), last, "x", color=WRONG, markersize=4, label="the last answer")
        axis.set(xlim=limits, ylim=limits)
        axis.set_title("predictions against targets", fontsize=9)
        axis.set_xlabel("target", fontsize=8)
        axis.set_ylabel("prediction", fontsize=8)
        axis.tick_params(labelsize=7)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7, frameon=False, loc="upper left")

    def _draw_score(self, axis: Any, step: int) -> None:
        smallest, largest = np.inf, 0.0
        for name, steps, line in self._parts():
            if len(steps):
                rows = [self.scoring.losses(self._answers[i][None], self._y[i][None])[0] for i in steps]
                losses = np.array(rows, np.float64)
                smallest, largest = min(smallest, float(losses.min())), max(largest, float(losses.max()))
                label = f"{name}: mean {losses.mean():.3g}"
                axis.plot(steps + 1, losses, line, marker=".", markersize=3, color=PREDICTION, label=label)
        if 0 < smallest < largest / 100:
            axis.set_yscale("log")
        axis.set_xlim(0, len(self._y))
        axis.set_title(f"loss of every step ({self.scoring.metric})", fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)
        if self._answers:
            axis.legend(fontsize=7, frameon=False)


class LabelsRenderer(_StepByStep):
    """Draws strips of labels, a colour each, and the running accuracy.

    Args:
        num_classes: labels are the whole numbers below.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def _draw_answers(self, axis: Any, step: int) -> None:
        """The targets, the answers below them, and with a learner what it would now answer to the query."""
        targets = self._y.reshape(len(self._y), -1)[:, 0].astype(np.float64)
        rows = [("target", targets), ("answered", np.full(len(targets), np.nan))]
        for number, answer in self._answers.items():
            rows[1][1][number] = float(answer.ravel()[0])
        queried, answers = self._predicted_now()
        if answers:
            rows.append(("would answer", np.full(len(targets), np.nan)))
            rows[2][1][queried] = [float(answer.ravel()[0]) for answer in answers]
        colours = "tab20" if self.num_classes <= MOST_COLOURS else "viridis"
        shades = max(self.num_classes, MOST_COLOURS)
        strips = np.stack([row for _, row in rows])
        axis.imshow(strips, cmap=colours, vmin=0, vmax=shades - 1, aspect="auto", interpolation="nearest")
        for row, (_, answered) in enumerate(rows[1:], 1):
            wrong = np.flatnonzero(np.isfinite(answered) & (answered != targets))
            axis.plot(wrong, np.full(len(wrong), row), "x", color="black", markersize=4)
        axis.axvline(self._support_steps - 0.5, color="black", linewidth=0.8)
        if step < len(targets):
            axis.axvline(step, color=WRONG, linewidth=0.8)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
        axis.set_title("labels (cross: wrong; line: the query begins)", fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)

    def _draw_score(self, axis: Any, step: int) -> None:
        for name, steps, line in self._parts():
            if len(steps):
                right = [
                    bool(np.all(self._answers[i] == self._y[i].reshape(np.shape(self._answers[i])))) for i in steps
                ]
                accuracy = np.cumsum(right) / np.arange(1, len(steps) + 1)
                axis.plot(steps + 1, accuracy, line, color=RIGHT, label=f"{name}: {accuracy[-1]:.0%}")
        axis.axhline(1 / self.num_classes, color=TRUTH, linewidth=0.8)
        axis.set(xlim=(0, len(self._y)), ylim=(-0.02, 1.02))
        axis.set_title("running accuracy (grey: chance)", fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)
        if self._answers:
            axis.legend(fontsize=7, frameon=False, loc="lower right")
