"""A ``~`` that a shell left alone, as it does between quotes and after ``=``, is the home folder in every option."""

import argparse

import pytest
from test_cli import fails

from flp_agents.benchmark.plan import BenchmarkPlan
from flp_agents.cli import parser as parser_of_flp
from flp_agents.cli.main import main
from flp_agents.cli.parser import make_parser
from flp_base.errors import FLPError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder, and another one to work in."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert not list((tmp_path / "work").iterdir())


def commands(parser, typed=()):
    """Every command of ``flp``, with what is typed for it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from commands(command, (*typed, name))
            return
    yield typed, parser


def texts(parser):
    """Every option of a command that takes a text, given one that begins with a tilde; and what it needs besides."""
    for action in parser._actions:
        needed = action.required if action.option_strings else action.nargs not in ("?", "*")
        free = action.type is None and action.choices is None and action.nargs in (None, "?", "+")
        if free:
            yield action.dest, [*action.option_strings[:1], "~/here"]
        elif needed and action.option_strings != ["-h", "--help"]:
            yield None, [*action.option_strings[:1], "1"]


@pytest.mark.parametrize(
    ("typed", "parser"),
    list(commands(make_parser())),
    ids=lambda v: " ".join(v) or "flp" if isinstance(v, tuple) else "",
)
def test_no_command_keeps_a_tilde(monkeypatch, home, typed, parser):
    given = [(name, words) for name, words in texts(parser)]
    held = []
    monkeypatch.setattr(
        parser_of_flp.importlib,
        "import_module",
        lambda name: type("Any", (), {"__getattr__": lambda *_: lambda *given: held.extend(given) or 0})(),
    )
    positional = [word for _, words in given if not words[0].startswith("-") for word in words]
    optional = [word for _, words in given if words[0].startswith("-") for word in words]
    assert main([*typed, *positional, *optional]) == 0
    options = next(held_one for held_one in held if isinstance(held_one, argparse.Namespace))
    for name, _ in given:
        if name is not None:
            value = getattr(options, name)
            assert value in (str(home / "here"), [str(home / "here")]), name


def test_a_sheet_of_samples_goes_to_the_home_folder(home):
    assert main(["data", "show", "glyph", "--classes=1", "--images=1", "--output=~/sheets/a.png"]) == 0
    assert (home / "sheets" / "a.png").exists()


def test_the_home_folder_of_nobody_is_refused(capsys):
    line = fails(["data", "show", "glyph", "--output=~nobody-of-this-name/a.png"], capsys)
    assert "there is no home folder ~nobody-of-this-name: for a file of that name write ./~nobody-of-this" in line
    line = fails(["data", "prepare", "omniglot", "--source=~nobody-of-this-name/a"], capsys)
    assert "there is no home folder ~nobody-of-this-name" in line


def test_a_plan_may_name_the_home_folder(home):
    plan = BenchmarkPlan(learners=("~/a",), plugins=("~/b.py", "module"))
    assert (plan.learners, plan.plugins) == ((str(home / "a"),), (str(home / "b.py"), "module"))
    with pytest.raises(FLPError, match="there is no home folder ~nobody-of-this-name"):
        BenchmarkPlan(plugins=("~nobody-of-this-name/a.py",))
