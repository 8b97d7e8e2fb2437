"""Incremental sine waves: ten functions to be learned one after another, or mixed.

Source: section 5 of Lindsey & Litwin-Kumar (2020), after Javed & White (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_base.errors import InvalidSize, check_at_least, check_choice
from flp_base.machine_memory import check_fits
from flp_base.shown_options import ShowsOptions
from flp_envs.episode import Episode
from flp_envs.sampling import check_interleaving, choose_distinct, generators_of, mixed_order
from flp_envs.scoring import Scoring, SquaredError
from flp_envs.task import Renderer

MIN_AMPLITUDE = 0.1
LARGEST_AMPLITUDE = 1e6
LARGEST_POOL = 1_000_000
PHASE_RANGE = (0.0, np.pi)
INPUT_LIMIT = 5.0

# Functions of a split are fixed for ever: each split's pool comes from a seed of its own.
POOL_SEEDS = {"meta-train": 20200, "meta-val": 20202, "meta-test": 20201}
POOL_SIZES = {"meta-train": 400, "meta-val": 1000, "meta-test": 1000}

# cos(2 pi w) = c0 + c1 w^2 + ... for |w| <= 1/4: interpolated at Chebyshev points, the highest power first; error 5e-8.
_COSINE_COEFFICIENTS = tuple(
    np.float32(coefficient)
    for coefficient in (
        56.23870043429376,
        -85.23987025824951,
        64.93457265219413,
        -19.739171209957707,
        0.999999953027512,
    )
)


def exact_sine(angle: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sin(angle)`` to about 1e-6, with the same bits on every machine.

    ``numpy.sin`` picks an implementation by processor, and those differ in the last bits. Sums, products and
    roundings are exact by IEEE 754, so a polynomial made of them is the same everywhere.
    """
    turns = angle * np.float32(0.5 / np.pi)
    square = np.rint(turns)
    turns -= square
    # |sin| is a cosine about a quarter of a turn. Few arrays, each used again while it is in the cache.
    np.abs(turns, out=square)
    square -= np.float32(0.25)
    square *= square
    value: NDArray[np.float32] = square * _COSINE_COEFFICIENTS[0]
    value += _COSINE_COEFFICIENTS[1]
    for coefficient in _COSINE_COEFFICIENTS[2:]:
        value *= square
        value += coefficient
    np.copysign(value, turns, out=value)
    return value


class SineEpisode(Episode):
    """Episodes of :class:`SineTask`, whose inputs are put together when they are asked for.

    Eleven of twelve numbers of an episode are one-hot indices; writing them all out takes longer than drawing the rest.

    Args:
        points: ``(E, T + Q, B)`` float32, what the functions are evaluated at.
        targets: ``(E, T + Q, B, 1)`` float32.
        tasks: ``(E, T + Q)`` int64, the function of every step.
        support_steps: ``T``.
        functions: how many there are in an episode.
    """

    def __init__(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        tasks: NDArray[np.int64],
        support_steps: int,
        functions: int,
    ) -> None:
        # The inputs of a whole minibatch but for its points, for every function.
        one_hot = np.zeros((functions, points.shape[-1], functions + 1), np.float32)
        one_hot[np.arange(functions), :, np.arange(functions)] = 1.0
        arrays = {
            "support_y": targets[:, :support_steps],
            "support_task": tasks[:, :support_steps],
            "query_y": targets[:, support_steps:],
            "query_task": tasks[:, support_steps:],
        }
        # Episodes are frozen; this is their construction.
        vars(self).update(_points=points, _tasks=tasks, _one_hot=one_hot, _split=support_steps, **arrays)

    _points: NDArray[np.float32]
    _tasks: NDArray[np.int64]
    _one_hot: NDArray[np.float32]
    _split: int

    def _inputs(self, steps: slice | int) -> NDArray[np.float32]:
        inputs: NDArray[np.float32] = self._one_hot.take(self._tasks[:, steps], axis=0)
        inputs[..., -1] = self._points[:, steps]
        return inputs

    @property
    def support_steps(self) -> int:
        return self._split

    @cached_property
    def support_x(self) -> NDArray[np.float32]:
        return self._inputs(slice(None, self._split))

    @cached_property
    def query_x(self) -> NDArray[np.float32]:
        return self._inputs(slice(self._split, None))

    def input_at(self, step: int) -> NDArray[np.float32]:
        return self._inputs(step)


class SineTask(ShowsOptions):
    """Draws episodes of the incremental sine-wave regression problem.

    An episode holds ``num_functions`` functions ``A sin(x + phi)``, drawn without replacement from the split's fixed
    pool; each is taught in ``steps_per_function`` minibatches of ``batch_size`` pairs, every pair seen once. An input
    is the one-hot index of the function, then ``x ~ U[-5, 5]``; a target is one number.

    Args:
        split: "meta-train", "meta-val" or "meta-test": which fixed pool of functions to draw from.
        num_functions: functions in an episode.
        steps_per_function: support minibatches for each function.
        batch_size: pairs in a minibatch.
        query_size: query pairs for each function, a multiple of ``batch_size``.
        function_pool_size: functions in the pool; by default 400 to meta-train, 1,000 each to meta-val and to
            meta-test.
        max_amplitude: amplitudes are drawn from U[0.1, max_amplitude]; the released code's is 5.1, the paper's 5.
        interleaving: 0 teaches function after function (continual), 1 mixes the minibatches fully (i.i.d.); see
            :func:`flp_envs.sampling.mixed_order`.

    Raises:
        InvalidChoice: for an unknown split.
        InvalidSize: for impossible sizes, such as more functions than the pool holds.
    """

    scoring: Scoring = SquaredError()
    minibatches = True

    def __init__(
        self,
        split: str = "meta-train",
        *,
        num_functions: int = 10,
        steps_per_function: int = 40,
        batch_size: int = 32,
        query_size: int = 32,
        function_pool_size: int | None = None,
        max_amplitude: float = 5.0,
        interleaving: float = 0.0,
    ) -> None:
        self.split = check_choice("split", split, POOL_SEEDS)
        self.num_functions = check_at_least("num_functions", num_functions, 1)
        self.steps_per_function = check_at_least("steps_per_function", steps_per_function, 1)
        self.batch_size = check_at_least("batch_size", batch_size, 1)
        self.query_size = check_at_least("query_size", query_size, 1)
        pool_size = POOL_SIZES[split] if function_pool_size is None else function_pool_size
        self.function_pool_size = check_at_least("function_pool_size", pool_size, 1)
        if self.function_pool_size > LARGEST_POOL:
            raise InvalidSize(f"function_pool_size must be at most {LARGEST_POOL}, got {self.function_pool_size}")
        if self.num_functions > self.function_pool_size:
            raise InvalidSize(
                f"num_functions must be at most the function pool's size, {self.function_pool_size}, "
                f"got {self.num_functions}: lower num_functions or raise function_pool_size"
            )
        if self.query_size % self.batch_size:
            raise InvalidSize(f"query_size must be a multiple of batch_size, {self.batch_size}, got {self.query_size}")
        self.interleaving = check_interleaving(interleaving)
        if isinstance(max_amplitude, str) or not MIN_AMPLITUDE < max_amplitude <= LARGEST_AMPLITUDE:
            raise InvalidSize(
                f"max_amplitude must be a number above {MIN_AMPLITUDE} and at most {LARGEST_AMPLITUDE:g}, "
                f"got {max_amplitude!r}"
            )
        self.max_amplitude = float(max_amplitude)

        pool_rng = np.random.Generator(np.random.PCG64(POOL_SEEDS[split]))
        unit = pool_rng.random((self.function_pool_size, 2))
        self.amplitudes = _scale(unit[:, 0], (MIN_AMPLITUDE, self.max_amplitude))
        self.phases = _scale(unit[:, 1], PHASE_RANGE)

        inputs = self.num_functions + 1
        # Points and targets, and the one-hot inputs of every function; as much again for the spaces' bounds.
        steps, of_a_step = self.support_steps + self.query_steps, 4 * self.batch_size * inputs
        self._episode_bytes = steps * (8 * self.batch_size + 8)
        check_fits(
            f"an episode of {steps} steps of {self.batch_size} pairs of {inputs} numbers",
            self._episode_bytes + of_a_step * (self.num_functions + 6),
            "lower num_functions, steps_per_function, batch_size or query_size",
        )
        low = np.zeros((self.batch_size, inputs), np.float32)
        high = np.ones((self.batch_size, inputs), np.float32)
        low[:, -1], high[:, -1] = -INPUT_LIMIT, INPUT_LIMIT
        self.input_space: spaces.Space[Any] = spaces.Box(low, high, dtype=np.float32)
        limit = self.max_amplitude
        self.target_space: spaces.Space[Any] = spaces.Box(-limit, limit, (self.batch_size, 1), np.float32)
        # Early answers of a learner overshoot the targets, so answers get twice their range.
        self.answer_space: spaces.Space[Any] = spaces.Box(-2 * limit, 2 * limit, (self.batch_size, 1), np.float32)

    @property
    def support_steps(self) -> int:
        """Support minibatches in an episode, ``T``."""
        return self.num_functions * self.steps_per_function

    @property
    def query_steps(self) -> int:
        """Query minibatches in an episode, ``Q``."""
        return self.num_functions * (self.query_size // self.batch_size)

    def sample(self, rng: np.random.Generator | Sequence[np.random.Generator], n: int = 1) -> Episode:
        """Draws ``n`` episodes one after another, so that ``sample(rng, 2)`` is two calls of ``sample(rng)``.

        Args:
            rng: where all randomness comes from; or several, of which each draws one episode.
            n: how many from a single ``rng``.

        Returns:
            The episodes; ``input`` is ``(num_functions + 1,)`` and ``target`` is ``(1,)``, float32.
        """
        rngs = generators_of(rng, n, self._episode_bytes)
        support, total, batch = self.support_steps, self.support_steps + self.query_steps, self.batch_size
        # Time comes first in memory: a vector env reads one step of all episodes at a time. One array for both: above
        # 4 MiB numpy asks for huge pages, which are much cheaper to get.
        points, y = np.empty((2, total, len(rngs), batch), np.float32).swapaxes(1, 2)
        task = np.empty((total, len(rngs)), np.int64).swapaxes(0, 1)
        task[:, support:] = np.repeat(np.arange(self.num_functions), self.query_size // batch)
        blocks = np.repeat(np.arange(self.num_functions), self.steps_per_function)
        for i, generator in enumerate(rngs):
            functions = choose_distinct(generator, self.num_functions, self.function_pool_size)
            task[i, :support] = blocks[mixed_order(generator, support, self.interleaving)]
            x = generator.random((total, batch), dtype=np.float32)
            x *= np.float32(2 * INPUT_LIMIT)
            x -= np.float32(INPUT_LIMIT)
            points[i] = x
            chosen = functions[task[i]]
            values = exact_sine(x + self.phases[chosen, None])
            np.multiply(values, self.amplitudes[chosen, None], out=y[i])
        return SineEpisode(points, y[..., None], task, support, self.num_functions)

    def first_lifetimes(self, steps_per_task: int, num_classes: int) -> dict[str, Any]:
        """Options for shorter lifetimes; see :func:`flp_envs.task.first_lifetimes_of`."""
        return {"steps_per_function": steps_per_task}

    def make_renderer(self) -> Renderer:
        """Draws one panel for each function; needs matplotlib."""
        from flp_envs.rendering import SineRenderer

        return SineRenderer()


def _scale(unit: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.float32]:
    return (limits[0] + unit * (limits[1] - limits[0])).astype(np.float32)
