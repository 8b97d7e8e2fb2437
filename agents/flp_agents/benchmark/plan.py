"""What a benchmark compares: learners, environments and seeds, from the command line or a TOML file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import flp_envs
from flp_agents import registry
from flp_agents.benchmark.results import Cell
from flp_agents.plugins import load_plugins
from flp_datasets.errors import FLPError, check_at_least, check_choice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_ENVS = ("FLPSine-IID-v0", "FLPSine-Continual-v0")


class PlanError(FLPError, ValueError):
    """A benchmark that cannot be run as it is described."""


@dataclass(frozen=True)
class BenchmarkPlan:
    """Learners x environments x seeds.

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

    def cells(self) -> Iterator[Cell]:
        """All of them: seed after seed, so that a benchmark that is stopped early has compared all learners."""
        learners = self.learners or tuple(registry.built_in_names())
        seeds = range(self.seeds) if isinstance(self.seeds, int) else self.seeds
        for seed in seeds:
            for env in self.envs:
                options = self.options_of(env)
                for learner in learners:
                    weights = registry.weights_digest(learner, env, seed)
                    yield Cell(env, learner, seed, self.episodes, self.split, options, weights)

    def options_of(self, env: str) -> dict[str, Any]:
        """Keyword arguments of one environment, besides the split."""
        return {**self.env_options, **self.options_of_env.get(env, {})}

    def check(self) -> None:
        """Makes sure, before anything runs, that every learner is known and every environment can be made.

        Raises:
            FLPError: naming what is wrong; results on the split that a learner was meta-trained on are refused.
        """
        load_plugins(self.plugins)
        check_at_least("episodes", self.episodes, 2)
        for name in ("envs", "learners"):
            values = getattr(self, name)
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise PlanError(f"{name}: {twice[0]} is named twice")
        if not self.envs:
            raise PlanError("envs: expected at least one environment id")
        if isinstance(self.seeds, int):
            check_at_least("seeds", self.seeds, 1)
        elif not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise PlanError(f"seeds: expected a number of seeds, or different seeds, got {list(self.seeds)}")
        if not self.cell_minutes > 0:
            raise PlanError(f"cell_minutes must be more than 0, got {self.cell_minutes}")
        for learner in self.learners:
            registry.check_name(learner)
        for env in self.options_of_env:
            check_choice("environment with options of its own", env, self.envs)
        for env in self.envs:
            flp_envs.make(env, split=self.split, **self.options_of(env)).close()
            for learner in self.learners or registry.built_in_names():
                registry.check_split(learner, env, self.split)


def read_plan(path: Path) -> BenchmarkPlan:
    """A plan from a TOML file, whose keys are the fields of :class:`BenchmarkPlan`.

    ``[env_options]`` holds keyword arguments of all environments, ``[options_of_env."ID"]`` those of one.

    Raises:
        PlanError: naming the line that is no TOML, or the key that is unknown or has the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} is not TOML: {error}") from None
    for key in content:
        check_choice(f"key in {path}", key, [f.name for f in fields(BenchmarkPlan)])
    return BenchmarkPlan(**{key: _typed(key, value, path) for key, value in content.items()})


def _typed(key: str, value: Any, path: Path) -> Any:
    fits: dict[str, tuple[str, bool]] = {
        "learners": ("a list of names", _is_list(value, str)),
        "envs": ("a list of ids", _is_list(value, str)),
        "plugins": ("a list of files or modules", _is_list(value, str)),
        "seeds": ("a whole number, or a list of them", _is_whole(value) or (_is_list(value, int))),
        "episodes": ("a whole number", _is_whole(value)),
        "split": ("a name", isinstance(value, str)),
        "env_options": ("a table", isinstance(value, dict)),
        "options_of_env": (
            "a table of tables, one for each id",
            isinstance(value, dict) and all(isinstance(options, dict) for options in value.values()),
        ),
        "cell_minutes": ("a number", _is_whole(value) or isinstance(value, float)),
    }
    expected, right = fits[key]
    if not right:
        raise PlanError(f"{path}: {key} must be {expected}, got {value!r}")
    return tuple(value) if isinstance(value, list) else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
