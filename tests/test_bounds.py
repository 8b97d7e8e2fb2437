"""The lower bounds of pyproject.toml, which make test-lowest installs and tries."""

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.version import Version

import flp_agents
import flp_datasets
import flp_envs

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "lower_bounds.py"
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
lower_bounds = runpy.run_path(str(SCRIPT))["lower_bounds"]

# What fails below: h5py with numpy 2 at its import, the bundled recurrent policies, TensorBoard's reader, a keyword of
# filelock's, matplotlib with numpy 2; of pytest-timeout there is no 2.3.0, and 3.6.0 of pytest-xdist was withdrawn.
KNOWN = {
    "h5py": "3.11",
    "sb3-contrib": "2.8",
    "stable-baselines3": "2.8",
    "tensorboard": "2.18",
    "filelock": "3.30",
    "matplotlib": "3.8.4",
    "pytest-timeout": "2.3.1",
    "pytest-xdist": "3.6.1",
}


PACKAGES = (flp_datasets, flp_envs, flp_agents)
# Of the extras, the one for those who develop the package: nothing of it is imported by the package.
TOOLS = {"build", "hypothesis", "mypy", "pytest", "pytest-timeout", "pytest-xdist", "ruff", "selenium"}
# Gymnasium's RecordVideo imports it, as the extra's comment says.
THROUGH_OTHERS = {"moviepy"}
KEPT = {"torch", "torchvision"}


def name_of(text):
    return text.lower().replace("_", "-")


def imported_by(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, by statement or by ``import_module`` of a literal name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant))


def imported_distributions() -> dict[str, list[str]]:
    """What the packages import that is neither theirs nor Python's: files by distribution."""
    ours = {package.__name__ for package in PACKAGES}
    distributions = packages_distributions()
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted(Path(package.__file__).parent.rglob("*.py")):
            for top in {name.partition(".")[0] for name in imported_by(path)} - ours - sys.stdlib_module_names:
                # What is not installed here (JAX, Ray, Dask) is called as its module is.
                for name in distributions.get(top, [top]):
                    found.setdefault(name_of(name), []).append(path.name)
    return found


def test_no_bound_is_below_what_works():
    bounds = lower_bounds(PYPROJECT)
    assert {name for name, known in KNOWN.items() if Version(bounds[name]) < Version(known)} == set()


def test_what_is_pinned_is_allowed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name_of(found[1]): found[2] for line in lines if (found := re.match(r"([\w.-]+)==([\w.+]+)", line))}
    for name, bound in lower_bounds(PYPROJECT).items():
        if name != "tomli":  # of Python 3.10
            assert Version(pinned[name_of(name)]) >= Version(bound), name


def test_a_dependency_without_a_bound_is_named():
    with pytest.raises(ValueError, match=r"numpy has no lower bound"):
        lower_bounds(PYPROJECT.replace('"numpy>=2.0"', '"numpy"'))


def test_the_lower_bound_of_every_dependency_is_read():
    bounds = lower_bounds(
        """
[project]
name = "mine"
dependencies = ["one>=1.2,<3", "two[more]>=2.0; python_version < '3.11'", "torch>=2.3"]
[project.optional-dependencies]
few = ["three>=3"]
all = ["mine[few]", "four!=4.1,>=4"]
"""
    )
    assert bounds == {"one": "1.2", "two": "2.0", "three": "3", "four": "4"}


def test_what_is_printed_are_constraints(capsys):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "numpy==2.0" in lines
    assert lines == [f"{name}=={version}" for name, version in lower_bounds(PYPROJECT).items()]


def test_whatever_is_imported_is_declared_with_a_bound():
    declared = {name_of(name) for name in lower_bounds(PYPROJECT)} | KEPT
    assert {name: files for name, files in imported_distributions().items() if name not in declared} == {}


def test_whatever_is_declared_is_imported():
    declared = {name_of(name) for name in lower_bounds(PYPROJECT)} | KEPT
    assert declared - set(imported_distributions()) - TOOLS == THROUGH_OTHERS
