"""torchvision can be imported beside the torch that is installed, and only where it is needed."""

import subprocess
import sys

import pytest


def run_python(code: str, *options: str) -> str:
    ended = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, encoding="utf-8", timeout=250)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_torchvision_can_be_imported_again_and_again_without_a_warning():
    code = """
from flp_datasets.vision import import_torchvision
first, second = import_torchvision(), import_torchvision()
assert first is second
print(first.datasets.Omniglot.__name__, first.datasets.Omniglot.folder)
"""
    assert run_python(code, "-W", "error") == "Omniglot omniglot-py"


FAILING = """
import sys
from flp_base.errors import FLPError
from flp_datasets.vision import import_torchvision
{}
for attempt in range(2):
    try:
        import_torchvision()
    except FLPError as error:
        assert isinstance(error, ImportError)
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize("name", ["torchvision", "torchvision.datasets"])
def test_without_torchvision_it_is_said_what_to_install(name):
    expected = (
        "MissingTorchvision torchvision is needed to download datasets: pip install torchvision, the release that goes "
        "with your torch"
    )
    code = FAILING.format(f"sys.modules[{name!r}] = None")
    if name == "torchvision.datasets":  # without the time that importing the rest takes
        code = code.replace("import sys\n", "import sys, types\nsys.modules['torchvision'] = types.ModuleType('x')\n")
    assert run_python(code).splitlines() == [expected] * 2


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("broken\\n  in two lines", "torchvision cannot be imported: broken in two lines"),
        (
            "operator torchvision::other does\\n not exist",
            "torchvision does not fit the torch that is installed (operator torchvision::other does not exist): "
            "install the release that goes with it",
        ),
    ],
)
def test_a_torchvision_that_fails_to_start_is_one_line(reason, message):
    code = """
from flp_datasets import vision

class Library:
    def __init__(self, *_): pass
    def define(self, _): pass

import types
torch = sys.modules["torch"] = types.ModuleType("torch")
setattr(torch, "library", types.SimpleNamespace(Library=Library))
def fail():
    raise RuntimeError(REASON)
vision._import = fail
""".replace("REASON", f'"{reason}"')
    assert run_python(FAILING.format(code)).splitlines() == [f"MissingTorchvision {message}"] * 2


HEAVY = ("torch", "torchvision", "h5py", "PIL")


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("flp_envs", HEAVY),
        ("flp_datasets", HEAVY),
        ("flp_datasets.vision", HEAVY),
        ("flp_datasets.omniglot", HEAVY),
        ("flp_datasets.glyphs", ("torch", "torchvision", "h5py")),
        ("flp_datasets.catalogue", ("torch", "torchvision", "PIL")),
    ],
)
def test_importing_is_cheap(module, never):
    code = f"import sys, {module}; print(*sorted(set({never!r}) & set(sys.modules)))"
    assert run_python(code) == ""
