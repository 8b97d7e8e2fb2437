"""A cell is known by all that its numbers depend on; results of what has changed since stand in no table."""

import functools
import importlib
import json
import os
import subprocess
import sys
import types
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import make_pack
from documentation import as_module, run_as_a_reader
from synthetic_results import made_up_result

import flp_envs
from flp_agents.benchmark import entries, identity
from flp_agents.benchmark.cell import run_cell
from flp_agents.benchmark.identity import LATEST, identity_of_env, identity_of_learner, latest_of, note_latest
from flp_agents.benchmark.plan import BenchmarkPlan
from flp_agents.benchmark.reading import read_results
from flp_agents.benchmark.results import CELLS, write_result
from flp_agents.benchmark.running import run_benchmark
from flp_agents.benchmark.shared_folder import EARLIER
from flp_agents.benchmark.source import source_digest, value_digest
from flp_agents.benchmark.source_files import EditedSource, remember_sources
from flp_agents.learners.registered import LEARNERS

SMALL = {"num_functions": 2, "steps_per_function": 2, "batch_size": 2, "query_size": 2}
LEARNER = """
import numpy as np
from flp_agents import register_learner
from {helper} import VALUE

@register_learner("{name}")
class Constant:
    def reset(self): pass
    def predict(self, x): return np.full((len(x), 1), VALUE)
    def update(self, x, y): pass
"""


def flp(folder, *arguments):
    """What the command prints in a process of its own, as one types it again after an edit."""
    return run_as_a_reader(as_module(list(arguments)), folder)


def written(folder, name, value):
    """A plug-in whose constant stands in a module beside it."""
    (folder / f"{name}_values.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
    path = folder / f"{name}_plugin.py"
    path.write_text(LEARNER.format(helper=f"{name}_values", name=name), encoding="utf-8")
    return path


def test_a_learner_that_was_edited_is_run_again(tmp_path):
    plugin = written(tmp_path, "edited", 0.0)
    typed = ["benchmark", "--learners", "edited", "ridge", "--envs", "FLPSine-IID-v0", "--seeds", "1", "--episodes"]
    typed += ["2", "--jobs", "1", "--plugin", plugin.name, "--output", "results", "--json"]
    for name, value in SMALL.items():
        typed += ["--env-option", f"{name}={value}"]

    def rows():
        printed = json.loads(flp(tmp_path, *typed))
        return {row["learner"]: row["mean"] for row in printed["rows"] if row["metric"] == "query_score"}, printed

    before, printed = rows()
    assert printed["left_out"] == []
    cells = set((tmp_path / "results" / CELLS).iterdir())
    (tmp_path / "edited_values.py").write_text("VALUE = 100.0\n", encoding="utf-8")  # a helper, not the file itself
    after, printed = rows()
    assert after["edited"] > before["edited"] + 1000
    assert after["ridge"] == before["ridge"]
    assert printed["left_out"] == ["1 cell of edited, whose source, parameters or weights have changed since"]
    kept = set((tmp_path / "results" / CELLS).iterdir())
    assert cells < kept
    assert len(kept) == 3
    table = (tmp_path / "results" / "results.csv").read_text(encoding="utf-8")
    assert table.count("\n") == 1 + 2 * 2


@pytest.mark.parametrize("data", ["omniglot"])
def test_data_that_were_packed_anew_are_other_data(data, tmp_path, monkeypatch):
    options = {"num_classes": 2, "shots": 1, "query_shots": 1}
    plan = BenchmarkPlan(("nearest-neighbour",), ("FLPOmniglot-IID-v0",), 1, 4, env_options=options)
    splits = flp_envs.make("FLPOmniglot-IID-v0", **options).unwrapped.task.classes
    assert splits.data["name"] == data
    folder = tmp_path / "results"
    (first,) = run_benchmark(plan, folder)
    make_pack(tmp_path / "data", data, 28, 1, ("meta-train", "meta-test"), 5)
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path / "data"))
    (second,) = run_benchmark(plan, folder)
    digests = [result.cell.depends_on["data"] for result in (first, second)]
    assert digests == [
        splits.data["sha256"],
        flp_envs.make("FLPOmniglot-IID-v0", **options).unwrapped.task.data["sha256"],
    ]
    assert first.cell.digest != second.cell.digest
    results, left_out = read_results(folder)
    assert [result.cell for result in results] == [second.cell]
    assert left_out == ["1 cell in FLPOmniglot-IID-v0, whose data have been packed anew since"]
    table = (folder / "results.csv").read_text(encoding="utf-8")
    assert digests[1] in table
    assert digests[0] not in table


class Task(flp_envs.SineTask):
    """A user's environment."""


class Env(flp_envs.OnlineLearningEnv):
    def __init__(self, scale=1.0, split="meta-train", render_mode=None, **options):
        super().__init__(Task(split=split, **options), render_mode=render_mode)
        self.scale = scale


@pytest.fixture
def registered():
    ids = []

    def register(env_id, **spec):
        gym.register(env_id, **spec)
        ids.append(env_id)
        return env_id

    yield register
    for env_id in ids:
        gym.registry.pop(env_id, None)


def test_an_environment_is_known_by_its_options_its_source_and_its_data(registered, monkeypatch):
    def of(env_id, **options):
        return identity_of_env(flp_envs.make(env_id, split="meta-test", **options))

    sine = of("FLPSine-IID-v0")
    assert sine["data"] == ""
    assert sine["env"] != of("FLPSine-Continual-v0")["env"]
    assert sine["env"] != of("FLPSine-IID-v0", num_functions=3)["env"]
    assert sine == of("FLPSine-IID-v0", num_functions=10)  # which is the default
    assert sine == of("FLPSine-IID-v0", render_mode="rgb_array")
    mine = registered("Mine-v0", entry_point=Env)
    other = registered("MineScaled-v0", entry_point=Env, kwargs={"scale": 2.0})
    named = registered("MineNamed-v0", entry_point=f"{__name__}:Env")
    assert len({of(env_id)["env"] for env_id in (mine, other, named)}) == 3
    before = of(mine)
    task = flp_envs.make(mine, split="meta-test").unwrapped.task
    monkeypatch.setattr(Task, "data", {"name": "mine", "sha256": "ab"}, raising=False)
    assert of(mine) == {**before, "data": "ab"}
    assert flp_envs.task.data_of(task) == {"name": "mine", "sha256": "ab"}
    monkeypatch.setattr(identity, "version_of", lambda _: "9.9")
    assert of("FLPSine-IID-v0") == {**sine, "version": "9.9"}


def test_checkpoints_are_known_by_all_of_their_weights():
    name, env = "flp-2-sine-continual", "FLPSine-Continual-v0"
    digests = {identity_of_learner(each, env)["learner"] for each in ("flp", name, "oml", "gradient-based")}
    assert "" not in digests
    assert len(digests) == 3  # flp stands for that one checkpoint
    assert identity_of_learner("ridge", env) == {"learner": ""}


def test_what_a_learner_is_made_with_counts():
    def made(rate=0.1, *, kind="a"):
        return rate, kind

    def within(value):
        return lambda: value

    class One:
        rate = 0.1

        def predict(self, x):
            return x * self.rate

    Other = type("One", (One,), {"rate": 0.2})
    partial = functools.partial
    things = [made, partial(made, 0.2), partial(made, 0.3), partial(made, kind="b"), within(1), within(2), One, Other]
    things += [partial(made, np.zeros(2)), partial(made, np.ones(2)), partial(made, {"a": 1}), partial(made, {"a": 2})]
    digests = [source_digest(thing) for thing in things]
    assert digests == [source_digest(thing) for thing in things]
    assert "" not in digests
    assert len(set(digests)) == len(digests)
    assert source_digest(entries.build_entry, functools.partial) == ""


def in_a_notebook(code, **names):
    """What stands in cells that no file holds."""
    module = types.ModuleType("__main__")
    vars(module).update(names)
    exec(code, vars(module))
    return vars(module)


def test_what_was_written_in_a_notebook_counts_by_what_it_does():
    code = """
RATE = {rate}
def helper(x): return {helper}
class Mine:
    '''{words}'''
    def reset(self): self.seen = []
    def predict(self, x): return helper(x) * RATE
    def update(self, x, y): self.seen.append({{len(x), "a", "b", "c"}})
"""

    def digest(rate=0.1, helper="x + 1", words=""):
        return source_digest(in_a_notebook(code.format(rate=rate, helper=helper, words=words))["Mine"])

    assert digest() == digest() == digest(words="A comment.")
    assert len({digest(), digest(rate=0.2), digest(helper="x + 2"), digest(helper="x - 1")}) == 4
    loop = in_a_notebook("class A:\n    def f(self): return B\nclass B:\n    def f(self): return A, B\n")
    assert source_digest(loop["A"]) != source_digest(loop["B"])
    deep = functools.reduce(lambda inner, _: [inner], range(100_000), [])
    with pytest.raises(flp_envs.FLPError, match="nested too deeply"):
        source_digest(in_a_notebook("def f(): return deep", deep=deep)["f"])


@pytest.mark.slow
def test_digests_are_the_same_in_every_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from flp_agents.benchmark.source import source_digest, value_digest\n"
        "NAMES = {'a', 'b', 'c', 'd'}\n"
        "def f(x, kinds=frozenset({'x', 'y', 'z'})): return x in {'k', 'l', 'm'} or x in NAMES\n"
        "print(source_digest(f), value_digest({'a': {1, 2, 3}, 'b': [None, 0.5, b'c']}))\n",
        encoding="utf-8",
    )
    printed = {
        subprocess.run(
            [sys.executable, script],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    }
    assert len(printed) == 1
    assert value_digest({"a": {1, 2, 3}, "b": [None, 0.5, b"c"]}) in next(iter(printed))


def test_a_file_counts_with_what_it_imports(tmp_path, monkeypatch):
    package = tmp_path / "a_package_of_mine"
    (package / "deep").mkdir(parents=True)
    files = {
        "a_package_of_mine/__init__.py": "",
        "a_package_of_mine/deep/__init__.py": "from . import constants\n",
        "a_package_of_mine/deep/constants.py": "A = 1\n",
        "a_package_of_mine/late.py": "B = 1\n",
        "a_module_of_mine.py": "import numpy\nfrom a_package_of_mine import deep\nclass Mine:\n"
        "    def reset(self):\n        import a_package_of_mine.late as late\n        self.b = late.B\n",
    }

    def write(**changes):
        for name, text in files.items():
            (tmp_path / name).write_text(changes.get(Path(name).stem, text), encoding="utf-8")

    def digest():
        for name in [name for name in sys.modules if "_of_mine" in name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return source_digest(importlib.import_module("a_module_of_mine").Mine)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digests = []
    for changes in ({}, {"constants": "A = 2\n"}, {"late": "B = 2\n"}):
        write(**changes)
        digests.append(digest())
    assert len(set(digests)) == 3
    write()
    assert digest() == digests[0]
    # What is in memory is the file as it was: to go on would give new code's name to old code's numbers.
    write(late="B = 3\n", a_module_of_mine=files["a_module_of_mine.py"] + "# edited\n")
    with pytest.raises(EditedSource, match=r"a_module_of_mine.py was edited after it was imported.*start Python anew"):
        source_digest(sys.modules["a_module_of_mine"].Mine)
    importlib.reload(sys.modules["a_module_of_mine"])
    remember_sources()
    assert source_digest(sys.modules["a_module_of_mine"].Mine) not in digests
    for name in [name for name in sys.modules if "_of_mine" in name]:
        del sys.modules[name]


def test_what_changes_while_a_benchmark_runs_fails(tmp_path, monkeypatch):
    options = {"num_classes": 2, "shots": 1, "query_shots": 1}
    plan = BenchmarkPlan(("nearest-neighbour",), ("FLPOmniglot-IID-v0",), 1, 4, env_options=options)
    (cell,) = plan.cells()
    assert run_cell(cell).failure is None
    make_pack(tmp_path, "omniglot", 28, 1, ("meta-train", "meta-test"), 6)
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path))
    assert run_cell(cell).failure == "the environment's data changed after the benchmark began: run it again"
    other = replace(cell, depends_on={**cell.depends_on, "learner": "ab", "data": ""})
    assert "data changed" in run_cell(other).failure


def test_sources_that_are_on_the_path_and_not_installed_have_no_version(tmp_path, monkeypatch):
    """As with PYTHONPATH=.:agents:datasets, where Python knows of no distribution flp-envs."""
    find = metadata.version

    def version(name):
        if name == "flp-envs":
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "version", version)
    plan = BenchmarkPlan(("ridge",), ("FLPSine-IID-v0",), 1, 2, env_options=SMALL)
    (result,) = run_benchmark(plan, tmp_path)
    assert result.failure is None
    assert result.cell.depends_on["version"] == ""
    assert "version_flp_envs" not in result.stamp
    assert result.stamp["version_torch"] == find("torch")


def test_cells_are_repeated_on_request(tmp_path):
    plan = BenchmarkPlan(("ridge", "mean-of-none"), ("FLPSine-IID-v0",), 1, 2, env_options=SMALL)
    entries.register_learner("mean-of-none")(type("Mine", (), {"predict": None}))
    run_benchmark(plan, tmp_path)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / CELLS).iterdir()}
    run_benchmark(plan, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / CELLS).iterdir()} == times
    run_benchmark(plan, tmp_path, rerun=True)
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / CELLS).iterdir()}
    assert again.keys() == times.keys()
    assert all(again[name] > times[name] for name in times)
    assert {path.name for path in (tmp_path / EARLIER).iterdir()} == times.keys()
    LEARNERS.forget("mean-of-none")


def identified(learner, source, finished="1", **options):
    result = made_up_result(learner, **options)
    cell = replace(result.cell, depends_on={"version": "1", "env": "e", "data": "", "learner": source})
    return replace(result, cell=cell, stamp={**result.stamp, "finished": finished})


def test_old_and_new_never_stand_in_one_table(tmp_path):
    old = [identified("mine", "old", seed=seed) for seed in range(3)]
    others = [identified("ridge", "", seed=seed) for seed in range(3)]
    for result in old + others:
        write_result(tmp_path, result)
    note_latest(tmp_path, [result.cell for result in old + others])
    assert read_results(tmp_path)[1] == []
    # Run again under one seed only, after an edit: the old seeds are none of the new learner's.
    new = identified("mine", "new", seed=1)
    note_latest(tmp_path, [new.cell])
    write_result(tmp_path, new)
    results, left_out = read_results(tmp_path)
    assert [(r.cell.learner, r.cell.seed, r.cell.depends_on["learner"]) for r in results] == [
        ("mine", 1, "new"),
        *(("ridge", seed, "") for seed in range(3)),
    ]
    assert left_out == ["3 cells of mine, whose source, parameters or weights have changed since"]
    # Of another environment's cells nothing is known.
    elsewhere = identified("mine", "old", env="FLPSine-IID-v0")
    write_result(tmp_path, elsewhere)
    assert elsewhere.cell in [result.cell for result in read_results(tmp_path)[0]]
    version = replace(new.cell, depends_on={**new.cell.depends_on, "version": "2"})
    note_latest(tmp_path, [version])
    with_version = replace(new, cell=version)
    write_result(tmp_path, with_version)
    results, left_out = read_results(tmp_path)
    assert [result.cell for result in results] == [version]
    assert left_out == ["8 cells of flp-envs 1"]


def test_without_a_note_the_newest_results_say_what_is_latest(tmp_path):
    for result in (
        identified("mine", "old", finished="2026-01-01T00:00:00+00:00"),
        identified("mine", "new", finished="2026-01-02T00:00:00+00:00", seed=1),
        identified("ridge", "", finished="2026-01-01T00:00:00+00:00"),
    ):
        write_result(tmp_path, result)
    for content in (None, "{", "[]", '{"latest": {"a": 1}}', "[" * 100_000):
        if content is not None:
            (tmp_path / LATEST).write_text(content, encoding="utf-8")
        results, left_out = read_results(tmp_path)
        assert [(r.cell.learner, r.cell.seed) for r in results] == [("mine", 1), ("ridge", 0)]
        assert len(left_out) == 1


def test_the_latest_of_several_cells_is_the_last():
    cells = [identified("mine", source).cell for source in ("a", "b")]
    assert "b" in latest_of(cells).values()
    assert "a" not in latest_of(cells).values()
