"""The registry of learners that are meta-trained, and of what users bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flp_agents.support.plugins import ADVICE
from flp_base.registry import Registry, RegistryError


def _check(name: str, builder: Any) -> None:
    if not callable(builder):
        raise RegistryError(f"expected the learner {name!r} to be a class or function that makes one, got {builder!r}")


#: Classes, or functions, that make a learner. They are called with those arguments that they have parameters for, see
#: :func:`flp_agents.training.factory.build_learner`.
LEARNERS: Registry[Callable[..., Any]] = Registry(
    "learner", package="flp_agents.learners", entry_points="flp_envs.learners", check=_check, advice=ADVICE
)
