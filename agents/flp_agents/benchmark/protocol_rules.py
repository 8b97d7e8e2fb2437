"""The rules of the episode protocol, each as a test of one learner in one environment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flp_agents.benchmark import entries
from flp_agents.benchmark.cell import PRECISION
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.querying import run_and_query
from flp_agents.lifetime.running import EpisodeTensors
from flp_base.errors import FLPError
from flp_envs.episode import Episode
from flp_envs.recording import draw_episodes, seed_env

LIFETIMES = 3
SEED = 12_345
# Rounding, which lifetimes alone and in a batch may have of their own, is far below; what is wrong is far above.
TOLERANCE = 1e-6

Predictions = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """One rule, and whether a learner keeps it.

    Attributes:
        check: the rule.
        env: where it was tried.
        passed: whether it was kept.
        words: what is wrong, and what to do.
    """

    check: str
    env: str
    passed: bool
    words: str = ""


class SpacesOnly:
    """Stands for an environment where a learner is built: shows its spaces, and notes what is looked at behind them.

    Attributes:
        looked_at: what was asked for that no learner may see, such as the episode.
    """

    ALLOWED = frozenset(
        {"observation_space", "action_space", "single_observation_space", "single_action_space", "spec", "metadata"}
    )

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self._env = env
        self.looked_at: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name not in self.ALLOWED and not name.startswith("__"):
            self.looked_at.append(name)
        return getattr(self._env, name)


class Examination:
    """One learner in one environment."""

    def __init__(self, name: str, env_id: str, env: gym.Env[Any, Any]) -> None:
        self.name, self.env_id, self.env = name, env_id, env
        seed_env(env, SEED)
        self.episode = draw_episodes(env, LIFETIMES)
        self.others = draw_episodes(env, LIFETIMES)

    def findings(self) -> list[Finding]:
        """All of them; a learner that cannot run at all, or never predicts alike, is tried no further."""
        rules: tuple[tuple[str, Callable[[], str]], ...] = (
            ("forgets everything when a new lifetime begins", self._forgets),
            ("looks at observations alone", self._looks_at_observations_alone),
            ("predicts the same alone and beside other lifetimes", self._ignores_neighbours),
            ("predicts before it sees what comes later", self._does_not_foresee),
            ("does not learn from queries", self._does_not_learn_from_queries),
        )
        findings = [self._try("predicts for every input, in the right shape, with numbers", self._predicts)]
        if findings[-1].passed:
            findings.append(self._try("predicts the same again under the same seed", self._repeats))
        if findings[-1].passed:
            findings += [self._try(rule, test) for rule, test in rules]
        return findings

    def _try(self, rule: str, test: Callable[[], str]) -> Finding:
        try:
            words = test()
        except FLPError as error:
            words = str(error)
        except (Exception, SystemExit) as error:
            words = f"raises {type(error).__name__}: {error}"
        return Finding(rule, self.env_id, not words, " ".join(words.split()))

    def _build(self, env: Any = None) -> Learner[Any]:
        learner = entries.build_entry(self.name, self.env if env is None else env, SEED).learner
        return learner.to(PRECISION).eval()

    def _predicts(self) -> str:
        support, query = predictions_of(self._build(), self.episode)
        for what, predictions in (("support", support), ("query", query)):
            if not np.isfinite(predictions).all():
                step = int(np.argwhere(~np.isfinite(predictions))[0, 1])
                advice = "smaller steps, or clipped ones, may keep it finite"
                return f"predicts NaN or infinity at {what} step {step}: {advice}"
        return ""

    def _looks_at_observations_alone(self) -> str:
        env = SpacesOnly(self.env)
        predictions_of(self._build(env), self.episode)
        if env.looked_at:
            return (
                f"looks at {', '.join(sorted(set(env.looked_at)))} of the environment that it is built for: all that "
                "it may know are the spaces, and what observations show"
            )
        return ""

    def _forgets(self) -> str:
        learner = self._build()
        before = predictions_of(learner, self.episode)
        predictions_of(learner, self.others)
        return _difference(
            before,
            predictions_of(learner, self.episode),
            "predictions differ after it has run through other episodes: reset() leaves "
            "something behind, or something is kept outside the lifetime's state",
        )

    def _repeats(self) -> str:
        outcomes = []
        for number in (1, 1, 2):
            with _global_seeds(number):
                outcomes.append(predictions_of(self._build(), self.episode))
        first, again, otherwise = outcomes
        return _difference(
            first,
            again,
            "predictions differ from one lifetime to the next, with the same episode, seed and random numbers: reset() "
            "leaves something behind, something is kept outside the lifetime's state, or in a class or a module",
        ) or _difference(
            first,
            otherwise,
            "predictions depend on NumPy's, torch's or Python's global random numbers: draw from a generator of its "
            "own, made from the seed that it is built with",
        )

    def _ignores_neighbours(self) -> str:
        learner = self._build()
        together = predictions_of(learner, self.episode)
        alone = [predictions_of(learner, self.episode[i : i + 1]) for i in range(LIFETIMES)]
        apart = tuple(np.concatenate([predictions[part] for predictions in alone]) for part in (0, 1))
        return _difference(
            together,
            (apart[0], apart[1]),
            "a lifetime's predictions depend on which other lifetimes run beside it: something is "
            "shared between them, or averaged over them",
        )

    def _does_not_foresee(self) -> str:
        learner = self._build()
        half = self.episode.support_steps // 2
        episode, others = self.episode, self.others
        changed = Episode(
            _with_end(episode.support_x, others.support_x, half + 1),
            _with_end(episode.support_y, others.support_y, half),
            episode.support_task,
            episode.query_x,
            episode.query_y,
            episode.query_task,
        )
        before, after = (predictions_of(learner, episode)[0][:, : half + 1] for episode in (self.episode, changed))
        return _difference(
            (before, before),
            (after, after),
            f"its first {half + 1} predictions change with inputs or targets that come later: it "
            "looks ahead, or treats a lifetime's inputs together",
        )

    def _does_not_learn_from_queries(self) -> str:
        learner = self._build()
        return _difference(
            predictions_of(learner, self.episode),
            predictions_of(learner, self.episode, query_at=self.episode.support_steps // 2),
            "later predictions change when it is queried in the middle of a lifetime: predict() must not learn",
        )


@torch.no_grad()
def predictions_of(
    learner: Learner[Any], episode: Episode, query_at: int | None = None
) -> tuple[Predictions, Predictions]:
    """All predictions of ``E`` lifetimes, as the environment takes them.

    Args:
        learner: runs through them.
        episode: ``E`` episodes.
        query_at: a number of support steps after which it is queried once too often.

    Returns:
        ``(E, T, ...)`` of support steps and ``(E, Q, ...)`` of the query.
    """
    tensors = EpisodeTensors.of(learner, episode)
    predictions: list[Tensor] = []
    moments = [*([query_at] if query_at else []), episode.support_steps]
    *_, last = (queried.predictions for queried in run_and_query(learner, tensors, moments, predictions.append))
    if last.shape != tensors.query_y.shape:
        raise FLPError(f"expected predictions of shape {tuple(tensors.query_y.shape)}, got {tuple(last.shape)}")
    return torch.stack(predictions, 1).double().numpy(), last.double().numpy()


def _with_end(values: NDArray[Any], others: NDArray[Any], start: int) -> NDArray[Any]:
    return np.concatenate([values[:, :start], others[:, start:]], axis=1)


def _difference(a: tuple[Predictions, Predictions], b: tuple[Predictions, Predictions], words: str) -> str:
    for one, other in zip(a, b, strict=True):
        scale = max(1.0, float(np.abs(one).max(initial=0.0)))
        if one.shape != other.shape or not np.abs(one - other).max(initial=0.0) <= TOLERANCE * scale:
            return words
    return ""


@contextmanager
def _global_seeds(number: int) -> Iterator[None]:
    """Another state of the global random generators, on which no learner may depend."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
