"""What keeps the package installable beside others, and importable cheaply."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_agents_and_datasets_are_folders_not_packages():
    """Installing packages of those names would overwrite other distributions' modules."""
    assert not (ROOT / "agents" / "__init__.py").exists()
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_gitignore_does_not_drop_code():
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert not {"datasets", "datasets/", "agents", "agents/"} & set(lines)


def test_importing_the_environments_is_cheap():
    """No torch, no matplotlib, no data."""
    code = "import sys, flp_envs; assert not {'torch', 'matplotlib', 'h5py', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_environments_do_not_know_the_agents():
    for path in (ROOT / "flp_envs").glob("*.py"):
        assert "flp_agents" not in path.read_text(encoding="utf-8"), path
