"""What users bring, from files and modules that ``--plugin`` names.

A plug-in is a Python file (``mine.py``) or module (``my_package.learners``) that is imported for what it adds to a
registry: see :class:`flp_base.registry.Registry`, whose entries are named in docs/plugins.md, and
``gymnasium.register``. A file is imported under its own name, so that an entry point such as ``"mine:MyEnv"`` finds it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from flp_agents.support.savable import SAVABLE
from flp_base.errors import FLPError
from flp_base.registry import OWN_PACKAGES, Registry

# To who names what is not registered.
ADVICE = "what is your own is brought by --plugin FILE"
# Plug-ins as they were named, in this process.
_LOADED: list[str] = []


class PluginError(FLPError, ValueError):
    """A file or package that was to bring something, and does not."""


def registered_class(name: str) -> type[Any] | None:
    """The class that a checkpoint names, see :func:`flp_agents.support.savable.class_name`, or none.

    See :func:`import_recorded`.
    """
    if name not in SAVABLE:
        for registry in Registry.every:
            registry.discover()
    if name not in SAVABLE and ":" in name:
        import_recorded(name.partition(":")[0])
    found: type[Any] | None = SAVABLE.get(name)
    return found


def loaded_plugins() -> tuple[str, ...]:
    """All that :func:`load_plugins` has imported in this process, as it was named."""
    return tuple(_LOADED)


def is_loaded(plugin: str) -> bool:
    """Whether a plug-in was imported here, by its name as others may read it."""
    return plugin in {shareable(loaded) for loaded in _LOADED} | set(_LOADED)


def load_plugins(plugins: Iterable[str]) -> None:
    """Imports files (``mine.py``) or modules (``my_package.learners``) for what they register; each once.

    Raises:
        PluginError: if one cannot be found, fails, ends Python or registers nothing. What a plug-in that failed had
            registered is forgotten.
    """
    for plugin in plugins:
        _load(plugin)
        if plugin not in _LOADED:
            _LOADED.append(plugin)


def _load(plugin: str) -> None:
    if "\0" in plugin:
        raise PluginError(f"no plug-in is named {plugin!r}: --plugin expects a Python file or the name of a module")
    name, path = (Path(plugin).stem, Path(plugin)) if plugin.endswith(".py") else (plugin, None)
    if path is not None:
        if not path.is_file():
            raise PluginError(f"no file {plugin}: --plugin expects a Python file or the name of a module")
        _check_name_is_free(name, path)
    if name in sys.modules:
        if not _may_have_registered(name):
            raise PluginError(f"{plugin} {_NOTHING}")
        return
    before, of_users, search = registered(), _of_users(), list(sys.path)
    try:
        _import(plugin, name, path)
        if of_users == _of_users():
            raise PluginError(f"{plugin} {_NOTHING}")
    except BaseException as error:
        sys.modules.pop(name, None)
        sys.path[:] = search
        restore(before)
        if isinstance(error, FLPError | KeyboardInterrupt):
            raise
        raise PluginError(f"cannot import {plugin}: {in_words(error, path)}") from None


def registered() -> tuple[dict[str, Any], ...]:
    """All that a plug-in can add to: every registry, and Gymnasium's."""
    return (dict(gym.registry), *(registry.snapshot() for registry in Registry.every))


def restore(registered: tuple[dict[str, Any], ...]) -> None:
    """Forgets what was registered since :func:`registered`."""
    environments, *things = registered
    gym.registry.clear()
    gym.registry.update(environments)
    for i, registry in enumerate(Registry.every):
        registry.restore(things[i] if i < len(things) else {})


def _of_users() -> tuple[dict[str, Any], ...]:
    return (dict(gym.registry), *(registry.of_users() for registry in list(Registry.every)))


_NOTHING = (
    "registers no learner, environment or rule, nor anything else that can be registered: decorate a class with "
    "@flp_agents.register_learner(NAME) or another of docs/plugins.md, or call gymnasium.register(ID, ...)"
)


def _import(plugin: str, name: str, path: Path | None) -> None:
    if path is None:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise PluginError(
                f"no module {plugin} on Python's search path: name a file (mine.py), or add its folder to PYTHONPATH"
            ) from None
        return
    # What lies beside it can be imported, by this process and by those that it starts; after all else, so that it
    # shadows nothing.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _check_name_is_free(name: str, path: Path) -> None:
    """Makes sure that no other module has a file's name: an import of it would get the wrong one.

    Raises:
        PluginError: if one has.
    """
    other = getattr(sys.modules.get(name), "__file__", None)
    if name not in sys.modules:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        other = spec.origin if spec is not None else None
        if spec is None:
            return
    if other is None or Path(other).resolve() != path.resolve():
        raise PluginError(
            f"{path} cannot be imported as {name}: that is another module's name"
            + (f" ({other})" if other else "")
            + ": rename the file"
        )


def _may_have_registered(name: str) -> bool:
    """Whether a module that is imported already may be a plug-in: it knows of what things are registered with."""
    known = [getattr(value, "__name__", "") for value in vars(sys.modules[name]).values() if inspect.ismodule(value)]
    known += [str(getattr(value, "__module__", "")) for value in vars(sys.modules[name]).values()]
    return any(module.partition(".")[0] in ("gymnasium", *OWN_PACKAGES) for module in known)


def in_words(error: BaseException, path: Path | None = None) -> str:
    """What a user's code raised, and where in a file of theirs."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path is not None and Path(frame.filename) == path.resolve()
    ]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"


def import_recorded(module: str) -> None:
    """Imports a module that a checkpoint names, if Python finds it by itself.

    What the user has installed or put on Python's search path may be imported, as ``gymnasium.make("module:Id-v0")``
    does. A file is never executed because a checkpoint names it, nor is anything of the standard library.

    Raises:
        PluginError: if importing it fails.
    """
    parts = module.split(".")
    if module in sys.modules or parts[0] in sys.stdlib_module_names or not all(part.isidentifier() for part in parts):
        return
    if "__main__" in parts or importlib.util.find_spec(parts[0]) is None:
        return
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"cannot import {module}, which a checkpoint names: {in_words(error)}") from None


def recorded_env(env_id: str, plugins: Iterable[str]) -> str:
    """The id of an environment that something saved names, known to Gymnasium.

    Args:
        env_id: as it was typed, with or without a module before it.
        plugins: that were given then.

    Raises:
        PluginError: naming what must be given again.
    """
    module, _, bare = env_id.rpartition(":")
    if bare in gym.registry:
        return bare
    for name in (module, *plugins):
        if name and not name.endswith(".py"):
            import_recorded(name)
    if bare not in gym.registry:
        raise PluginError(f"the environment {env_id} is not known here: {give_again((module, *plugins))}")
    return bare


def shareable(plugin: str) -> str:
    """A plug-in's name as others may read it: folders of this machine are nobody else's business."""
    return Path(plugin).name if Path(plugin).is_absolute() else plugin


def give_again(plugins: Iterable[str]) -> str:
    """What to do where something of a plug-in is missing."""
    named = [name for name in dict.fromkeys(plugins) if name]
    if not named:
        return "add --plugin with the file or module that registers it (in Python: import it first)"
    return f"add {' '.join(f'--plugin {name}' for name in named)}, whose code is run then (in Python: import it first)"


def without_module(env_id: str) -> str:
    """``MyEnv-v0`` of ``my_module:MyEnv-v0``."""
    return env_id.rpartition(":")[2]


def parameters_of(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Named parameters of a function, or of a class's constructor and of the constructors that it hands others on to.

    Those are its base classes', as long as each takes ``**keywords``; of what takes nothing but these, ``keywords``.
    """
    named: dict[str, inspect.Parameter] = {}
    makers: list[Any] = [builder]
    if isinstance(builder, type):
        makers = [vars(cls)["__init__"] for cls in builder.__mro__ if "__init__" in vars(cls)]
        # Those of object, torch's modules and protocols take anything, and want nothing.
        foreign = ("None", "torch", "typing")
        makers = [m for m in makers if str(getattr(m, "__module__", None)).partition(".")[0] not in foreign]
    for maker in makers:
        parameters = list(inspect.signature(maker).parameters.values())[isinstance(builder, type) :]
        named |= {
            p.name: p
            for p in parameters
            if p.name not in named and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY)
        }
        rest = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            return named
        if maker is makers[-1] and not (isinstance(builder, type) and len(makers) > 1):
            named.setdefault(rest.name, rest)
    return named


def call(builder: Callable[..., Any], offered: Mapping[str, Callable[[], Any]], usual: Iterable[str] = ()) -> Any:
    """Calls what makes a learner with those of the arguments that are offered that it has parameters for.

    Args:
        builder: a class or a function.
        offered: by name, what makes them; only what is wanted is made.
        usual: those that go to what takes any keyword.

    Raises:
        PluginError: if it needs an argument that is not offered.
    """
    arguments: dict[str, Any] = {}
    for name, parameter in parameters_of(builder).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= {key: offered[key]() for key in usual}
        elif name in offered:
            arguments[name] = offered[name]()
        elif parameter.default is parameter.empty:
            raise PluginError(
                f"{getattr(builder, '__qualname__', builder)} needs the argument {name}, and learners are built with "
                f"{', '.join(usual)}, network, objective, rule, feedback, and fields of a preset: give it a default"
            )
    return builder(**arguments)
