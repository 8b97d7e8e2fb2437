"""What keeps the package installable beside others, and importable cheaply."""

import argparse
import subprocess
import sys
from pathlib import Path

from flp_agents.cli.parser import make_parser

ROOT = Path(__file__).parent.parent


def test_agents_and_datasets_are_folders_not_packages():
    """Installing packages of those names would overwrite other distributions' modules."""
    assert not (ROOT / "agents" / "__init__.py").exists()
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_gitignore_does_not_drop_code():
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert not {"datasets", "datasets/", "agents", "agents/"} & set(lines)


def default_outputs(parser: argparse.ArgumentParser) -> set[str]:
    """Where all commands write that are not told where to."""
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*map(default_outputs, action.choices.values()))
        elif "--output" in action.option_strings and action.default:
            found.add(action.default)
    return found


def test_no_command_writes_into_tracked_folders_unless_it_is_told_to():
    """Nobody's trial of a command changes the results that the documentation reports."""
    outputs = default_outputs(make_parser())
    assert {"benchmark", "reproduction", "analysis", "demo", "lifetime.gif", "samples.png"} <= outputs
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    for output in outputs | {"runs"}:
        assert f"/{output}" in ignored or f"/{output}/" in ignored, output


def test_importing_the_environments_is_cheap():
    """No torch, no matplotlib, no data."""
    code = "import sys, flp_envs; assert not {'torch', 'matplotlib', 'h5py', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
