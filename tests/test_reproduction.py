"""The paper's tables made anew: each network once, whatever happens on the way, and beside the paper's numbers."""

import csv
import io
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from documentation import run_as_a_reader, start_as_a_reader
from PIL import Image
from test_cli import fails

import flp_envs
from flp_agents import load_bundled
from flp_agents.cli.main import main
from flp_agents.cli.parser import make_parser
from flp_agents.cli.setting_options import settings_given
from flp_agents.experiments.analysis import analyse
from flp_agents.experiments.analysis.stored import archive_of, read_analysis
from flp_agents.experiments.reproduction import learning_curves, running
from flp_agents.experiments.reproduction.analysing import analyse_networks
from flp_agents.experiments.reproduction.evaluating import part_of, reproduce_table
from flp_agents.experiments.reproduction.files import ReproductionError, read_record, write_record
from flp_agents.experiments.reproduction.learning_curves import LearningCurve, keep_curves, kept_curves
from flp_agents.experiments.reproduction.networks import (
    OtherNetwork,
    find_network,
    meta_train,
    network_folder,
    plan_digest,
    run_folder,
)
from flp_agents.experiments.reproduction.published import PUBLISHED
from flp_agents.experiments.reproduction.results import (
    NO_DATA,
    NOT_TRAINED,
    NetworkResult,
    figure,
    result_path,
    rows_of,
)
from flp_agents.experiments.reproduction.running import How, missing_data
from flp_agents.experiments.reproduction.tables import SCALES, TABLE_1, TABLE_2, TABLES, Column, Method, Network, Table
from flp_agents.training import checkpoint
from flp_agents.training.bundled import bundled_checkpoints
from flp_agents.training.outer_step import MetaTrainingDiverged
from flp_agents.training.run_metrics import FILE, last_step
from flp_base.errors import FLPError

FAST = {"hidden_widths": (8, 8), "outer_steps": 6, "short_outer_steps": 2, "meta_batch": 2}
SMALL = {"num_functions": 2, "steps_per_function": 2, "batch_size": 4, "query_size": 4}
TINY = Table(
    "table1",
    "A small table",
    (
        Method("FLP (2)", "flp-2", "flp", FAST),
        Method("Gradient-based (3), as released", "released-3", "gradient-based", {**FAST, "redraw_output": True}),
    ),
    (Column("continual", "continual", "FLPSine-Continual-v0", "sine-continual", SMALL),),
    networks=2,
    episodes=3,
)
NUMBER_OF_NETWORKS = 4


def network_of(table=TINY, method=0, seed=0, scale="cpu"):
    return Network(table.methods[method], table.columns[0], scale, seed)


def contents(folder):
    """Every result, and when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cpu" / "table1").glob("*.json")}


def result_of(method="FLP (2)", column="continual", seed=0, mean=1.0, failure=None):
    return NetworkResult(f"{method}-{seed}", method, column, seed, "flp train", "plan", 3, mean=mean, failure=failure)


# What the tables say


def test_rows_and_columns_are_the_papers_and_two_more_forms_of_the_baseline():
    for table, columns in (
        (TABLE_1, ["iid", "continual"]),
        (TABLE_2, ["omniglot", "omniglot_continual", "mini_imagenet"]),
    ):
        assert [column.name for column in table.columns] == columns
        titles = [method.title for method in table.methods]
        assert [title for title in titles if "order" not in title and "released" not in title] == list(
            PUBLISHED[table.name]
        )
        assert all(list(row) == columns for row in PUBLISHED[table.name].values())
    assert (TABLE_1.networks, TABLE_1.episodes) == (2, 200)
    assert (TABLE_2.networks, TABLE_2.episodes) == (5, 1000)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_command_says_what_is_done(table, scale):
    """Read by the command line itself, it comes out as the very plan."""
    networks, parser = list(table.cells(scale)), make_parser()
    assert len({network.name for network in networks}) == len(networks)
    for network in networks:
        words = network.command.split()
        options = parser.parse_args(words[1:])
        assert (words[0], options.env, options.learner) == ("flp", network.column.env, network.method.learner)
        assert (options.preset, options.seed) == (scale, network.seed)
        assert settings_given(options) == network.method.options


def test_forms_of_the_baseline_differ_in_what_they_say():
    forms = {method.title: method.options for method in TABLE_1.methods if method.learner == "gradient-based"}
    assert forms == {
        "Gradient-based (3)": {},
        "Gradient-based (3), first order": {"order": "first"},
        "Gradient-based (3), as released": {"order": "first", "redraw_output": True},
    }
    settings = network_of(TABLE_1, 3).plan().settings
    assert tuple(map(settings.get, ("order", "redraw_output", "plastic_layers"))) == ("second", False, 3)


def test_bundled_networks_are_those_of_the_tables(tmp_path):
    first = {network.name: network for table in TABLES.values() for network in table.cells("cpu")}
    for name, folder in bundled_checkpoints().items():
        assert find_network(tmp_path, first[name]) == folder
        assert find_network(tmp_path, first[name], here_only=True) is None


def test_standard_errors_are_over_networks():
    results = [result_of(seed=seed, mean=mean) for seed, mean in enumerate((1.0, 3.0))]
    rows = rows_of(TINY, [*results, result_of("Gradient-based (3), as released", mean=5.0)])
    assert rows[0]["method"] == "FLP (2)"
    cell = rows[0]["continual"]
    # The deviation of 1 and 3 is the square root of 2; of the mean of two, 1.
    assert (cell["mean"], cell["standard_error"], cell["networks"], cell["failed"]) == (2.0, pytest.approx(1.0), 2, 0)
    assert cell["published"] == {"mean": 0.0016, "standard_error": 6e-05}
    assert rows[1]["continual"]["standard_error"] is None
    assert rows[1]["continual"]["published"] is None
    assert figure(cell) == "2 (1)"


def test_what_is_missing_and_what_diverged_is_said():
    rows = rows_of(TINY, [result_of(seed=0), result_of(seed=1, mean=None, failure="diverged")])
    assert (rows[0]["continual"]["mean"], rows[0]["continual"]["failed"]) == (1.0, 1)
    assert figure(rows[0]["continual"]) == "1, 1 diverged"
    assert rows[1]["continual"]["note"] == NOT_TRAINED
    assert rows_of(TINY, [], ["continual"])[0]["continual"]["note"] == NO_DATA
    alone = rows_of(TINY, [result_of(mean=None, failure="diverged")])[0]["continual"]
    assert (alone["mean"], figure(alone)) == (None, "diverged")
    json.dumps(rows, allow_nan=False)


def test_parts_of_a_table():
    part = part_of(TABLE_1, methods=["flp-3"], columns=["iid"])
    assert [(network.name, network.seed) for network in part.cells("cpu")] == [
        ("flp-3-sine-iid", 0),
        ("flp-3-sine-iid-seed-1", 1),
    ]
    assert part_of(TABLE_1) == TABLE_1


# Making one


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small table, meta-trained at one go."""
    folder = tmp_path_factory.mktemp("made")
    told = []
    found = reproduce_table(
        TINY, "cpu", How(folder, retrain=True), command="flp reproduce", on_progress=lambda *of: told.append(of)
    )
    return folder, found, told


def test_all_networks_are_meta_trained_and_judged(made):
    folder, found, told = made
    assert len(found.results) == NUMBER_OF_NETWORKS
    assert found.missing == []
    assert {(result.outer_steps, result.episodes, result.metric) for result in found.results} == {(6, 3, "mse")}
    assert len({result.weights for result in found.results}) == NUMBER_OF_NETWORKS
    assert all(math.isfinite(result.mean) and result.cost_seconds > 0 for result in found.results)
    assert found.rows[0]["continual"]["networks"] == 2
    assert found.rows[0]["continual"]["mean"] == pytest.approx(
        sum(r.mean for r in found.results if "FLP" in r.method) / 2
    )
    assert told[-1] == (24, 24, "4 of 4 networks")
    for result in found.results:
        about = checkpoint.read_description(folder / "cpu" / "networks" / result.name)["about"]
        assert about["command"] == result.command


def test_its_files_hold_the_same(made):
    folder, found, _ = made
    assert {path.name for path in found.files} == {"table1.csv", "table1.json", "table1.md"}
    with (folder / "cpu" / "table1.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == [result.mean for result in found.results]
    assert all(row["version_torch"] and row["machine"] and row["command"].startswith("flp train") for row in rows)
    content = json.loads((folder / "cpu" / "table1.json").read_text(encoding="utf-8"))
    assert content["rows"] == found.rows
    assert content["command"] == "flp reproduce"
    assert len(content["networks"]) == NUMBER_OF_NETWORKS
    page = (folder / "cpu" / "table1.md").read_text(encoding="utf-8")
    assert "| FLP (2) | " in page
    assert "0.0016 (6e-05)" in page


def test_a_part_leaves_the_whole_in_the_files(made):
    folder, found, _ = made
    part = replace(part_of(TINY, methods=["flp-2"]), networks=1)
    of_part = reproduce_table(TINY, "cpu", How(folder), part=part)
    assert [result.name for result in of_part.results] == ["flp-2-sine-continual"]
    assert of_part.rows[0]["continual"]["networks"] == 1
    assert json.loads((folder / "cpu" / "table1.json").read_text(encoding="utf-8"))["rows"] == found.rows


def test_nothing_is_done_twice(made):
    folder, found, _ = made
    before = contents(folder)
    for retrain in (True, False):
        again = reproduce_table(TINY, "cpu", How(folder, retrain=retrain))
        assert again.results == found.results
    assert contents(folder) == before


def test_completing_leaves_what_is_there_with_or_without_its_network(made, tmp_path):
    folder, found, _ = made
    shutil.copytree(folder / "cpu" / "table1", tmp_path / "cpu" / "table1")
    gone = found.results[0].name
    (tmp_path / "cpu" / "table1" / f"{gone}.json").unlink()
    again = reproduce_table(TINY, "cpu", How(tmp_path, complete=True))
    assert [path.name for path in (tmp_path / "cpu" / "networks").iterdir()] == [gone]
    assert [result.mean for result in again.results] == [result.mean for result in found.results]
    with pytest.raises(SystemExit):
        main(["reproduce", "table1", "--complete", "--retrain", f"--output={tmp_path}"])


def test_asked_to_it_judges_anew(made):
    folder, found, _ = made
    before = contents(folder)
    again = reproduce_table(TINY, "cpu", How(folder, retrain=True), overwrite=True)
    assert [result.mean for result in again.results] == [result.mean for result in found.results]
    assert all(contents(folder)[name] > before[name] for name in before)


def test_other_episodes_are_judged_and_kept_apart(made):
    folder, found, _ = made
    before = contents(folder)
    part = replace(part_of(TINY, methods=["flp-2"]), networks=1, episodes=4)
    more = reproduce_table(TINY, "cpu", How(folder, retrain=True), part=part)
    assert [result.episodes for result in more.results] == [4]
    assert more.results[0].mean != found.results[0].mean
    assert more.rows[0]["continual"]["published"] == found.rows[0]["continual"]["published"]
    assert {path.name for path in more.files} == {f"table1-4-episodes.{kind}" for kind in ("csv", "json", "md")}
    assert contents(folder) == before


def test_more_networks_than_the_papers_are_in_the_files(made, tmp_path):
    folder, _, _ = made
    one = replace(part_of(TINY, methods=["flp-2"]), networks=1)
    more = reproduce_table(one, "cpu", How(folder, retrain=True), part=replace(one, networks=2))
    assert len(more.results) == 2
    assert len(json.loads((folder / "cpu" / "table1.json").read_text(encoding="utf-8"))["networks"]) == 2
    reproduce_table(TINY, "cpu", How(folder, retrain=True))


def test_a_result_of_another_plan_does_not_count(made, tmp_path):
    _, found, _ = made
    write_record(result_path(tmp_path, "table1", network_of()), replace(found.results[0], plan="another"))
    one = replace(part_of(TINY, methods=["flp-2"]), networks=1)
    assert reproduce_table(one, "cpu", How(tmp_path)).results == []


class Forked:
    """In place of joblib's Parallel: what is sent is the same, to processes that need not import everything anew."""

    def __init__(self, n_jobs, return_as):
        self.jobs = n_jobs

    def __call__(self, calls):
        calls, context = list(calls), multiprocessing.get_context("fork")
        for first in range(0, len(calls), self.jobs):
            results = context.SimpleQueue()
            running = [
                context.Process(target=self._work, args=(cloudpickle.dumps(call), results))
                for call in calls[first : first + self.jobs]
            ]
            for process in running:
                process.start()
            yield from (results.get() for _ in running)
            for process in running:
                process.join()

    @staticmethod
    def _work(call, results):
        function, arguments, options = cloudpickle.loads(call)
        results.put(function(*arguments, **options))


BEGINNING = "import json\nfrom pathlib import Path\nimport test_reproduction as t\n"
FORKED = BEGINNING + "t.running.joblib.Parallel = t.Forked\n"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGKILL, "forked"),
        *(pytest.param(n, "loky", marks=pytest.mark.slow) for n in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)),
    ],
)
def test_other_processes_save_and_stop_however_the_first_one_is_stopped(tmp_path, number, kind):
    script = (
        "slow = {**t.FAST, 'outer_steps': 100_000}\n"
        "table = t.replace(t.TINY, methods=tuple(t.replace(m, options=slow) for m in t.TINY.methods))\n"
        f"t.reproduce_table(table, 'cpu', t.How(Path({str(tmp_path)!r}), retrain=True, jobs=2))"
    )
    if kind == "forked":
        process = start_as_a_reader(FORKED + script, tmp_path).process
        wait, errors = process.join, io.StringIO()
    else:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGINNING + script],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        wait, errors = process.wait, process.stderr
    runs = tmp_path / "cpu" / "runs"
    until = time.time() + 120
    while time.time() < until and not (
        len(found := list(runs.glob("*"))) == 2 and all(last_step(run) > 3 for run in found)
    ):
        time.sleep(0.05)
    os.kill(process.pid, number)
    wait(60)
    # Of processes that outlive their parent nothing comes through its pipe any more.
    with errors:
        assert number == signal.SIGKILL or "KeyboardInterrupt" in errors.read()
    # Another process can go on at once, and nothing is lost.
    until = time.time() + 60
    stopped = {run.name: last_step(run) for run in runs.glob("*")}
    while time.time() < until:
        saved = {run.name: checkpoint.read_description(run)["about"]["outer_steps_done"] for run in runs.glob("*")}
        if saved == (stopped := {run.name: last_step(run) for run in runs.glob("*")}):
            break
        time.sleep(0.2)
    assert saved == stopped
    assert len(saved) == 2
    assert min(saved.values()) > 3
    time.sleep(1.0)
    assert stopped == {run.name: last_step(run) for run in runs.glob("*")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["forked", "loky"])
def test_in_processes_the_same_comes_out(made, tmp_path, kind):
    _, found, _ = made
    if kind == "forked":
        script = (
            "found = t.reproduce_table(t.TINY, 'cpu', t.How(Path('results'), retrain=True, jobs=2))\n"
            "print(json.dumps([(r.mean, r.weights) for r in found.results]))"
        )
        parallel = json.loads(run_as_a_reader(FORKED + script, tmp_path))
    else:
        results = reproduce_table(TINY, "cpu", How(tmp_path, retrain=True, jobs=2)).results
        parallel = [[r.mean, r.weights] for r in results]
    assert parallel == [[r.mean, r.weights] for r in found.results]


def test_a_result_counts_without_its_network_until_that_is_meta_trained(made, tmp_path):
    _, found, _ = made
    network = network_of(seed=1)
    recorded = replace(next(r for r in found.results if r.name == network.name), mean=0.25, weights="of elsewhere")
    write_record(result_path(tmp_path, "table1", network), recorded)
    one = replace(part_of(TINY, methods=["flp-2"]))
    without = reproduce_table(one, "cpu", How(tmp_path))
    assert recorded in without.results
    trained = reproduce_table(one, "cpu", How(tmp_path, retrain=True))
    assert recorded not in trained.results
    assert len(trained.results) == 2


def test_a_curve_counts_without_its_network_until_another_is_meta_trained(made, tmp_path):
    folder, found, _ = made
    network = network_of(seed=1)
    elsewhere = How(folder)
    keep_curves(elsewhere, analyse_networks([network], elsewhere, episodes=2))
    ((_, curve),) = kept_curves(elsewhere, [network], episodes=2)
    assert curve.weights == next(r for r in found.results if r.name == network.name).weights
    assert curve.inner_steps[0] == 0
    assert len(curve.inner_steps) == len(curve.mean) == len(curve.standard_error)
    here = How(tmp_path)
    path = tmp_path / "cpu" / "curves" / f"{network.name}.json"
    write_record(path, curve)
    assert kept_curves(here, [network], episodes=2) == [(network, curve)]
    assert kept_curves(here, [network], episodes=3) == []
    assert kept_curves(replace(here, retrain=True), [network], episodes=2) == []
    write_record(path, replace(curve, plan="another"))
    assert kept_curves(here, [network], episodes=2) == []
    write_record(path, replace(curve, weights="another"))
    assert len(kept_curves(here, [network], episodes=2)) == 1
    shutil.copytree(network_folder(folder, network), network_folder(tmp_path, network))
    assert kept_curves(here, [network], episodes=2) == []


def test_curves_of_networks_that_are_not_here_are_drawn_with_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(learning_curves, "png_of", lambda _: b"")  # drawn, and not painted, which takes a second each
    options = ["--columns=continual", "--episodes=1", "--jobs=1", f"--output={tmp_path}"]
    rows = run(["curves", "--methods=flp-2", "--networks=1", *options], capsys)["rows"]
    bundled = tmp_path / "cpu" / "curves" / "flp-2-sine-continual.json"
    second = Network(TABLE_1.methods[1], TABLE_1.columns[1], "cpu", 1)
    curve = read_record(bundled, LearningCurve)
    there = replace(curve, name=second.name, plan=plan_digest(second), mean=[2 * mean for mean in curve.mean])
    write_record(bundled.with_name(f"{second.name}.json"), there)
    both = run(["curves", "--methods=flp-2", *options], capsys)["rows"]
    assert [row for row in both if row["seed"] == 0] == rows
    assert [row["mean"] for row in both if row["seed"] == 1] == [2 * row["mean"] for row in rows]
    # What is there is not measured again, unless that is asked for.
    write_record(bundled, replace(curve, mean=[3 * mean for mean in curve.mean]))
    for more, factor in (([], 3), (["--overwrite"], 1)):
        again = run(["curves", "--methods=flp-2", *options, *more], capsys)["rows"]
        assert [row["mean"] for row in again if row["seed"] == 0] == [factor * row["mean"] for row in rows]


def test_a_pause_loses_nothing(made, tmp_path, monkeypatch):
    _, found, _ = made
    paused = reproduce_table(TINY, "cpu", How(tmp_path, retrain=True, stop_after_seconds=0.001))
    assert paused.missing
    assert len(paused.missing) + len(paused.results) == NUMBER_OF_NETWORKS
    whole = reproduce_table(TINY, "cpu", How(tmp_path, retrain=True))
    assert [(r.mean, r.weights) for r in whole.results] == [(r.mean, r.weights) for r in found.results]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_it_goes_on_where_it_was(tmp_path):
    slow = replace(TINY, networks=1, methods=(replace(TINY.methods[0], options={**FAST, "outer_steps": 400}),))
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from dataclasses import replace\n"
        "from flp_agents.support.processes import set_threads\n"
        "from flp_agents.experiments.reproduction import networks\n"
        "from flp_agents.training.run import TrainingRun\n"
        "set_threads(1)\n"
        "import test_reproduction as t\n"
        "run = TrainingRun.run\n"
        "TrainingRun.run = lambda self, **of: run(self, save_every_seconds=0.0, **of)\n"
        "method = replace(t.TINY.methods[0], options={**t.FAST, 'outer_steps': 400})\n"
        "networks.meta_train(Path(sys.argv[1]), replace(t.network_of(), method=method))\n"
    )
    network = Network(slow.methods[0], slow.columns[0], "cpu", 0)
    here, tests = run_folder(tmp_path, network), str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), tests], env=os.environ)
    until = time.time() + 120
    while last_step(here) < 3 and time.time() < until and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    stopped = last_step(here)
    assert 3 <= stopped < 400
    assert reproduce_table(slow, "cpu", How(tmp_path)).results == []
    found = reproduce_table(slow, "cpu", How(tmp_path, retrain=True))
    assert [result.outer_steps for result in found.results] == [400]
    whole = reproduce_table(slow, "cpu", How(tmp_path / "whole", retrain=True))
    assert [result.weights for result in found.results] == [result.weights for result in whole.results]


def test_meta_training_that_diverges_is_a_result(tmp_path, monkeypatch):
    one = replace(part_of(TINY, methods=["flp-2"]), networks=1)

    def diverge(*_of, **_more):
        raise MetaTrainingDiverged("no outer step was finite")

    monkeypatch.setattr(running, "meta_train", diverge)
    found = reproduce_table(one, "cpu", How(tmp_path, retrain=True))
    assert [result.failure for result in found.results] == ["no outer step was finite"]
    assert found.rows[0]["continual"]["failed"] == 1
    assert found.missing == []
    monkeypatch.setattr(running, "meta_train", pytest.fail)
    assert reproduce_table(one, "cpu", How(tmp_path, retrain=True)).results == found.results


def test_ctrl_c_ends_it_and_saves(tmp_path, monkeypatch):
    from flp_agents.training.run import TrainingRun

    run = TrainingRun.run

    def interrupted(self, **options):
        return run(self, on_step=lambda _: os.kill(os.getpid(), signal.SIGINT), **options)

    monkeypatch.setattr(TrainingRun, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        meta_train(tmp_path, network_of())
    about = checkpoint.read_description(run_folder(tmp_path, network_of()))["about"]
    assert about["outer_steps_done"] == 1


def test_another_network_in_its_place_is_refused(made, tmp_path):
    other = replace(network_of(), method=replace(TINY.methods[0], options={**FAST, "rate_weights": 0.5}))
    meta_train(tmp_path, other)
    one = replace(part_of(TINY, methods=["flp-2"]), networks=1)
    with pytest.raises(OtherNetwork, match="differs in rate_weights: remove it, or choose another --output"):
        reproduce_table(one, "cpu", How(tmp_path))
    for path in sorted(network_folder(tmp_path, other).glob("*")):
        path.unlink()
    with pytest.raises(FLPError, match="differs in rate_weights"):
        reproduce_table(one, "cpu", How(tmp_path, retrain=True))


def test_without_data_a_column_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    networks = list(replace(TABLE_2, networks=1).cells("cpu"))
    assert missing_data(networks) == {"omniglot", "omniglot_continual", "mini_imagenet"}
    assert missing_data(list(TABLE_1.cells("cpu"))) == set()
    found = reproduce_table(TABLE_2, "cpu", How(tmp_path / "results", retrain=True))
    assert found.results == found.missing == []
    assert {row[column.name]["note"] for row in found.rows for column in TABLE_2.columns} == {NO_DATA}


def test_mini_imagenet_runs_where_its_data_is(tmp_path):
    options = {"outer_steps": 2, "short_outer_steps": 0, "channels": 4, "hidden_widths": (8,)}
    method = Method("FLP (2)", "flp-2", "flp", options)
    column = replace(TABLE_2.columns[2], env_options={"num_classes": 2, "shots": 1, "query_shots": 1})
    table = replace(TABLE_2, methods=(method,), columns=(column,), networks=1, episodes=2)
    found = reproduce_table(table, "cpu", How(tmp_path, retrain=True))
    assert [result.metric for result in found.results] == ["error_percent"]
    assert 0 <= found.rows[0]["mini_imagenet"]["mean"] <= 100


@pytest.mark.parametrize("content", ["", "{", '{"format_version": 1}', '{"format_version": 9}'])
def test_a_damaged_result_is_named(tmp_path, content):
    path = result_path(tmp_path, "table1", network_of())
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ReproductionError, match=str(path)):
        read_record(path, NetworkResult)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FLPError, match="choose another --output"):
        write_record(result_path(tmp_path / "file", "table1", network_of()), result_of())


def test_the_last_step_is_read_while_it_is_written(tmp_path):
    assert last_step(tmp_path) == 0
    rows = "".join(f"{step},0.5,1.0,0,{step}.0\n" for step in range(1, 200))
    (tmp_path / FILE).write_text("step,query_loss\n", encoding="utf-8")
    assert last_step(tmp_path) == 0
    (tmp_path / FILE).write_text("step,query_loss\n" + rows, encoding="utf-8")
    assert last_step(tmp_path) == 199
    (tmp_path / FILE).write_text("step,query_loss\n" + rows + "200,0.", encoding="utf-8")
    assert last_step(tmp_path) == 199


def test_an_analysis_is_read_as_it_was_written(tmp_path):
    analysis = analyse(
        load_bundled("flp-2-sine-continual"), flp_envs.make("FLPSine-Continual-v0", steps_per_function=2), episodes=2
    )
    about = {"weights": "abc", "episodes": 2}
    path = tmp_path / "analysis.npz"
    assert read_analysis(path, about) is None
    path.write_bytes(archive_of(analysis, about))
    again = read_analysis(path, about)
    assert again.metric == "mse"
    for name in ("asked_at", "query_losses", "query_scores", "readout_scores", "task_ends", "changes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(analysis, name))
    np.testing.assert_array_equal(again.updates.cosines, analysis.updates.cosines)
    assert read_analysis(path, {**about, "episodes": 3}) is None
    assert read_analysis(path, {**about, "more": 1}) is None
    path.write_bytes(path.read_bytes()[:-50])
    assert read_analysis(path, about) is None


# As it is typed


def run(arguments, capsys):
    """Runs a command that prints one JSON object on standard output, and nothing else there."""
    assert main(["reproduce", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_table_1_of_bundled_networks(tmp_path, capsys):
    content = run(["table1", "--methods", "flp-2", "oml-3", "--episodes=2", "--jobs=1", f"--output={tmp_path}"], capsys)
    assert [row["method"] for row in content["rows"]] == ["FLP (2)", "Original OML (3)"]
    for row in content["rows"]:
        for column in ("iid", "continual"):
            assert {"mean", "standard_error"} <= row[column].keys()
            assert row[column]["networks"] >= 1
    assert content["rows"][0]["continual"]["mean"] < 0.01
    assert content["rows"][0]["continual"]["published"]["mean"] == 0.0016
    assert main(["reproduce", "table1", "--methods", "flp-2", "oml-3", "--episodes=2", f"--output={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "FLP (2)" in shown
    assert "0.069" not in shown
    assert str(tmp_path / "cpu" / "table1-2-episodes.md") in shown


@pytest.mark.slow
def test_columns_can_be_chosen(tmp_path, capsys):
    arguments = ["--methods", "flp-2", "--columns", "continual", "--episodes=2", "--jobs=1", f"--output={tmp_path}"]
    (row,) = run(["table1", *arguments], capsys)["rows"]
    assert set(row) == {"method", "continual"}
    assert row["continual"]["mean"] < 0.01
    # The file is of the whole table all the same.
    assert {"iid", "continual"} < set(
        json.loads((tmp_path / "cpu" / "table1-2-episodes.json").read_text(encoding="utf-8"))["rows"][0]
    )
    rows = run(["curves", *arguments[:4], "--networks=1", "--episodes=1", f"--output={tmp_path}"], capsys)["rows"]
    assert {row["column"] for row in rows} == {"continual"}


def test_table_2_without_data(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FLP_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    content = run(["table2", f"--output={tmp_path}"], capsys)
    assert [row["method"] for row in content["rows"]] == [method.title for method in TABLE_2.methods]
    cells = [row[name] for row in content["rows"] for name in ("omniglot", "omniglot_continual", "mini_imagenet")]
    assert {(cell["mean"], cell["standard_error"], cell["note"]) for cell in cells} == {(None, None, NO_DATA)}
    assert main(["reproduce", "table2", f"--output={tmp_path}"]) == 0
    assert "Mini-ImageNet: data not available here" in capsys.readouterr().out


@pytest.mark.slow
def test_figure_2_and_curves_of_bundled_networks(tmp_path, capsys):
    options = [
        "--methods",
        "flp-2",
        "feature-reuse-1",
        "--networks=1",
        "--episodes=1",
        "--jobs=1",
        f"--output={tmp_path}",
    ]
    rows = run(["figure2", *options], capsys)["rows"]
    assert [(row["method"], row["column"]) for row in rows] == [
        (method, column) for column in ("continual", "iid") for method in ("Feature Reuse (1)", "FLP (2)")
    ]
    assert all(row["readout_score"] < row["score"] or row["method"] == "FLP (2)" for row in rows)
    curves = run(["curves", *options], capsys)["rows"]
    assert {row["column"] for row in curves} == {"iid", "continual", "omniglot", "omniglot_continual"}
    first, last = (next(r for r in rows if r["column"] == "continual") for rows in (curves, curves[::-1]))
    assert (first["inner_step"], last["inner_step"]) == (0, 400)
    assert last["mean"] < 0.01 < first["mean"]
    for name, files in (("figure2", ("readout.csv", "cosine.csv", "magnitude_iid.csv")), ("curves", ("curves.csv",))):
        folder = tmp_path / "cpu" / name
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 500
        assert {*files, f"{name}.json", f"{name}.png"} <= {path.name for path in folder.iterdir()}


def test_bad_input_is_refused_in_one_line(tmp_path, capsys):
    output = f"--output={tmp_path / 'new'}"
    assert "did you mean 'table1'" in fails(["reproduce", "tabel1", output], capsys)
    assert "valid: cpu, half, paper" in fails(["reproduce", "table1", "--scale=huge", output], capsys)
    assert "did you mean" in fails(["reproduce", "table1", "--methods=flp-5", output], capsys)
    assert "did you mean 'continual'" in fails(["reproduce", "table1", "--columns=continua", output], capsys)
    assert "at least" in fails(["reproduce", "table1", "--episodes=1", output], capsys)
    assert "at least" in fails(["reproduce", "table1", "--networks=0", output], capsys)
    assert "at least" in fails(["reproduce", "table1", "--jobs=-1", output], capsys)
    assert "minutes" in fails(["reproduce", "table1", "--minutes=-1", output], capsys)
    assert "is not there" in fails(["reproduce", "table1", "--device=cuda:77", output], capsys)
    assert "add --complete" in fails(["reproduce", "figure2", "--scale=paper", output], capsys)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "choose another --output" in fails(
        ["reproduce", "table1", "--methods=oml-3", "--networks=1", "--episodes=2", f"--output={tmp_path / 'file'}"],
        capsys,
    )
