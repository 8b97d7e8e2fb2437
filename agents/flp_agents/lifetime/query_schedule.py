"""After which support steps lifetimes of an environment are queried, and about how many sub-tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from flp_base.errors import FLPError
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

# Of an environment that does not say whether its sub-tasks follow one another.
EPISODES_LOOKED_AT = 8


class UnequalEpisodes(FLPError, ValueError):
    """Episodes of one environment that differ in length."""


@dataclass(frozen=True, eq=False)
class QuerySchedule:
    """When lifetimes of an environment are queried, and about what.

    Attributes:
        steps: support steps of every lifetime.
        queried_at: ``(P,)`` numbers of support steps, 0 the first and ``steps`` the last.
        sub_tasks: into which the query's losses are divided.
        in_order: whether ``queried_at`` is the initial state and the end of every sub-task, which come one after
            another.
    """

    steps: int
    queried_at: NDArray[np.int64]
    sub_tasks: int
    in_order: bool

    @classmethod
    def of_episodes(cls, episode: Episode) -> QuerySchedule:
        """As these episodes have it, which by chance may be in order."""
        ends = end_of_each_task(episode)
        sub_tasks, steps = int(episode.support_task.max()) + 1, episode.support_steps
        queried_at = np.concatenate([[0], [] if ends is None else ends]).astype(np.int64)
        schedule = cls(steps, queried_at, sub_tasks, ends is not None)
        return schedule.mixed() if ends is None else schedule

    @classmethod
    def of_env(cls, env: gym.Env[Any, Any], seed: int = 0) -> QuerySchedule:
        """A fact about an environment, not about the episodes that a seed happens to draw.

        A task says by ``interleaving`` whether its sub-tasks follow one another: 0 if they do. Of one that does not
        say, some episodes are looked at, and sub-tasks follow one another if they do so in all of these, with the same
        ends.

        Args:
            env: any that speaks the episode protocol; it is seeded, and drawn from.
            seed: of what is drawn.
        """
        said = getattr(getattr(env.unwrapped, "task", None), "interleaving", None)
        seed_env(env, seed)
        drawn = [draw_episodes(env, 1) for _ in range(EPISODES_LOOKED_AT if said is None else 1)]
        schedule = cls.of_episodes(drawn[0])
        sub_tasks = max(int(episode.support_task.max()) + 1 for episode in drawn)
        if said not in (None, 0) or not all(schedule.fits(episode) for episode in drawn) or not schedule.in_order:
            return replace(schedule, sub_tasks=sub_tasks).mixed()
        return schedule

    def fits(self, episode: Episode) -> bool:
        """Whether it is right for further episodes.

        Raises:
            UnequalEpisodes: for episodes of another length.
        """
        if episode.support_steps != self.steps:
            raise UnequalEpisodes(
                f"expected episodes of one length, got {self.steps} and {episode.support_steps} support steps"
            )
        ends = end_of_each_task(episode)
        return not self.in_order or (ends is not None and np.array_equal(ends, self.queried_at[1:]))

    def mixed(self) -> QuerySchedule:
        """As many queries, at equal distances, for sub-tasks that do not follow one another."""
        ends = np.unique(np.round(np.linspace(0, self.steps, self.sub_tasks + 1)[1:]).astype(np.int64))
        return QuerySchedule(self.steps, np.concatenate([[0], ends]), self.sub_tasks, False)


def end_of_each_task(episode: Episode) -> NDArray[np.int64] | None:
    """``(K,)`` numbers of support steps after which sub-tasks 0, 1, ... end; none unless they follow one another so in
    every episode, at the same time."""
    order = episode.support_task[0]
    if (np.diff(episode.support_task, axis=1) < 0).any() or (episode.support_task != order).any():
        return None
    return np.asarray([int(np.flatnonzero(order == task)[-1]) + 1 for task in np.unique(order)])
