"""Pictures of a lifetime on images: the input shown now, the last answer, how every class fares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.rendering import require_matplotlib

# From Okabe & Ito's palette: told apart with any colour vision; right and wrong also have marks of their own.
RIGHT, WRONG, QUERIED = "#0072B2", "#D55E00", "#E69F00"
MOST_CLASSES = 20


class ImageRenderer(ShowsOptions):
    """Draws the image to be answered, the one answered last, every class's latest image, and the running accuracy.

    Args:
        num_classes: in an episode; the first twenty are drawn.

    Attributes:
        predict: maps images ``(n, C, H, W)`` to the labels that the learner would answer now, ``(n,)``. Without it,
            only past answers are shown.
    """

    def __init__(self, num_classes: int) -> None:
        require_matplotlib()
        self.num_classes = num_classes
        self.predict: Callable[[NDArray[Any]], NDArray[Any]] | None = None

    def begin(self, episode: Episode) -> None:
        """Takes a new episode, ``E = 1``."""
        self._x = np.concatenate([episode.support_x[0, :, 0], episode.query_x[0, :, 0]])
        self._y = np.concatenate([episode.support_y[0, :, 0], episode.query_y[0, :, 0]])
        self._support_steps = episode.support_steps
        self._answers = np.full(len(self._y), -1)

    def record(self, step: int, answer: NDArray[Any]) -> None:
        """Takes the learner's answer, a label, at ``step``."""
        self._answers[step] = int(answer)

    def draw(self, step: int) -> NDArray[np.uint8]:
        """The picture before the answer to ``step``, ``(height, width, 3)`` uint8."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        shown = min(self.num_classes, MOST_CLASSES)
        columns = min(10, shown)
        rows = -(-shown // columns)
        figure = Figure(figsize=(max(7.2, 0.9 * columns), 3.4 + 1.15 * rows), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        figure.suptitle(self._stage(step), fontsize=10)
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.0, 1.15 * rows])[:, 0]
        now, before, curve = top.subplots(1, 3, width_ratios=[1, 1, 1.7])
        self._draw_now(now, step)
        self._draw_last(before, step - 1)
        self._draw_accuracy(curve, step)
        of_all = "" if shown == self.num_classes else f", {shown} of {self.num_classes}"
        bottom.suptitle(f"the latest image of every class{of_all}", fontsize=8)
        queried = int(self._y[step]) if step < len(self._y) else None
        for label, axis in enumerate(bottom.subplots(rows, columns, squeeze=False).ravel()):
            self._draw_class(axis, label if label < shown else None, step, queried)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        return pixels[..., :3].copy()

    def _stage(self, step: int) -> str:
        total = self._support_steps
        if step < total:
            return f"inner step {step} of {total}: the label is shown after the answer"
        return f"query {min(step - total, len(self._y) - total)} of {len(self._y) - total}, after {total} inner steps"

    def _draw_now(self, axis: Any, step: int) -> None:
        if step >= len(self._y):
            axis.set_axis_off()
            return
        axis.set_title(f"now: class {self._y[step]}", fontsize=9)
        if self.predict is not None:
            answer = int(self.predict(self._x[step : step + 1])[0])
            text, style = _verdict("would answer", answer, int(self._y[step]))
            axis.set_xlabel(text, style, fontsize=9)
        _show(axis, self._x[step], QUERIED)

    def _draw_last(self, axis: Any, step: int) -> None:
        if step < 0 or self._answers[step] < 0:  # nothing was answered, or before this renderer watched
            axis.set_axis_off()
            return
        answer, target = int(self._answers[step]), int(self._y[step])
        axis.set_title(f"before: class {target}", fontsize=9)
        text, style = _verdict("answered", answer, target)
        axis.set_xlabel(text, style, fontsize=9)
        _show(axis, self._x[step], RIGHT if answer == target else WRONG)

    def _draw_accuracy(self, axis: Any, step: int) -> None:
        """Over all answers so far, in the support and in the query apart."""
        right, known = self._answers == self._y, self._answers >= 0
        parts = (("support", 0, self._support_steps, ":"), ("query", self._support_steps, len(self._y), "-"))
        for name, start, stop, line in parts:
            steps = start + np.flatnonzero(known[start : min(step, stop)])
            if len(steps):
                accuracy = np.cumsum(right[steps]) / np.arange(1, len(steps) + 1)
                axis.plot(steps + 1, accuracy, line, color=RIGHT, label=f"{name}: {accuracy[-1]:.0%}")
        axis.axhline(1 / self.num_classes, color="#999999", linewidth=0.8)
        axis.set(xlim=(0, len(self._y)), ylim=(-0.02, 1.02))
        axis.set_title("running accuracy (grey: chance)", fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)
        if known[:step].any():
            axis.legend(fontsize=7, frameon=False, loc="lower right")

    def _draw_class(self, axis: Any, label: int | None, step: int, queried: int | None) -> None:
        met = np.flatnonzero(self._y[: min(step, self._support_steps)] == label) if label is not None else np.array([])
        if label is None:
            axis.set_axis_off()
            return
        axis.set_title(f"class {label} ({len(met)})", fontsize=7)
        axis.set(xticks=[], yticks=[])
        if len(met):
            now = label == queried
            _show(axis, self._x[met[-1]], QUERIED if now else "black", width=2.5 if now else 0.6)
        else:
            axis.set_facecolor("#EEEEEE")
            axis.set_box_aspect(1)


def _verdict(verb: str, answer: int, target: int) -> tuple[str, dict[str, str]]:
    """What is written below an image, and how."""
    right = answer == target
    return f"{verb}: class {answer} {'✓' if right else '✗'}", {"color": RIGHT if right else WRONG}


def _show(axis: Any, image: NDArray[np.uint8], edge: str, width: float = 2.5) -> None:
    axis.imshow(
        image[0] if len(image) == 1 else image.transpose(1, 2, 0),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(edgecolor=edge, linewidth=width)
