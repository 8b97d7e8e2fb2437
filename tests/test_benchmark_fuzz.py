"""Plans, command lines and results as nobody should write them: one clear line, and nothing half done."""

import copy
import datetime
import json
import random
import types
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import made_up_result

from flp_agents.benchmark.plan import BenchmarkPlan, read_plan
from flp_agents.benchmark.reading import read_results
from flp_agents.benchmark.report.leaderboard import make_leaderboards
from flp_agents.benchmark.report.notes import facts_of, notes_of
from flp_agents.benchmark.report.page import render_page
from flp_agents.benchmark.report.tables import summary_rows
from flp_agents.benchmark.results import CELLS, ResultsError, cell_path, encoded, write_result, write_tables
from flp_agents.cli import benchmark as commands
from flp_agents.cli.main import main
from flp_base.errors import FLPError

PLUGIN = str(Path(__file__).parent / "plugin_learners.py")
SHORT, LONG = 40, 4000
JUNK = (
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**127, 10**30, -(2**70)),
    *(0.5, -0.5, 1e-320, 1e300, float("inf"), float("nan")),
    *("", " ", "x", "é", "a\nb", "<b>", "=1+1", "../..", "x" * 5000, "os", "json", "ridge", "flp", "FLPSine-IID-v0"),
    *("CartPole-v1", "os:FLPSine-IID-v0", "meta-train", "meta-val", "meta-test", ".", "/", "plan.toml", "\0", "a\0b"),
    *([], [1], ["x"], [[1]], [None], [True], [1, "x"], [0.5, float("nan")], [1, 1], {}, {"a": 1}, {"a": {"b": [1]}}),
    *({"split": "meta-train"}, {"family": "FLPGlyph"}, {"env_id": 1}, {"max_episode_steps": 1}, {"render_mode": "x"}),
    *({"data_root": "/"}, {"num_functions": "x"}, {"num_functions": -1}, {"num_functions": 10**18}, {"class": 1}),
    *({"interleaving": float("nan")}, {"interleaving": "0"}, {"batch_size": [1]}, {"max_amplitude": 10**30}),
    datetime.date(2026, 1, 1),
)
PLAN = {
    "learners": ["ridge", "mean"],
    "envs": ["FLPSine-IID-v0", "FLPGlyph-IID-v0"],
    "seeds": [0, 1],
    "episodes": 2,
    "split": "meta-test",
    "plugins": [PLUGIN],
    "cell_minutes": 1.0,
    "env_options": {"interleaving": 0.5},
    "options_of_env": {"FLPSine-IID-v0": {"num_functions": 2}},
}


def places(content, path=()):
    """Every place within nested tables and lists, its own first."""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, part in list(parts)[:20] for place in places(part, (*path, key)))]


def changed(content, rng):
    """A copy with something else at one place, or without it, or with one more."""
    content = copy.deepcopy(content)
    *way, last = rng.choice(places(content)[1:])
    at = content
    for key in way:
        at = at[key]
    act = rng.random()
    if act < 0.15:
        del at[last]
    elif act < 0.25 and isinstance(at, dict):
        at[rng.choice(["x", "seed", "lerners", "é", "a b", "", "class"])] = rng.choice(JUNK)
    else:
        at[last] = copy.deepcopy(rng.choice(JUNK))
    return content


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else str(value)


def corrupted(data, rng):
    """Bytes cut off, changed or doubled."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data)) if data else 0
        act = rng.randrange(4)
        if act == 0:
            del data[place:]
        elif act == 1 and data:
            data[place] = rng.randrange(256)
        elif act == 2:
            data[place:place] = rng.choice(
                [b"[", b"{", b'"', b"9" * 5000, b"[" * 3000, b"\xff", b"1e999", b"null", b"-"]
            )
        else:
            data[place:place] = data[place : place + rng.randrange(40)]
    return bytes(data)


def cases(short, long):
    return pytest.mark.parametrize("number", [short, pytest.param(long, marks=pytest.mark.slow)])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cases(SHORT, LONG)
def test_any_plan_is_right_or_refused_in_one_line(number, here):
    rng, right = random.Random(27), 0
    for case in range(number):
        content = PLAN
        for _ in range(rng.randint(1, 3)):
            content = changed(content, rng) if content else content
        text = "\n".join(f"{key if key.isidentifier() else json.dumps(key)} = {toml(v)}" for key, v in content.items())
        data = text.encode()
        if case % 3 == 0:
            data = corrupted(data, rng)
        (here / "plan.toml").write_bytes(data)
        try:
            plan = read_plan(here / "plan.toml")
            plan.check()
            cells = list(zip(range(20), plan.cells(), strict=False))
            assert len({cell.digest for _, cell in cells}) == len(cells)
            right += 1
        except FLPError:
            pass
    assert {path.name for path in here.iterdir()} == {"plan.toml"}
    assert right > 0


ARGUMENTS = {
    "--learners": ["ridge", "mean", "os", "", "flp", "x" * 300, "é", "a\0b", "."],
    "--envs": ["FLPSine-IID-v0", "FLPGlyph-IID-v0", "CartPole-v1", "", ":", "os:", "os:x", "a\0b"],
    "--seeds": ["1", "2", "0", "-1", "1e3", "9" * 30, "x", ""],
    "--episodes": ["2", "1", "0", "-1", "9" * 30, "nan"],
    "--split": ["meta-test", "meta-train", "meta-val", "", "x"],
    "--cell-minutes": ["1", "0", "-1", "inf", "nan", "1e300", "1e-300", "x"],
    "--jobs": ["1", "x"],
    "--plugin": [PLUGIN, "os", "json", "x", "", "x.py", ".py", "a\0b", ".", "x" * 300 + ".py"],
    "--env-option": [
        *("num_functions=2", "family=FLPGlyph", "split=x", "num_functions=nan", "num_functions=" + "9" * 400, "=", "x"),
        *("env_id=1", "max_episode_steps=1", "interleaving=0.5", "class=1", "a b=1", "num_functions=1e999", "é=1"),
    ],
    "--retry-failed": [],
    "--rerun": [],
    "--json": [],
}


@cases(SHORT, LONG)
def test_any_command_line_is_right_or_refused_in_one_line(number, here, capsys, monkeypatch):
    rng, codes = random.Random(28), set()

    def run_benchmark(plan, folder, **_):
        assert sum(1 for _ in plan.cells()) > 0
        folder.mkdir(exist_ok=True)
        result = made_up_result()
        write_result(folder, result)
        return [result]

    # What is to run is checked, not run.
    monkeypatch.setattr(commands, "run_benchmark", run_benchmark)
    for _ in range(number):
        typed = ["benchmark", "--output", "results"]
        typed += ["--learners", "ridge"] if rng.random() < 0.95 else []
        for flag in rng.sample(list(ARGUMENTS), rng.randint(0, 3)):
            typed += [flag, *([rng.choice(ARGUMENTS[flag])] if ARGUMENTS[flag] else [])]
        try:
            code = main(typed)
        except SystemExit as error:
            code = error.code
        printed = capsys.readouterr()
        codes.add(code)
        if code != 0:
            assert "Traceback" not in printed.err
            assert printed.err.count("\n") <= 1, typed
    assert codes >= {0, 1, 2}


@cases(SHORT // 2, LONG)
def test_any_result_is_read_or_named_and_never_more_than_itself(number, tmp_path):
    rng, right = random.Random(26), 0
    good = [made_up_result("ridge"), made_up_result("adam", seed=1)]
    bad = made_up_result("sgd")
    whole = json.loads(encoded(bad))
    cell_path(tmp_path, bad.cell).parent.mkdir(parents=True)
    path = cell_path(tmp_path, bad.cell)
    for result in good:
        write_result(tmp_path, result)
    for case in range(number):
        content = whole
        for _ in range(rng.randint(0, 3)):
            content = changed(content, rng) if content else content
        data = json.dumps(content, default=str).encode()
        path.write_bytes(corrupted(data, rng) if case % 3 == 0 else data)
        results, left_out = read_results(tmp_path)
        assert len(results) + len(left_out) >= 3 or len(results) == 3
        assert all("\n" not in line for line in left_out)
        learners = {result.cell.learner for result in results}
        # A file of another version of this package, say, may say that it is the later one of the same setting.
        if not left_out or all(line.startswith(CELLS) for line in left_out):
            assert {"ridge", "adam"} <= learners
        right += len(results) == 3
        leaderboards = make_leaderboards(results)
        json.dumps(summary_rows(results), allow_nan=False)
        write_tables(tmp_path, results)
        assert facts_of(results, leaderboards)
        assert notes_of(results, leaderboards, left_out) is not None
        if number == LONG and len(results) == 3 and rng.random() < 0.1:
            assert render_page(results, left_out).encode()
    assert right > 0
    assert not list(tmp_path.rglob("*.tmp"))


def test_files_that_are_no_results(tmp_path):
    write_result(tmp_path, made_up_result())
    (tmp_path / CELLS / "folder.json").mkdir()
    (tmp_path / CELLS / "link.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / CELLS / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    results, left_out = read_results(tmp_path)
    assert len(results) == 1
    assert len(left_out) == 3
    with pytest.raises(ResultsError, match="no results in"):
        read_results(tmp_path / "a\0b")


@pytest.mark.parametrize(
    "options",
    [
        {"family": "FLPGlyph"},
        {"split": "meta-train"},
        {"env_id": "x"},
        {"id": "x"},
        {"max_episode_steps": 3},
        {"render_mode": "rgb_array"},
        {"data_root": "/"},
        {"disable_env_checker": True},
    ],
)
def test_reserved_options_are_refused_whichever_way_they_come(options, here, capsys):
    (name, value), sine = next(iter(options.items())), 'envs = ["FLPSine-IID-v0"]\n'
    message = f"{name} is not set here"
    for fields in ({"env_options": options}, {"options_of_env": {"FLPSine-IID-v0": options}}):
        with pytest.raises(FLPError, match=message):
            BenchmarkPlan(envs=("FLPSine-IID-v0",), **fields)
        (here / "plan.toml").write_text(
            sine + "\n".join(f"{k} = {toml(v)}" for k, v in fields.items()), encoding="utf-8"
        )
        assert main(["benchmark", "plan.toml", "--output", "results"]) == 1
        assert message in capsys.readouterr().err
    assert main(["benchmark", "--env-option", f"{name}={value}", "--output", "results"]) == 1
    assert message in capsys.readouterr().err
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seeds = [-1]", "each of seeds must be a whole number of at least 0, got -1"),
        ("seeds = [1, 1]", "different seeds"),
        ("seeds = [4294967296]", "at most 2147483647"),
        ("seeds = 1000000000000", "at most 1000000"),
        ("cell_minutes = inf", "cell_minutes must be a finite number above 0"),
        ("cell_minutes = nan", "cell_minutes must be a finite number"),
        ("episodes = 99999999999", "episodes must be a whole number of at most"),
        ('plugins = ["os"]', "os registers no"),
        ('plugins = ["json"]', "json registers no"),
        ("env_options = {when = 2026-01-01}", "when must be a finite number, true or false, text"),
        ("env_options = {num_functions = inf}", "num_functions must be a finite number"),
        ("split = ''", "split must be a name"),
        ('learners = [""]', "learners must be a list of names"),
    ],
)
def test_a_plan_is_checked_before_anything_runs(content, message, here, capsys):
    (here / "plan.toml").write_text(content, encoding="utf-8")
    assert main(["benchmark", "plan.toml", "--output", "results"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "seeds must be a whole number of at least 1"),
        (["--episodes", "0"], "episodes must be a whole number of at least 2"),
        (["--cell-minutes", "0"], "cell_minutes must be a finite number above 0"),
        (["--cell-minutes", "inf"], "cell_minutes must be a finite number above 0"),
        (["--jobs", "0"], "jobs must be a whole number of at least 1"),
        (["--split", ""], "split must be a name"),
        (["--plugin", "os"], "os registers no"),
        (["--env-option", "num_functions=nan"], "num_functions must be a finite number"),
    ],
)
def test_nothing_that_is_typed_is_taken_for_left_out(arguments, message, here, capsys):
    assert main(["benchmark", "--learners", "ridge", *arguments, "--output", "results"]) == 1
    assert message in capsys.readouterr().err
    assert not (here / "results").exists()


def test_a_result_that_nobody_could_read_is_a_failure_of_its_own(tmp_path):
    from flp_agents.benchmark.reading import check_result

    result = made_up_result()
    for change in (
        {"title": "\ud800"},
        {"metric": ""},
        {"metric": 3},
        {"scores": {**result.scores, "query_score": [1.0]}},
        {"scores": {**result.scores, "query_score": [float("nan")] * 8}},
        {"scores": {**result.scores, "query_score": [-1.0] * 8}},
        {"scores": {**result.scores, "forgetting": [-(2**70)] * 8}},
        {"scores": {**result.scores, "forgetting": {}}},
        {"scores": {**result.scores, "forgetting": 0}},
        {"stamp": {"a": [1]}},
        {"stamp": {"a": types.SimpleNamespace()}},
        {"state_bytes": -1},
        {"cell": replace(result.cell, seed=-1)},
    ):
        with pytest.raises(ResultsError):
            check_result(replace(result, **change))
    check_result(result)
