"""Packages stand on one another: imports run one way, and in no circle."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = {"flp_base": "datasets", "flp_datasets": "datasets", "flp_envs": ".", "flp_agents": "agents"}
# Bottom up; each may import from those before it.
DISTRIBUTED = tuple(PLACES)
OF_AGENTS = (
    "support",
    "closed_form",
    "learners",
    "lifetime",
    "adapters",
    "evaluation",
    "training",
    "baselines",
    "benchmark",
    "experiments",
    "cli",
)


def sources() -> dict[str, Path]:
    """All modules by their dotted name; a package by the name of its folder."""
    found = {}
    for package, place in PLACES.items():
        for path in sorted((ROOT / place / package).rglob("*.py")):
            parts = path.relative_to(ROOT / place).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


def imported(module: str) -> Iterator[str]:
    """Modules of these packages that a module imports, wherever in its text."""
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in PLACES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PLACES:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in SOURCES else node.module


IMPORTS = {module: sorted(set(imported(module)) - {module}) for module in SOURCES}


def layer(module: str) -> int:
    """Of its package, counted from the bottom over all packages."""
    parts = module.split(".")
    if parts[0] != "flp_agents":
        return DISTRIBUTED.index(parts[0])
    # The public names, and ``python -m flp_agents``, are above all.
    return len(DISTRIBUTED) + (OF_AGENTS.index(parts[1]) if parts[1:2] and parts[1] in OF_AGENTS else len(OF_AGENTS))


def test_every_module_is_in_a_package():
    flat = [m for m in SOURCES if m.startswith("flp_agents.") and m.split(".")[1] not in OF_AGENTS]
    assert flat == ["flp_agents.__main__"]


def test_no_module_is_longer_than_300_lines():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in SOURCES.items()}
    assert {module: length for module, length in lengths.items() if length > 300} == {}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_downwards(module):
    assert [other for other in IMPORTS[module] if layer(other) > layer(module)] == []


def test_no_modules_import_each_other_in_a_circle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in IMPORTS[module]:
                # A package's own module may be named by what is in it.
                if other in SOURCES and not f"{module}.".startswith(f"{other}."):
                    visit(other, (*path, module))
            done.add(module)

    for module in SOURCES:
        visit(module, ())


@pytest.mark.parametrize("package", [*(f"flp_agents.{name}" for name in OF_AGENTS), "flp_base"])
def test_each_package_says_what_it_holds_and_what_it_may_import(package):
    text = ast.get_docstring(ast.parse(SOURCES[package].read_text(encoding="utf-8"))) or ""
    assert "Imports " in text.splitlines()[-1] or "packages below it." in text.splitlines()[-1]
    assert text.count(". ") + text.count(".\n") + text.endswith(".") >= 3


def test_every_public_name_is_there():
    package = importlib.import_module("flp_agents")
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_environments_need_no_torch():
    program = (
        f"import sys; sys.path[:0] = {[str(ROOT / place) for place in PLACES.values()]}; sys.modules['torch'] = None\n"
        "import gymnasium, flp_envs\n"
        "env = gymnasium.make('FLPSine-Continual-v0')\n"
        "env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "assert not any(name.split('.')[0] == 'torch' for name in sys.modules if name != 'torch')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)


def test_help_needs_no_torch():
    program = (
        f"import sys; sys.path[:0] = {[str(ROOT / place) for place in PLACES.values()]}\n"
        "from flp_agents.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200, stdout=subprocess.DEVNULL)


def test_the_map_for_contributors_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/.]+(?:\.py|\.cpp|/))`", text))
    places = [ROOT, ROOT / "agents" / "flp_agents", *(ROOT / "agents" / "flp_agents").iterdir()]
    places += [ROOT / "flp_envs" / "families", ROOT / "datasets" / "flp_datasets" / "packed"]
    places += [path for package in OF_AGENTS for path in (ROOT / "agents" / "flp_agents" / package).iterdir()]
    assert len(named) > 30
    assert (
        sorted(name for name in named if not any((place / name).exists() for place in places if place.is_dir())) == []
    )
