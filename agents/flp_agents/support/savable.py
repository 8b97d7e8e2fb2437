"""Classes that a checkpoint may name: those of this package by their name, those of users as ``module:Class``."""

from __future__ import annotations

from typing import Any, TypeVar

from flp_base.registry import Registry, own_module

Class = TypeVar("Class", bound=type[Any])

SAVABLE: Registry[type[Any]] = Registry("class that checkpoints may name")


def register_class(built: Class) -> Class:
    """Makes a learner's class, or that of one of its parts, one that checkpoints may name; a decorator.

    What :func:`~flp_agents.register_learner` or :func:`~flp_agents.register_rule` decorates, if it is a class, needs
    this no more; a class whose learners are made by a function does. A learner's ``settings`` must hold all of its
    constructor's arguments.
    """
    # A class that is defined anew, as in notebooks, takes the place of the earlier one.
    SAVABLE.restore({**SAVABLE.snapshot(), class_name(built): built})
    return built


def class_name(built: type[Any]) -> str:
    """``Class`` of this package, else ``module:Class``; a script that is run has the name it would be imported by."""
    module = own_module(built)
    return built.__qualname__ if module.split(".")[0] == "flp_agents" else f"{module}:{built.__qualname__}"
