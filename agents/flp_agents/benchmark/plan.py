"""What a benchmark compares: learners, environments and seeds, from the command line or a TOML file."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.benchmark.identity import identity_of_env, identity_of_learner, identity_of_metrics
from flp_agents.benchmark.results import Cell
from flp_agents.benchmark.source_files import remember_sources
from flp_agents.support.plugins import load_plugins
from flp_base.errors import FLPError, InvalidSize, check_at_least, check_choice, check_number, in_short
from flp_base.files import UnreadableContent, parse_toml, read_bytes
from flp_datasets.roots import expand_home
from flp_envs.registration import check_options

DEFAULT_ENVS = ("FLPSine-IID-v0", "FLPSine-Continual-v0")
# Bounds that no benchmark comes near: beyond them, a number was mistyped.
MOST_CELLS, MOST_EPISODES, LARGEST_SEED, MOST_MINUTES = 1_000_000, 10_000_000, 2**31 - 1, 365 * 24 * 60.0


class PlanError(FLPError, ValueError):
    """A benchmark that cannot be run as it is described."""


@dataclass(frozen=True)
class BenchmarkPlan:
    """Learners x environments x seeds.

    However it is made, in Python, from a file or from a command line, its values are checked.

    Attributes:
        learners: names, or folders of checkpoints; none: all built-in ones.
        envs: ids.
        seeds: a number of seeds, counted from 0, or the seeds themselves.
        episodes: lifetimes in each cell.
        split: whose episodes.
        env_options: keyword arguments of the environments.
        options_of_env: further ones of single environments, by id.
        plugins: files or modules that register learners, environments or rules.
        cell_minutes: after which a cell counts as failed.

    Raises:
        PlanError: for a value of the wrong type, and for what is named twice.
        FLPError: for a number out of range, or an option that is reserved.
    """

    learners: tuple[str, ...] = ()
    envs: tuple[str, ...] = DEFAULT_ENVS
    seeds: int | tuple[int, ...] = 3
    episodes: int = 100
    split: str = "meta-test"
    env_options: Mapping[str, Any] = field(default_factory=dict)
    options_of_env: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    cell_minutes: float = 60.0

    def __post_init__(self) -> None:
        for name in ("learners", "envs", "plugins"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        if not self.envs:
            raise PlanError("envs: expected at least one environment id")
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))
        object.__setattr__(self, "episodes", _whole("episodes", self.episodes, 2, MOST_EPISODES))
        if not isinstance(self.split, str) or not self.split:
            raise PlanError(f"split must be a name, got {in_short(self.split)}")
        check_number("cell_minutes", self.cell_minutes, above=0, most=MOST_MINUTES)
        if not isinstance(self.env_options, Mapping):
            raise PlanError(f"env_options must be a table, got {in_short(self.env_options)}")
        check_options("env_options", self.env_options)
        tables = self.options_of_env
        if not isinstance(tables, Mapping) or not all(isinstance(options, Mapping) for options in tables.values()):
            raise PlanError(f"options_of_env must be a table of tables, one for each id, got {in_short(tables)}")
        for env, options in tables.items():
            check_choice("environment with options of its own", env, self.envs)
            check_options(f"options_of_env of {env}", options)

    def cells(self) -> Iterator[Cell]:
        """All of them: seed after seed, so that a benchmark that is stopped early has compared all learners.

        Raises:
            FLPError: if an environment cannot be made, or what a learner depends on cannot be read.
        """
        load_plugins(self.plugins)
        remember_sources()
        of_env = cache(lambda env: identity_of_env(self._make(env)))
        described = cache(entries.described_checkpoints)
        of_learner = cache(lambda learner, env: identity_of_learner(learner, env, described(learner, env)))
        seeds = range(self.seeds) if isinstance(self.seeds, int) else self.seeds
        for seed in seeds:
            for env in self.envs:
                options = self.options_of(env)
                for learner in self._learners():
                    depends_on = {**of_env(env), **of_learner(learner, env), **identity_of_metrics()}
                    digest = entries.weights_digest(learner, env, seed, described(learner, env))
                    yield Cell(env, learner, seed, self.episodes, self.split, options, digest, depends_on)

    @property
    def size(self) -> int:
        """The number of cells."""
        seeds = self.seeds if isinstance(self.seeds, int) else len(self.seeds)
        return seeds * len(self.envs) * len(self._learners())

    def options_of(self, env: str) -> dict[str, Any]:
        """Keyword arguments of one environment, besides the split."""
        return {**self.env_options, **self.options_of_env.get(env, {})}

    def check(self) -> None:
        """Makes sure, before anything runs, that every learner is known and every environment can be made.

        Raises:
            FLPError: naming what is wrong; results on the split that a learner was meta-trained on are refused.
        """
        load_plugins(self.plugins)
        if self.size > MOST_CELLS:
            raise InvalidSize(f"expected at most {MOST_CELLS} cells (learners x environments x seeds), got {self.size}")
        for learner in self.learners:
            entries.check_name(learner)
        for env in self.envs:
            self._make(env).close()
            for learner in self._learners():
                entries.check_split(learner, env, self.split)

    def _learners(self) -> tuple[str, ...]:
        return self.learners or tuple(entries.built_in_names())

    def _make(self, env: str) -> Any:
        return flp_envs.make(env, split=self.split, **self.options_of(env))


def read_plan(path: Path) -> BenchmarkPlan:
    """A plan from a TOML file, whose keys are the fields of :class:`BenchmarkPlan`.

    ``[env_options]`` holds keyword arguments of all environments, ``[options_of_env."ID"]`` those of one.

    Raises:
        PlanError: naming the line that is no TOML, or the key that is unknown or has the wrong type or value.
    """
    try:
        content = parse_toml(read_bytes(path))
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror}") from None
    except UnreadableContent as error:
        raise PlanError(f"{path} {error}") from None
    for key in content:
        check_choice(f"key in {path}", key, [f.name for f in fields(BenchmarkPlan)])
    try:
        return BenchmarkPlan(**content)
    except FLPError as error:
        raise PlanError(f"{path}: {error}") from None


def _names(kind: str, values: Any) -> tuple[str, ...]:
    expected = {"learners": "names", "envs": "ids", "plugins": "files or modules"}[kind]
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) and value for value in values):
        raise PlanError(f"{kind} must be a list of {expected}, got {in_short(values)}")
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise PlanError(f"{kind}: {twice[0]} is named twice")
    return tuple(expand_home(value) if value.startswith("~") else value for value in values)


def _checked_seeds(seeds: Any) -> int | tuple[int, ...]:
    if not isinstance(seeds, list | tuple):
        if not _is_whole(seeds):
            raise PlanError(f"seeds must be a whole number, or a list of them, got {in_short(seeds)}")
        return check_at_least("seeds", seeds, 1, MOST_CELLS)
    if not all(map(_is_whole, seeds)):
        raise PlanError(f"seeds must be a whole number, or a list of them, got {in_short(seeds)}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise PlanError(f"seeds: expected a number of seeds, or different seeds, got {in_short(list(seeds))}")
    return tuple(check_at_least("each of seeds", seed, 0, LARGEST_SEED) for seed in seeds)


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if not _is_whole(value):
        raise PlanError(f"{name} must be a whole number, got {in_short(value)}")
    return check_at_least(name, value, least, most)


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)
