"""Lifetimes of which each outer step takes a window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.running import EpisodeTensors
from flp_envs.episode import Episode


class LifetimesInProgress:
    """``E`` lifetimes, how far they are, and the state that is carried on.

    Args:
        episodes: theirs.
        window: inner steps of an outer step; none: all of them.
        drawn_from: the random state that the episodes were drawn from; none: they were given.

    Attributes:
        steps: inner steps of the lifetimes.
        position: how many of these are done.
        state: after those; none: at the beginning.
    """

    def __init__(self, episodes: Episode | EpisodeTensors, window: int | None = None, drawn_from: Any = None) -> None:
        self.episodes, self.drawn_from = episodes, drawn_from
        self.steps = episodes.support_x.shape[1] if isinstance(episodes, EpisodeTensors) else episodes.support_steps
        self.window = min(window or self.steps, self.steps)
        self.position, self.state = 0, None
        self._met_at: NDArray[np.int64] | None = None

    @property
    def whole(self) -> bool:
        """Whether one outer step takes all of their steps."""
        return self.window == self.steps

    @property
    def count(self) -> int:
        """``E``."""
        return len(self.episodes.support_y)

    def tensors(self, learner: Learner[Any]) -> EpisodeTensors:
        """The next window's support steps, with the query as of then; nothing else is put on the learner's device.

        The query as of then are its steps of those sub-tasks that at least one of the lifetimes has met by the end of
        the window; at the end of the lifetimes it is the whole query. Episodes that were given as tensors do not say
        their sub-tasks: of these it is always the whole query.
        """
        part = slice(self.position, min(self.position + self.window, self.steps))
        if isinstance(self.episodes, EpisodeTensors):
            if self.whole:
                return self.episodes
            x, y = self.episodes.support_x[:, part], self.episodes.support_y[:, part]
            return self.episodes._replace(support_x=x, support_y=y)
        return EpisodeTensors.of(learner, self.episodes if self.whole else self._part(self.episodes, part))

    def _part(self, episodes: Episode, part: slice) -> Episode:
        if self._met_at is None:
            self._met_at = _met_at(episodes)
        met = self._met_at < part.stop
        query = met if met.any() and part.stop < self.steps else slice(None)
        return Episode(
            np.stack([episodes.input_at(step) for step in range(part.start, part.stop)], 1),
            episodes.support_y[:, part],
            episodes.support_task[:, part],
            episodes.query_x[:, query],
            episodes.query_y[:, query],
            episodes.query_task[:, query],
        )

    def carry(self, state: Any) -> bool:
        """Moves to the next window with a state; returns whether there is one."""
        self.position, self.state = min(self.position + self.window, self.steps), state
        return self.position < self.steps

    def state_tensors(self) -> list[Tensor]:
        """Those of the state."""
        return pytree.tree_leaves(self.state)


def _met_at(episodes: Episode) -> NDArray[np.int64]:
    """``(Q,)`` the first support step, in any of the episodes, of the sub-task that a query step belongs to."""
    first = np.full(episodes.query_task.shape, episodes.support_steps)
    for i, tasks in enumerate(episodes.support_task):
        known, at = np.unique(tasks, return_index=True)
        place = np.searchsorted(known, episodes.query_task[i]).clip(max=len(known) - 1)
        first[i] = np.where(known[place] == episodes.query_task[i], at[place], first[i])
    earliest: NDArray[np.int64] = first.min(0)
    return earliest
