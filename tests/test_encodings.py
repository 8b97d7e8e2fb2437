"""Text is UTF-8 in every file, whatever the locale says, and what users write may begin with a byte-order mark."""

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flp_agents.benchmark.plan import PlanError, read_plan
from flp_agents.cli.main import main

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for folder in ("agents", "benchmarks", "datasets", "examples", "flp_envs", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Under this locale Python reads, writes and prints ASCII, unless it is told otherwise.
NO_UTF_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
PLUGIN = """from flp_agents import register_learner
import numpy as np

@register_learner("Système ±")
class Zero:
    def reset(self): ...
    def predict(self, x): return np.zeros((len(x), 1), np.float32)
    def update(self, x, y): ...
"""
PLAN = """# Für den Anfang
learners = ["Système ±"]
envs = ["FLPSine-IID-v0"]
seeds = 2
episodes = 2
plugins = ["zéro.py"]
[env_options]
num_functions = 3
steps_per_function = 4
"""
# Every text file of ours that is opened in the locale's encoding gives a warning there.
UNDER_ASCII = """
import sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="flp_")
from flp_agents.cli import main as cli
SIZES = ["--env-option", "num_functions=2", "--env-option", "steps_per_function=2"]
for arguments in (
    ["benchmark", "plan.toml", "--output", "out", "--jobs", "1"],
    ["report", "out"],
    ["train", "--output", "run", "--outer-steps=2", "--short-outer-steps=0", "--test-episodes=2",
     "--hidden-widths=8,8", *SIZES],
    ["train", "--resume", "run"],
    ["evaluate", "--checkpoint", "run", "--episodes", "2"],
):
    sys.argv[1:] = arguments
    try:
        cli.run()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
"""


def text_without_encoding(tree: ast.AST) -> list[int]:
    """Lines that read or write text in the locale's encoding. Ruff finds only those whose types it can tell."""
    return [call.lineno for call in ast.walk(tree) if isinstance(call, ast.Call) and _leaves_it_to_the_locale(call)]


def _leaves_it_to_the_locale(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    options = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    if "encoding" in options:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) == 1
    if name == "open" and getattr(owner, "id", "") not in ("os", "Image", "h5a"):
        modes = call.args if owner is not None else call.args[1:]
        return "b" not in str(getattr(modes[0], "value", "") if modes else options.get("mode", "r"))
    return options.get("text") is True or options.get("universal_newlines") is True


@pytest.mark.parametrize("line", ["p.read_text()", "p.write_text(t)", "open(p)", "p.open('w')", "run(c, text=True)"])
def test_the_sweep_finds_what_leaves_it_to_the_locale(line):
    assert text_without_encoding(ast.parse(line)) == [1]


def test_every_text_file_says_its_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, f"without encoding=: {found}"


def test_what_users_write_may_begin_with_a_byte_order_mark(tmp_path, monkeypatch, capsys):
    """Editors on Windows put one there."""
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(PLAN, encoding="utf-8-sig")
    Path("zéro.py").write_text(PLUGIN, encoding="utf-8-sig")
    assert read_plan(Path("plan.toml")).learners == ("Système ±",)
    assert main(["benchmark", "plan.toml", "--output", "out", "--jobs", "1", "--json"]) == 0
    assert "Syst" in capsys.readouterr().out


def test_a_plan_that_is_not_utf_8_is_one_line(tmp_path):
    (tmp_path / "plan.toml").write_bytes(PLAN.encode("latin-1"))
    with pytest.raises(PlanError, match=r"plan\.toml is not TOML: .*utf-8"):
        read_plan(tmp_path / "plan.toml")


@pytest.mark.slow
def test_a_locale_that_is_not_utf_8_changes_no_file(tmp_path):
    """Names of learners reach every file as they are, and what the terminal cannot show is spelt out there."""
    (tmp_path / "plan.toml").write_text(PLAN.replace("zéro.py", "zero.py"), encoding="utf-8")
    (tmp_path / "zero.py").write_text(PLUGIN, encoding="utf-8")
    command = [sys.executable, "-X", "warn_default_encoding", "-c", UNDER_ASCII]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env={**os.environ, **NO_UTF_8}, timeout=200)
    assert done.returncode == 0, done.stderr.decode()
    assert "Syst\\xe8me \\xb1" in done.stdout.decode("ascii")
    assert "Système ±" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    rows = csv.DictReader((tmp_path / "out" / "results.csv").read_text(encoding="utf-8").splitlines())
    assert {row["learner"] for row in rows} == {"Système ±"}
