"""The lower bounds of pyproject.toml, which make test-lowest installs and tries."""

import re
import runpy
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "lower_bounds.py"
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
lower_bounds = runpy.run_path(str(SCRIPT))["lower_bounds"]

# What fails below: h5py with numpy 2 at its import, the bundled recurrent policies, TensorBoard's reader, a keyword of
# filelock's, matplotlib with numpy 2; of pytest-timeout there is no 2.3.0.
KNOWN = {
    "h5py": "3.11",
    "sb3-contrib": "2.8",
    "stable-baselines3": "2.8",
    "tensorboard": "2.18",
    "filelock": "3.30",
    "matplotlib": "3.8.4",
    "pytest-timeout": "2.3.1",
}


def name_of(text):
    return text.lower().replace("_", "-")


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
