"""Sends learners and environments to other processes that were registered in this one, as in a notebook.

What a file or a module defines, other processes import. What was defined in a notebook, in the script that is run or
within a function, none can: it is sent as it is, by cloudpickle, whichever backend runs the processes.
"""

from __future__ import annotations

import copy
import functools
import os
import pickle
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cloudpickle
import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.learners.registered import LEARNERS
from flp_base.errors import FLPError
from flp_base.registry import Registry
from flp_envs.families.family import FAMILIES

if TYPE_CHECKING:
    from flp_agents.benchmark.plan import BenchmarkPlan


class CannotSend(FLPError, TypeError):
    """A learner or environment that exists in this process only."""


@dataclass(frozen=True)
class Brought:
    """Pickled parts of a benchmark, by name.

    Attributes:
        learners: what makes them.
        envs: Gymnasium's specifications of environments.
        by_value: the names of those that are sent with all their code.
    """

    learners: Mapping[str, bytes] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    envs: Mapping[str, bytes] = field(default_factory=dict)
    by_value: frozenset[str] = frozenset()


def pack(plan: BenchmarkPlan) -> Brought:
    """All that was registered in this process, and that no plug-in of the plan registers in another.

    Raises:
        CannotSend: naming what cannot be pickled, and why.
    """
    learners = {name: entries.brought_learner(name) for name in plan.learners}
    makers = {name: made for name, made in learners.items() if made is not None and not _of_plugin(made, plan.plugins)}
    specs = {env: gym.registry[env] for env in plan.envs if env in gym.registry and env not in flp_envs.ENV_IDS}
    by_value = [name for name, made in makers.items() if not _is_importable(made)]
    by_value += [env for env, spec in specs.items() if _is_here_only(spec)]
    others = {
        registry.kind: {name: _pickled(name, registry[name]) for name in _only_here(registry, plan.plugins)}
        for registry in _OTHERS
    }
    return Brought(
        {name: _pickled(name, made) for name, made in makers.items()},
        others,
        {env: _pickled(env, _with_creator(spec) if env in by_value else spec) for env, spec in specs.items()},
        frozenset(by_value),
    )


def unpack(brought: Brought) -> None:
    """Registers in this process what was packed in another, unless its plug-ins have done so.

    Raises:
        CannotSend: if it cannot be built here.
    """
    for name, data in brought.learners.items():
        if name in brought.by_value or name not in LEARNERS:
            LEARNERS.restore({**LEARNERS.snapshot(), name: _unpickled(name, data)})
    for registry in _OTHERS:
        for name, data in brought.others.get(registry.kind, {}).items():
            if name not in registry:
                registry.add(name, _unpickled(name, data), of_user=True)
    for name, data in brought.envs.items():
        if name in brought.by_value or name not in gym.registry:
            gym.registry[name] = _unpickled(name, data)


# What cells use besides their learner and environment.
_OTHERS: tuple[Registry[Any], ...] = (FAMILIES, RULES, METRICS)


def _only_here(registry: Registry[Any], plugins: Collection[str]) -> list[str]:
    """The names of what no plug-in registers in another process."""
    return [name for name in registry.brought() if not _of_plugin(registry.made_by(registry[name]), plugins)]


def _unpickled(name: str, data: bytes) -> Any:
    try:
        return pickle.loads(data)
    except Exception as error:
        raise CannotSend(
            f"{name} cannot be built in another process ({type(error).__name__}: {error}): define it in a file, and "
            "name that with --plugin"
        ) from None


def _pickled(name: str, thing: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps(thing))
    except Exception as error:
        raise CannotSend(
            f"{name} is defined where other processes cannot import it, and cannot be sent to them "
            f"({type(error).__name__}: {error}): define it in a file and name that with --plugin, or use one job"
        ) from None


def _of_plugin(made: Any, named: Collection[str]) -> bool:
    """Whether a plug-in that is a file or a module defines something."""
    while isinstance(made, functools.partial):
        made = made.func
    name = str(getattr(made, "__module__", ""))
    file = getattr(sys.modules.get(name), "__file__", None)
    files = [os.path.realpath(plugin) for plugin in named if plugin.endswith(".py")]
    return name != "__main__" and (name in named or (file is not None and os.path.realpath(file) in files))


def _is_importable(thing: Any) -> bool:
    """Whether another process finds it by the name of its module."""
    module = str(getattr(thing, "__module__", None))
    found: Any = sys.modules.get(module)
    if module == "__main__" or found is None:
        return False
    for name in str(getattr(thing, "__qualname__", "<none>")).split("."):
        found = getattr(found, name, None)
    return found is thing


def _is_here_only(spec: Any) -> bool:
    entry_point = spec.entry_point
    if isinstance(entry_point, str):
        return entry_point.startswith("__main__:")
    return entry_point is not None and not _is_importable(entry_point)


def _with_creator(spec: Any) -> Any:
    spec = copy.copy(spec)
    if isinstance(spec.entry_point, str):
        spec.entry_point = load_env_creator(spec.entry_point)
    return spec
