"""Many episodes at once, from the same sampler as the single env, array for array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from flp_base.errors import InvalidChoice, InvalidSize, check_at_least, check_seed
from flp_base.machine_memory import check_fits
from flp_envs.cohort import Cohort, envs_of, gather, mask_of, merge
from flp_envs.episode import Episode
from flp_envs.scoring import plain_numbers
from flp_envs.stream import QUERY, Observation, Stream, observation_space
from flp_envs.task import Task

# About what a generator of NumPy's takes, with its seed.
BYTES_OF_A_GENERATOR = 700
# The arrays of an observation.
SHOWN = ("x", "y", "has_target", "phase")


class OnlineLearningVectorEnv(gym.vector.VectorEnv[Observation, NDArray[Any], Any]):
    """``num_envs`` lifetimes of equal length side by side; see :class:`flp_envs.online_env.OnlineLearningEnv`.

    Every array gains a leading axis of ``num_envs``. It behaves as ``gymnasium.vector.SyncVectorEnv`` over as many
    single envs does. ``reset(seed=s)`` gives env ``i`` the seed ``s + i``, so it streams what the single env streams
    after ``reset(seed=s + i)``; ``np_random_seed`` and ``np_random`` hold one entry for each env. Episodes that begin
    together end together. ``reset(options={"reset_mask": mask})`` begins new ones in some envs and leaves the others
    where they are.

    Args:
        task: what to draw episodes from.
        num_envs: how many.
        autoreset_mode: what follows the last step of an episode, one of Gymnasium's ``AutoresetMode``. ``NEXT_STEP``:
            the step after it begins a new episode and ignores the env's action. ``SAME_STEP``: a new episode begins
            at once, and the last observation and info are in ``info["final_obs"]`` and ``info["final_info"]``.
            ``DISABLED``: the env must be reset before the next step.

    Raises:
        InvalidSize: unless ``num_envs`` is a whole number of at least 1.
        TooMuchMemory: for more than fit into memory.
        InvalidChoice: for an unknown ``autoreset_mode``.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: Task,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if render_mode is not None:
            raise InvalidSize(
                "the vector env does not render: use gym.make, or gym.make_vec with vectorization_mode='sync', and "
                "render_mode='rgb_array'"
            )
        self.task = task
        self.num_envs = check_at_least("num_envs", num_envs, 1)
        shown = (task.input_space, task.target_space, task.answer_space)
        of_spaces = sum(10 * math.prod(space.shape or (1,)) for space in shown)
        steps = task.support_steps + task.query_steps
        check_fits(
            f"{self.num_envs} envs of {steps} steps",
            self.num_envs * (BYTES_OF_A_GENERATOR + of_spaces + steps),
            "use fewer envs",
        )
        try:
            self._autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            raise InvalidChoice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode]) from None
        self.metadata = {**self.metadata, "autoreset_mode": self._autoreset_mode}  # type: ignore[misc]
        self.single_observation_space = observation_space(task)
        self.single_action_space = task.answer_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._shape: tuple[int, ...] = self.action_space.shape or ()
        self._rngs: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._cohorts: list[Cohort] = []

    @property
    def episode(self) -> Episode:
        """The episodes under way, ``E = num_envs``."""
        self._require_reset()
        if len(self._cohorts) == 1:
            return self._cohorts[0].episode
        names = [field.name for field in fields(Episode)]
        parts = {name: [(c.envs, c.of(getattr(c.episode, name))) for c in self._cohorts] for name in names}
        return Episode(**{name: gather(self.num_envs, of_name) for name, of_name in parts.items()})

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of every env."""
        self._seed([None] * self.num_envs)
        return tuple(self._rngs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of every env: the one that it was given, or the random one that it chose without one."""
        self._seed([None] * self.num_envs)
        return tuple(self._seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins a new episode in every env, or in some of them.

        Args:
            seed: whole numbers, Python's or NumPy's: one, which env ``i`` adds ``i`` to; or one for each env, of which
                None leaves an env's stream where it is.
            options: ``reset_mask``, ``(num_envs,)`` bool: true for the envs that begin a new episode; the others, and
                their seeds, stay as they are.

        Raises:
            InvalidSize: for seeds that are no whole numbers of at least 0, a list of seeds of another length than
                ``num_envs``, or a mask of another kind or without a true value.
            ResetNeeded: for a mask with false values before the first ``reset``.
        """
        seeds = self._check_seeds(seed)
        mask = self._check_mask((options or {}).get("reset_mask"))
        self._seed([number if begins else None for number, begins in zip(seeds, mask, strict=True)])
        self._begin(np.flatnonzero(mask))
        return self._observe(), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Takes the answers ``(num_envs, B, *target)`` of all envs.

        Raises:
            InvalidAction: if they have the wrong shape, or are not finite. Nothing has changed then.
            ResetNeeded: before the first ``reset``; with ``AutoresetMode.DISABLED`` also if an env's episode is over.
        """
        self._require_reset()
        if len(self._cohorts) == 1 and not self._cohorts[0].over:
            return self._step_together(self._cohorts[0], actions)
        over = [cohort for cohort in self._cohorts if cohort.over]
        if over and self._autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"the episode of env {', '.join(map(str, envs_of(over)))} is over: call reset(options={{'reset_mask': "
                "...}) for it before the next step()"
            )
        playing = [cohort for cohort in self._cohorts if not cohort.over]
        rewards, ended = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        infos = []
        if playing:
            answers = self._check_answers(actions, over)
            # All of them before any env moves on: a wrong answer changes nothing.
            infos = [self._score(cohort, answers[cohort.envs]) for cohort in playing]
        for cohort, (earned, _) in zip(playing, infos, strict=True):
            rewards[cohort.envs] = earned
            cohort.step += 1
            ended[cohort.envs] = cohort.over
        if over:
            self._begin(envs_of(over))
        info = self._inform([(cohort, of_cohort) for cohort, (_, of_cohort) in zip(playing, infos, strict=True)])
        return self._observe(), rewards, ended, np.zeros(self.num_envs, np.bool_), info

    def _step_together(
        self, cohort: Cohort, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """The same where all episodes began together, as most do: without sorting out whose is what."""
        n = self.num_envs
        rewards, infos = self._score(cohort, self.task.scoring.check(actions, self._shape))
        cohort.step += 1
        over, everyone = cohort.over, np.ones(n, np.bool_)
        if over and self._autoreset_mode is AutoresetMode.SAME_STEP:
            info = self._inform([(cohort, infos)])
        else:
            info = {**infos, **{f"_{name}": everyone for name in infos}}
        return self._observe(), rewards, np.full(n, over), np.zeros(n, np.bool_), info

    def _score(self, cohort: Cohort, answers: NDArray[Any]) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
        """What a cohort's envs earn, and their infos."""
        stream, step, scoring = cohort.stream, cohort.step, self.task.scoring
        target = cohort.of(stream.target(step))
        losses = scoring.losses(answers, target)
        is_query = stream.phase(step) == QUERY
        rewards = scoring.rewards(losses, stream.query_steps) if is_query else np.zeros(len(losses))
        info = {"loss": losses, "task": cohort.of(stream.tasks(step)), "target": target.copy()}
        if not self.task.minibatches:
            info["correct"] = losses == 0
        return rewards, info

    def _inform(self, infos: Sequence[tuple[Cohort, dict[str, NDArray[Any]]]]) -> dict[str, Any]:
        """The info of a step; in ``SAME_STEP`` also begins the episodes that follow those that ended."""
        if self._autoreset_mode is not AutoresetMode.SAME_STEP or not any(cohort.over for cohort, _ in infos):
            return merge(self.num_envs, infos)
        last = [(cohort, of_cohort) for cohort, of_cohort in infos if cohort.over]
        envs = envs_of(cohort for cohort, _ in last)
        observation = self._observe()
        # As single envs give them, whose flags are plain numbers.
        shown = np.full(self.num_envs, None, object)
        for i in envs:
            shown[i] = {
                "x": observation["x"][i],
                "y": observation["y"][i],
                "has_target": int(observation["has_target"][i]),
                "phase": int(observation["phase"][i]),
            }
        self._begin(envs)
        info = merge(self.num_envs, [(cohort, of_cohort) for cohort, of_cohort in infos if not cohort.over])
        for name, value in (("final_obs", shown), ("final_info", merge(self.num_envs, last))):
            info |= {name: value, f"_{name}": mask_of(self.num_envs, envs)}
        return info

    def _observe(self) -> Observation:
        if len(self._cohorts) == 1:
            return self._cohorts[0].observe()
        parts: list[tuple[NDArray[np.int64], Any]] = [(cohort.envs, cohort.observe()) for cohort in self._cohorts]
        gathered: Any = {name: gather(self.num_envs, [(envs, shown[name]) for envs, shown in parts]) for name in SHOWN}
        return cast("Observation", gathered)

    def _begin(self, envs: NDArray[np.int64]) -> None:
        """New episodes in some envs."""
        episode = self.task.sample([self._rngs[i] for i in envs])
        remaining = [cohort.without(envs) for cohort in self._cohorts]
        begun = Cohort(envs, episode, Stream(episode, minibatches=self.task.minibatches))
        self._cohorts = [*(cohort for cohort in remaining if len(cohort.envs)), begun]

    def _seed(self, seeds: Sequence[int | None]) -> None:
        for i, number in enumerate(seeds):
            if number is None and i < len(self._rngs):
                continue
            rng, entropy = seeding.np_random(number)
            self._rngs[i : i + 1], self._seeds[i : i + 1] = [rng], [entropy]

    def _check_seeds(self, seed: Any) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, list | tuple | range) or (isinstance(seed, np.ndarray) and seed.ndim):
            if len(seed) != self.num_envs:
                raise InvalidSize(
                    f"seed must be one number or {self.num_envs} of them, one for each env, got {len(seed)}"
                )
            return [None if number is None else check_seed(number) for number in seed]
        first = check_seed(seed)
        return [first + i for i in range(self.num_envs)]

    def _check_mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        values = np.asarray(mask)
        if values.dtype != np.bool_ or values.shape != (self.num_envs,) or not values.any():
            raise InvalidSize(
                f"reset_mask must hold {self.num_envs} truth values, one for each env and at least one of them true, "
                f"got {' '.join(str(mask).split())[:60]}"
            )
        if not values.all():
            self._require_reset()
        return values

    def _check_answers(self, actions: Any, ignored: Sequence[Cohort]) -> NDArray[Any]:
        """The answers of all envs; those of envs that begin anew do not matter."""
        if ignored:
            # What is no number is refused below, in the task's own words.
            with suppress(TypeError):
                numbers = plain_numbers(actions).copy()
                if numbers.shape[:1] == (self.num_envs,):
                    numbers[envs_of(ignored)] = 0
                    actions = numbers
        return self.task.scoring.check(actions, self._shape)

    def _require_reset(self) -> None:
        if not self._cohorts:
            raise gym.error.ResetNeeded("there is no episode yet: call reset() first")
