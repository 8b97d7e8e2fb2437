"""Incremental sine waves: ten functions to be learned one after another, or mixed.

Source: section 5 of Lindsey & Litwin-Kumar (2020), after Javed & White (2019).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from flp_envs.episode import Episode
from flp_envs.errors import InvalidSize, check_at_least, check_choice

AMPLITUDE_RANGE = (0.1, 5.0)
PHASE_RANGE = (0.0, np.pi)
INPUT_LIMIT = 5.0

# Functions of a split are fixed for ever: each split's pool comes from a seed of its own.
POOL_SEEDS = {"meta-train": 20200, "meta-test": 20201}
POOL_SIZES = {"meta-train": 400, "meta-test": 1000}

# sin(pi r) = r (c0 + c1 r^2 + ...): Taylor coefficients, the highest power first; error below 1e-9 for |r| <= 1/2.
_SINE_COEFFICIENTS = (
    0.00046630280576761234,
    -0.007370430945714348,
    0.08214588661112819,
    -0.5992645293207919,
    2.550164039877345,
    -5.167712780049969,
    3.141592653589793,
)


def exact_sine(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sin(angle)`` to about 1e-9, with the same bits on every machine.

    ``numpy.sin`` picks an implementation by processor, and those differ in the last bits. Sums, products and
    roundings are exact by IEEE 754, so a polynomial made of them is the same everywhere.
    """
    remainder = angle / np.pi
    half_turns = np.rint(remainder)
    remainder -= half_turns
    square = remainder * remainder
    value = np.full_like(square, _SINE_COEFFICIENTS[0])
    for coefficient in _SINE_COEFFICIENTS[1:]:
        value *= square
        value += coefficient
    value *= remainder
    # Odd half turns flip the sign: 1 - 2 (n mod 2).
    half_turns %= 2.0
    half_turns *= -2.0
    half_turns += 1.0
    value *= half_turns
    return value


class SineTask:
    """Draws episodes of the incremental sine-wave regression problem.

    An episode holds ``num_functions`` functions ``A sin(x + phi)``, drawn without replacement from the split's fixed
    pool; each is taught in ``steps_per_function`` minibatches of ``batch_size`` pairs, every pair seen once. An input
    is the one-hot index of the function, then ``x ~ U[-5, 5]``; a target is one number.

    Args:
        split: "meta-train" or "meta-test": which fixed pool of functions to draw from.
        num_functions: functions in an episode.
        steps_per_function: support minibatches for each function.
        batch_size: pairs in a minibatch.
        query_size: query pairs for each function, a multiple of ``batch_size``.
        function_pool_size: functions in the pool; by default 400 to meta-train and 1,000 to meta-test.
        interleaving: 0 teaches function after function (continual), 1 mixes the minibatches fully (i.i.d.), and in
            between each minibatch strays from its continual position by up to that share of the episode.

    Raises:
        InvalidChoice: for an unknown split.
        InvalidSize: for impossible sizes, such as more functions than the pool holds.
    """

    metric: ClassVar[str] = "mse"

    def __init__(
        self,
        split: str = "meta-train",
        *,
        num_functions: int = 10,
        steps_per_function: int = 40,
        batch_size: int = 32,
        query_size: int = 32,
        function_pool_size: int | None = None,
        interleaving: float = 0.0,
    ) -> None:
        self.split = check_choice("split", split, POOL_SEEDS)
        self.num_functions = check_at_least("num_functions", num_functions, 1)
        self.steps_per_function = check_at_least("steps_per_function", steps_per_function, 1)
        self.batch_size = check_at_least("batch_size", batch_size, 1)
        self.query_size = check_at_least("query_size", query_size, 1)
        pool_size = POOL_SIZES[split] if function_pool_size is None else function_pool_size
        self.function_pool_size = check_at_least("function_pool_size", pool_size, 1)
        if self.num_functions > self.function_pool_size:
            raise InvalidSize(
                f"num_functions must be at most the function pool's size, {self.function_pool_size}, "
                f"got {self.num_functions}: lower num_functions or raise function_pool_size"
            )
        if self.query_size % self.batch_size:
            raise InvalidSize(
                f"query_size must be a multiple of batch_size, {self.batch_size}, got {self.query_size}"
            )
        if not 0.0 <= interleaving <= 1.0:
            raise InvalidSize(f"interleaving must lie between 0 (continual) and 1 (i.i.d.), got {interleaving!r}")
        self.interleaving = float(interleaving)

        pool_rng = np.random.Generator(np.random.PCG64(POOL_SEEDS[split]))
        unit = pool_rng.random((self.function_pool_size, 2))
        self.amplitudes: NDArray[np.float64] = AMPLITUDE_RANGE[0] + unit[:, 0] * (
            AMPLITUDE_RANGE[1] - AMPLITUDE_RANGE[0]
        )
        self.phases: NDArray[np.float64] = PHASE_RANGE[0] + unit[:, 1] * (PHASE_RANGE[1] - PHASE_RANGE[0])

        inputs = self.num_functions + 1
        low = np.zeros((self.batch_size, inputs), np.float32)
        high = np.ones((self.batch_size, inputs), np.float32)
        low[:, -1], high[:, -1] = -INPUT_LIMIT, INPUT_LIMIT
        self.input_space = spaces.Box(low, high, dtype=np.float32)
        limit = float(AMPLITUDE_RANGE[1])
        self.target_space = spaces.Box(-limit, limit, (self.batch_size, 1), np.float32)
        # Early answers of a learner overshoot the targets, so answers get twice their range.
        self.answer_space = spaces.Box(-2 * limit, 2 * limit, (self.batch_size, 1), np.float32)

    @property
    def support_steps(self) -> int:
        """Support minibatches in an episode, ``T``."""
        return self.num_functions * self.steps_per_function

    @property
    def query_steps(self) -> int:
        """Query minibatches in an episode, ``Q``."""
        return self.num_functions * (self.query_size // self.batch_size)

    def sample(self, rng: np.random.Generator, n: int = 1) -> Episode:
        """Draws ``n`` episodes one after another, so that ``sample(rng, 2)`` is two calls of ``sample(rng)``.

        Args:
            rng: where all randomness comes from.
            n: how many.

        Returns:
            The episodes; ``input`` is ``(num_functions + 1,)`` and ``target`` is ``(1,)``, float32.
        """
        support, query, batch = self.support_steps, self.query_steps, self.batch_size
        total = support + query
        x = np.zeros((n, total, batch, self.num_functions + 1), np.float32)
        y = np.empty((n, total, batch, 1), np.float32)
        task = np.empty((n, total), np.int64)
        blocks = np.repeat(np.arange(self.num_functions), self.steps_per_function)
        task[:, support:] = np.repeat(np.arange(self.num_functions), query // self.num_functions)
        steps = np.arange(total)
        for i in range(n):
            functions = rng.choice(self.function_pool_size, self.num_functions, replace=False)
            task[i, :support] = blocks[self._order(rng)]
            points = rng.random((total, batch), dtype=np.float32)
            points *= 2 * INPUT_LIMIT
            points -= INPUT_LIMIT
            x[i, steps, :, task[i]] = 1.0
            x[i, :, :, -1] = points
            chosen = functions[task[i]]
            values = exact_sine(points + self.phases[chosen, None])
            values *= self.amplitudes[chosen, None]
            y[i, :, :, 0] = values
        return Episode(x[:, :support], y[:, :support], task[:, :support], x[:, support:], y[:, support:], task[:, support:])

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Where in the continual order each support step comes from, ``(T,)``."""
        jitter = rng.random(self.support_steps)
        position = np.arange(self.support_steps) / self.support_steps
        keys = (1.0 - self.interleaving) * position + self.interleaving * jitter
        return np.argsort(keys, kind="stable")

