"""The command line under hostile arguments: one clear line, no traceback, nothing written half, nothing touched."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flp_agents.cli.main import main
from flp_agents.cli.parser import make_parser

# What a command needs besides the option under test; small, for where that is not refused.
SINE = ["--env=FLPSine-IID-v0", "--env-option=num_functions=2", "--env-option=steps_per_function=2"]
SMALL = [*SINE, "--env-option=batch_size=2", "--env-option=query_size=2"]
BASE: dict[tuple[str, ...], list[str]] = {
    ("list",): [],
    ("train",): [*SMALL, "--hidden-widths=4", "--plastic-layers=1", "--outer-steps=1", "--output=run", "--overwrite"],
    ("evaluate",): ["--checkpoint=flp-2-sine-iid", "--episodes=1"],
    ("export",): ["--checkpoint=flp-2-sine-iid", "--output=exported"],
    ("render",): [*SMALL, "--output=a.png"],
    ("bench",): ["--quick"],
    ("analyse",): ["flp-2-sine-iid", "--episodes=1"],
    ("reproduce",): ["claims", "--output=results"],
    ("train-sb3",): ["--algorithm=ppo", *SMALL, "--env-steps=1", "--output=policy"],
    ("benchmark",): ["--learners", "ridge", "--envs", "FLPSine-IID-v0", *SMALL[1:], "--seeds=1", "--jobs=1"],
    ("report",): ["nothing"],
    ("check-learner",): ["ridge", "--envs", "FLPSine-IID-v0"],
    ("demo",): ["--train-seconds=0"],
    ("data", "list"): [],
    ("data", "prepare"): ["omniglot"],
    ("data", "verify"): [],
    ("data", "show"): ["glyph", "--classes=2", "--images=2"],
}
NUMBERS: dict[Any, tuple[str, ...]] = {
    float: ("nan", "inf", "-inf", "1e999", "-1e-9", "-1", "x", ""),
    int: ("-1", "-99999999999999999999", "99999999999999999999", "1.5", "nan", "x", "", "9" * 5000),
}
# Where a finite negative number is one like any other.
SIGNED = ("initial-coefficient", "initial-strength", "hidden-multiplier", "initial-rate")
NASTY = (
    *("", " ", "nan", "-1", "é", "a\0b", "../..", "/dev/null", "/dev/zero", "=", "a=", "=1", "a=b=c", "~"),
    *("[x]", "{}", "%s", "9" * 400, "--", "os", "os.path:join", ":", "FLPSine", "flp", "cuda:99", "x" * 5000, "\n"),
    *("split=a", "num_functions=nan", "num_functions=1e9", "batch_size=-1", "interleaving=inf", "render_mode=x"),
)


def commands(parser: argparse.ArgumentParser, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, and its parser; another name of one once."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, of in {id(of): (name, of) for name, of in reversed(action.choices.items())}.values():
                yield from commands(of, (*way, name))
            return
    yield way, parser


COMMANDS = dict(commands(make_parser()))
NUMERIC = [
    (way, action.option_strings[0], action.type)
    for way, parser in COMMANDS.items()
    for action in parser._actions
    if action.type in NUMBERS and action.option_strings
]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and what was said on standard error."""
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's
        code = int(end.code or 0)
    return code, capsys.readouterr().err


def files() -> dict[str, int]:
    return {str(path): path.stat().st_size for path in Path().rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_root: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLP_DATA_ROOT", str(data_root))  # --data-root replaces it: put back afterwards


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == set(BASE)
    assert len(NUMERIC) > 40


def refuse(way: tuple[str, ...], option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call([*way, *BASE[way], f"{option}={text}"], capsys)
    assert code in (1, 2), (way, option, text)
    assert len(said.strip().splitlines()) == 1, said
    assert said.startswith("flp: error: "), said
    assert not files(), (way, option, text)


@pytest.mark.parametrize(("way", "option", "kind"), NUMERIC, ids=lambda of: of if isinstance(of, str) else "")
def test_every_number_is_checked_before_anything_is_touched(
    way: tuple[str, ...], option: str, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    values = NUMBERS[kind][:4]
    refuse(way, option, values[len(option) % len(values)], capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "option", "kind"), NUMERIC, ids=lambda of: of if isinstance(of, str) else "")
def test_every_number_is_checked_against_all_that_is_none(
    way: tuple[str, ...], option: str, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in NUMBERS[kind]:
        if not (option.removeprefix("--") in SIGNED and text.startswith("-1")):
            refuse(way, option, text, capsys)


def try_anything(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Some options of a cheap command, with texts that nobody means."""
    rng = random.Random(seed)
    cheap = [way for way in BASE if way[0] not in ("bench", "demo", "reproduce", "check-learner", "analyse")]
    way = rng.choice(cheap)
    options = [action for action in COMMANDS[way]._actions if action.option_strings and "help" not in action.dest]
    more = []
    for action in rng.sample(options, min(len(options), rng.choice((1, 1, 2)))):
        flag = rng.choice(action.option_strings)
        more += [flag] if action.nargs == 0 else [f"{flag}={rng.choice(NASTY)}"]
    base = [part for part in BASE[way] if rng.random() > 0.05]
    code, said = call([*way, *base, *more], capsys)
    assert code in (0, 1, 2), (way, more)
    assert "Traceback" not in said
    if code == 2 or (code == 1 and way[0] != "benchmark"):
        assert said.strip().splitlines()[-1].startswith("flp: error: "), said
    assert not [name for name in files() if name.endswith(".tmp")]
    for path in Path().rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore")
def test_hostile_options(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(25):
        try_anything(seed, capsys)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", range(30))
def test_thousands_of_hostile_options(block: int, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        try_anything(seed, capsys)
