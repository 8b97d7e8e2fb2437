"""Every line of the README that can be run, runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flp_agents.cli import _parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"`(flp [a-z][^`]*)`", README)))
LINKS = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block):
    assert run(block).strip()


def test_the_example_is_the_one_in_examples_and_prints_what_the_readme_says():
    example = (ROOT / "examples" / "stream_an_env.py").read_text(encoding="utf-8")
    code = BLOCKS[0].split("\n", 1)[1]
    assert code.strip() in example
    assert f"`{run(BLOCKS[0]).strip()}`" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    _parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link):
    assert (ROOT / link.partition("#")[0]).exists()


def test_no_placeholder_is_left():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.search(r"@[A-Z_]+@", path.read_text(encoding="utf-8")), path
