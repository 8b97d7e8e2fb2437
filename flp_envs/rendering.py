"""Pictures of a lifetime on sine waves: the true functions, what the learner now predicts, which one it is taught."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from flp_base.errors import FLPError
from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From Okabe & Ito's palette: told apart with any colour vision.
TRUTH, PREDICTION, TAUGHT = "#999999", "#0072B2", "#E69F00"
CURVE_POINTS = 64


class MissingDependency(FLPError, gym.error.DependencyNotInstalled):
    """A package that only pictures need is not installed."""


def require_matplotlib() -> None:
    """Checks that pictures can be drawn.

    Raises:
        MissingDependency: if matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependency('pictures need matplotlib: pip install "flp-envs[plots]"') from None


class SineRenderer(ShowsOptions):
    """Draws one panel for each function of an episode.

    Attributes:
        predict: maps inputs ``(n, functions + 1)`` to what the learner would answer now, ``(n, 1)``. Without it, a
            panel shows the learner's last answers on that function.
    """

    def __init__(self) -> None:
        require_matplotlib()
        self.predict: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None

    def begin(self, episode: Episode) -> None:
        """Takes a new episode, ``E = 1``."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._x = np.concatenate([episode.support_x[0], episode.query_x[0]])
        self._y = np.concatenate([episode.support_y[0], episode.query_y[0]])
        self._task = np.concatenate([episode.support_task[0], episode.query_task[0]])
        self._support_steps = episode.support_steps
        functions = int(self._task.max()) + 1
        columns = min(5, functions)
        rows = -(-functions // columns)
        figure = Figure(figsize=(2.0 * columns + 0.4, 1.7 * rows + 0.7), dpi=100, layout="constrained")
        self._canvas = FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        self._title = figure.suptitle("", fontsize=10)
        figure.supxlabel("x", fontsize=9)
        figure.supylabel("y", fontsize=9)
        limit = 1.15 * float(np.abs(self._y).max())
        self._axes: list[Axes] = list(axes[:functions])
        self._curves: list[Any] = []
        self._answers: list[Any] = []
        for function, axis in enumerate(self._axes):
            of_function = self._task == function
            x, y = self._x[of_function][..., -1].ravel(), self._y[of_function][..., 0].ravel()
            order = np.argsort(x)
            axis.plot(x[order], y[order], color=TRUTH, linewidth=3, label="true function")
            self._curves += axis.plot([], [], color=PREDICTION, linewidth=1.5, label="learner's prediction")
            self._answers += axis.plot([], [], ".", color=PREDICTION, markersize=3)
            axis.set(xlim=(-5.2, 5.2), ylim=(-limit, limit))
            axis.tick_params(labelsize=7)
        for axis in axes[functions:]:
            axis.set_axis_off()
        self._axes[0].legend(loc="upper right", fontsize=6, frameon=False)

    def record(self, step: int, answer: NDArray[np.float32]) -> None:
        """Takes the learner's answer ``(B, 1)`` at ``step``."""
        function = int(self._task[step])
        self._answers[function].set_data(self._x[step][:, -1], answer[:, 0])

    def draw(self, step: int) -> NDArray[np.uint8]:
        """The picture before the answer to ``step``, ``(height, width, 3)`` uint8."""
        total = self._support_steps
        taught = int(self._task[step]) if step < total else None
        for function, axis in enumerate(self._axes):
            is_taught = function == taught
            axis.set_title(
                f"function {function + 1}" + (" (being taught)" if is_taught else ""),
                fontsize=8,
                color="black",
                fontweight="bold" if is_taught else "normal",
            )
            for spine in axis.spines.values():
                spine.set(edgecolor=TAUGHT if is_taught else "black", linewidth=2.5 if is_taught else 0.6)
            if self.predict is not None:
                points = np.linspace(-5, 5, CURVE_POINTS, dtype=np.float32)
                inputs = np.zeros((CURVE_POINTS, self._x.shape[-1]), np.float32)
                inputs[:, function], inputs[:, -1] = 1.0, points
                self._curves[function].set_data(points, self.predict(inputs)[:, 0])
        stage = f"inner step {step} of {total}" if step < total else f"query, after {total} inner steps"
        self._title.set_text(stage)
        self._canvas.draw()  # type: ignore[no-untyped-call]
        pixels: NDArray[np.uint8] = np.asarray(self._canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        return pixels[..., :3].copy()
