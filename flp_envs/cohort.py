"""Envs of a vector env whose episodes began together, and arrays of some envs as arrays of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flp_envs.episode import Episode
from flp_envs.stream import Observation, Stream

Info = dict[str, NDArray[Any]]


class Cohort:
    """Envs whose episodes began together, and how far these have come.

    Args:
        envs: their numbers, ``(n,)``, ascending.
        episode: theirs.
        stream: of that episode.
        rows: which of the episode's lifetimes are theirs; none: all.
        step: which comes next.
    """

    def __init__(
        self,
        envs: NDArray[np.int64],
        episode: Episode,
        stream: Stream,
        rows: NDArray[np.int64] | None = None,
        step: int = 0,
    ) -> None:
        self.envs, self.episode, self.stream, self.step = envs, episode, stream, step
        self._rows = rows

    def __repr__(self) -> str:
        return f"Cohort({len(self.envs)} envs, step {self.step} of {self.stream.steps})"

    @property
    def over(self) -> bool:
        """Whether the last step is done."""
        return self.step == self.stream.steps

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Their rows of an array whose first axis is the episode's lifetimes."""
        return values if self._rows is None else values[self._rows]

    def observe(self) -> Observation:
        """What they see now."""
        stream, step, n = self.stream, self.step, len(self.envs)
        return {
            "x": self.of(stream.x(step)),
            "y": self.of(stream.shown_target(step)),
            "has_target": np.full(n, stream.has_target(step), np.int64),
            "phase": np.full(n, stream.phase(step), np.int64),
        }

    def without(self, envs: NDArray[np.int64]) -> Cohort:
        """Those of them that are not among ``envs``."""
        stay = ~np.isin(self.envs, envs)
        if stay.all():
            return self
        rows = np.flatnonzero(stay) if self._rows is None else self._rows[stay]
        return Cohort(self.envs[stay], self.episode, self.stream, rows, self.step)


def envs_of(cohorts: Iterable[Cohort]) -> NDArray[np.int64]:
    return np.sort(np.concatenate([cohort.envs for cohort in cohorts]))


def gather(num_envs: int, parts: Sequence[tuple[NDArray[np.int64], NDArray[Any]]]) -> NDArray[Any]:
    """Arrays of some envs each as one of all envs, zeros where there is none."""
    if len(parts) == 1 and len(parts[0][0]) == num_envs:
        return parts[0][1]
    first = parts[0][1]
    gathered = np.zeros((num_envs, *first.shape[1:]), first.dtype)
    for envs, values in parts:
        gathered[envs] = values
    return gathered


def mask_of(num_envs: int, envs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``(num_envs,)``, true for some of them."""
    mask = np.zeros(num_envs, np.bool_)
    mask[envs] = True
    return mask


def merge(num_envs: int, infos: Sequence[tuple[Cohort, Info]]) -> dict[str, Any]:
    """Infos of some cohorts as arrays over all envs, zeros for the others, with masks of which envs they are of."""
    if not infos:
        return {}
    mask = mask_of(num_envs, envs_of(cohort for cohort, _ in infos))
    merged: dict[str, Any] = {}
    for name in infos[0][1]:
        merged |= {name: gather(num_envs, [(c.envs, values[name]) for c, values in infos]), f"_{name}": mask}
    return merged
