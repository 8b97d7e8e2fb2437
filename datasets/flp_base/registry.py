"""Registries: named things of one kind, those of these packages and those that users bring.

Whatever offers a choice of names (the command line, presets, checkpoints, the benchmark, tests) reads a registry; there
is no second list of the same names. To add an entry, decorate it with the registry's :meth:`Registry.register` in a
file of your own, which ``--plugin`` names, or in a new file of the package that the registry discovers.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from flp_base.errors import FLPError, FLPWarning, InvalidChoice

#: The packages of this project.
OWN_PACKAGES = ("flp_base", "flp_datasets", "flp_envs", "flp_agents")

Thing = TypeVar("Thing")
Other = TypeVar("Other")


class RegistryError(FLPError, ValueError):
    """A thing that cannot be registered, or an entry point that brings none."""


class Registry(Mapping[str, Thing], Generic[Thing]):
    """Things of one kind by name.

    Args:
        kind: what they are, in the singular, for messages: "plasticity rule".
        package: whose modules register things when they are imported; all are imported at the first look-up. None: who
            registers is imported by others.
        entry_points: the group by which installed packages bring such things. They are imported when they are asked
            for.
        check: raises :class:`RegistryError` for a thing that is not of this kind; called with its name and it.
        advice: added to the error for an unknown name.
        made_by: the class or function that says where a thing comes from; none: the thing itself.
    """

    #: Every registry of this process.
    every: list[Registry[Any]] = []  # noqa: RUF012

    def __init__(
        self,
        kind: str,
        *,
        package: str = "",
        entry_points: str = "",
        check: Callable[[str, Any], None] = lambda name, thing: None,
        advice: str = "",
        made_by: Callable[[Any], Any] = lambda thing: thing,
    ) -> None:
        self.kind, self._advice = kind, advice
        self._package, self._group, self._check, self.made_by = package, entry_points, check, made_by
        self._things: dict[str, Thing] = {}
        self._of_users: set[str] = set()
        Registry.every.append(self)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self)})"

    def register(self, name: str) -> Callable[[Other], Other]:
        """Makes a thing known by a name, as a decorator of it.

        A module that is imported once more, as notebooks do, may register the same thing again.

        Raises:
            RegistryError: if another thing has this name, or if it is not of this kind.
        """

        def register(thing: Other) -> Other:
            self.add(name, thing)
            return thing

        return register

    def add(self, name: str, thing: Any, *, of_user: bool = False) -> None:
        """Makes a thing known by a name.

        Args:
            name: of the thing.
            thing: it.
            of_user: whether a user brings it, even if it is of these packages.

        Raises:
            RegistryError: see :meth:`register`.
        """
        if not isinstance(name, str) or not name:
            raise RegistryError(f"a {self.kind} is registered by its name, got {name!r}")
        self._check(name, thing)
        if not self._package or not self._origin(thing)[0].startswith(f"{self._package}."):
            self.discover()  # so that no built-in name is taken
        earlier = self._things.get(name)
        if earlier is not None and self._origin(earlier) != self._origin(thing):
            raise RegistryError(
                f"another {self.kind} is registered as {name!r} already, by {self._origin(earlier)[0]}: choose another "
                "name"
            )
        self._things[name] = thing
        if of_user:
            self._of_users.add(name)

    def __getitem__(self, name: str) -> Thing:
        """The thing of a name.

        Raises:
            InvalidChoice: for an unknown name, naming the nearest.
            RegistryError: if it is an entry point that fails.
        """
        if name not in self._things:
            self.discover()
        if name not in self._things:
            self._load(name)
        return self._things[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The thing of a name, or a default for an unknown one.

        Raises:
            RegistryError: if it is an entry point that fails.
        """
        try:
            return self[name]
        except InvalidChoice:
            return default

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in list(self)

    def __iter__(self) -> Iterator[str]:
        self.discover()
        return iter(dict.fromkeys([*self._things, *self._points()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def name_of(self, thing: Any) -> str | None:
        """The name that a thing is registered by, or none."""
        self.discover()
        return next((name for name, known in self._things.items() if known is thing), None)

    def built_in(self) -> list[str]:
        """The names of what these packages bring themselves."""
        self.discover()
        return [name for name in self._things if self.is_built_in(name)]

    def is_built_in(self, name: str) -> bool:
        """Whether these packages bring the thing of a name themselves."""
        self.discover()
        return name in self._things and self._is_own(name, self._things[name])

    def brought(self) -> list[str]:
        """The names of what users bring."""
        return [name for name in self if not self.is_built_in(name)]

    def load_all(self) -> None:
        """Imports all entry points; those that fail are left out, with a warning each."""
        for name in self._points():
            try:
                self[name]
            except RegistryError as error:
                warnings.warn(str(error), FLPWarning, stacklevel=2)

    def discover(self) -> None:
        """Imports the modules of the registry's package, which register what they have; once."""
        package, self._package = self._package, ""
        if package:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")

    def forget(self, *names: str) -> None:
        """Takes things out, as if they had not been registered; unknown names are ignored."""
        for name in names:
            self._things.pop(name, None)
            self._of_users.discard(name)

    def of_users(self) -> dict[str, Thing]:
        """What users have registered so far, entry points that were not asked for left out."""
        return {name: thing for name, thing in self._things.items() if not self._is_own(name, thing)}

    def snapshot(self) -> dict[str, Thing]:
        """What is registered now, for :meth:`restore`."""
        return dict(self._things)

    def restore(self, things: Mapping[str, Thing]) -> None:
        """Forgets what users registered since :meth:`snapshot`.

        What these packages bring themselves stays: its modules are imported once, whoever needs them first.
        """
        kept = {name: thing for name, thing in self._things.items() if self._is_own(name, thing)}
        self._of_users &= things.keys()
        self._things.clear()
        self._things.update({**kept, **things})

    def _is_own(self, name: str, thing: Thing) -> bool:
        return name not in self._of_users and self._origin(thing)[0].split(".")[0] in OWN_PACKAGES

    def _origin(self, thing: Any) -> tuple[str, str]:
        return origin(self.made_by(thing))

    def _points(self) -> dict[str, importlib.metadata.EntryPoint]:
        if not self._group:
            return {}
        return {point.name: point for point in importlib.metadata.entry_points(group=self._group)}

    def _load(self, name: str) -> None:
        point = self._points().get(name)
        if point is None:
            raise InvalidChoice(self.kind, name, self, self._advice)
        try:
            thing = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            raise RegistryError(f"the entry point {name} = {point.value} fails: {reason}") from None
        if name not in self._things:  # importing it may have registered it
            self.add(name, thing)


def origin(thing: Any) -> tuple[str, str]:
    """Module and name of a class, function or object, the same each time that its module is imported."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return own_module(thing), str(getattr(thing, "__qualname__", getattr(thing, "name", named.__qualname__)))


def own_module(thing: Any) -> str:
    """The module that a thing was defined in; a script that is run has the name that it would be imported by."""
    module = str(getattr(thing, "__module__", ""))
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return str(spec.name) if spec is not None else Path(file).stem if file else module
