"""Benchmarks: the same numbers however they are run, each cell once, and a fault costs its own cell only."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flp_envs
from flp_agents import build_learner, evaluate, get_preset, register_learner, save_checkpoint
from flp_agents.benchmark.cell import run_cell
from flp_agents.benchmark.entries import build_entry
from flp_agents.benchmark.plan import BenchmarkPlan, PlanError
from flp_agents.benchmark.reading import check_result, read_result, read_results
from flp_agents.benchmark.results import CELLS, Cell, cell_path
from flp_agents.benchmark.running import run_benchmark
from flp_agents.benchmark.shared_folder import EARLIER, LOCKS
from flp_agents.evaluation import scoring
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.experiments.analysis.together import analyse
from flp_agents.learners import registered
from flp_agents.support import plugins
from flp_base.errors import FLPError, InvalidChoice

PLUGIN = str(Path(__file__).parent / "plugin_learners.py")
SMALL = {"num_functions": 3, "steps_per_function": 4}
LEARNERS = ("mean", "seeded", "sgd", "experience-replay", "nearest-neighbour", "ridge", "policy")


def plan_of(*learners, **changes):
    settings = {"envs": ("FLPSine-Continual-v0",), "seeds": 1, "episodes": 3, "env_options": SMALL, **changes}
    return BenchmarkPlan(learners=learners, plugins=(PLUGIN,), **settings)


def shown(result):
    """The numbers of a result as tables show them, and more digits."""
    scores = {name: [f"{value:.6g}" for value in values] for name, values in result.scores.items()}
    return scores, [f"{value:.6g}" for value in result.curves["prequential"]], result.network, result.state_bytes


@pytest.fixture(autouse=True)
def _plugin():
    plugins.load_plugins([PLUGIN])


@pytest.mark.parametrize("env", ["FLPSine-Continual-v0", "FLPSine-IID-v0"])
@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_digits_alone_and_in_a_batch(name, env):
    cell = Cell(env, name, 1, 5, env_options=SMALL)
    alone, some, all_at_once = (run_cell(cell, lifetimes_at_once=number) for number in (1, 2, 5))
    assert alone.failure is None
    assert shown(alone) == shown(some) == shown(all_at_once) == shown(run_cell(cell))


@pytest.fixture(scope="module")
def small_network(tmp_path_factory):
    """The folder of a meta-trainable network for the small environment."""
    folder, env = tmp_path_factory.mktemp("network"), flp_envs.make("FLPSine-Continual-v0", **SMALL)
    settings = get_preset("cpu", "flp", {"hidden_widths": (8, 8)})
    save_checkpoint(folder, build_learner("flp", env, settings), env=env)
    return str(folder)


@pytest.mark.parametrize("name", [*LEARNERS, "small_network"])
def test_a_cell_scores_what_evaluate_scores(name, small_network):
    """Its learner in double precision, on the same episodes; means over the query may differ in the last bit."""
    name = small_network if name == "small_network" else name
    cell = Cell("FLPSine-Continual-v0", name, 1, 3, env_options=SMALL)
    env = flp_envs.make(cell.env, split=cell.split, **SMALL)
    learner = build_entry(name, env, cell.seed).learner.double()
    found = evaluate(learner, env, episodes=cell.episodes, seed=cell.seed)
    result = run_cell(cell)
    assert (result.failure, result.metric) == (None, found.metric)
    np.testing.assert_allclose(result.scores["query_score"], found.scores, rtol=1e-12)


def test_an_evaluation_is_one_run_on_episodes_for_all(monkeypatch):
    """Neither ``evaluate``, nor the benchmark, nor the analysis draws episodes by itself."""
    drawn = []

    def none_at_all(env, episodes, seed, at_once=None):
        drawn.append((episodes, seed))
        raise FLPError("no episodes")

    monkeypatch.setattr(scoring, "batches_of_episodes", none_at_all)
    env = flp_envs.make("FLPSine-Continual-v0", **SMALL)
    learner = build_learner("flp", env, get_preset("cpu", "flp", {"hidden_widths": (8, 8)}))
    assert run_cell(Cell("FLPSine-Continual-v0", "mean", 2, 3, env_options=SMALL)).failure == "no episodes"
    for call in (evaluate, analyse):
        with pytest.raises(FLPError, match="no episodes"):
            call(learner, env, episodes=3, seed=2)
    assert drawn == [(3, 2)] * 3


def test_every_metric_of_a_continual_lifetime():
    result = run_cell(Cell("FLPSine-Continual-v0", "mean", 0, 4, env_options=SMALL))
    assert set(result.scores) == set(METRICS)
    assert all(len(values) == 4 and np.isfinite(values).all() for values in result.scores.values())
    r = np.array(result.curves["query_by_task"])
    assert r.shape == (4, 3)
    assert result.curves["query_at"] == [0, 4, 8, 12]
    # The learner forgets which function is which: its transfer and forgetting are those of its own R matrix.
    assert np.mean(result.scores["average_final_score"]) == pytest.approx(r[-1].mean())
    assert np.mean(result.scores["backward_transfer"]) == pytest.approx(
        -np.mean([r[3, j] - r[j + 1, j] for j in (0, 1)])
    )
    assert np.mean(result.scores["query_score"]) == pytest.approx(result.curves["query"][-1])
    assert np.mean(result.scores["prequential_score"]) == pytest.approx(np.mean(result.curves["prequential"]))


def test_what_means_nothing_is_left_out():
    result = run_cell(Cell("FLPSine-IID-v0", "mean", 0, 3, env_options=SMALL))
    assert set(result.scores) == {"query_score", "prequential_score", "prequential_area", "learning_area"}
    assert not result.task_ends


@pytest.mark.parametrize("seed", range(3))
def test_sub_tasks_that_are_mixed_are_so_in_every_batch_of_episodes(seed):
    small = {"num_classes": 2, "shots": 1}  # every other episode is in order by chance
    result = run_cell(Cell("FLPGlyph-IID-v0", "nearest-neighbour", seed, 6, env_options=small))
    assert result.failure is None
    assert set(result.scores) == {"query_score", "prequential_score", "prequential_area", "learning_area"}
    assert not result.task_ends
    check_result(result)
    continual = run_cell(Cell("FLPGlyph-Continual-v0", "nearest-neighbour", seed, 6, env_options=small))
    assert continual.task_ends
    assert {"forgetting", "backward_transfer"} <= set(continual.scores)


def test_a_single_sub_task_and_a_single_step():
    one = {"num_functions": 1, "steps_per_function": 1}
    result = run_cell(Cell("FLPSine-Continual-v0", "mean", 0, 2, env_options=one))
    assert result.failure is None
    assert set(result.scores) == {"query_score", "prequential_score", "learning_area"}


def test_a_row_says_where_it_comes_from(tmp_path):
    plan = plan_of("flp-2-sine-continual", env_options={}, episodes=2)
    (result,) = run_benchmark(plan, tmp_path)
    assert result.cell.checkpoint
    assert result.title == "FLP (2)"
    stamp = result.stamp
    assert stamp["checkpoint"] == "flp-2-sine-continual"
    assert stamp["meta_trained_on"] == "FLPSine-Continual-v0 meta-train"
    assert {"version_torch", "version_flp_envs", "version_python", "machine", "precision"} <= stamp.keys()
    assert np.mean(result.scores["query_score"]) < 0.01


def test_processes_and_one_process_agree(tmp_path):
    plan = plan_of("mean", "sgd", "seeded", seeds=2)
    one = run_benchmark(plan, tmp_path / "one")
    two = run_benchmark(plan, tmp_path / "two", jobs=2)
    assert [shown(result) for result in one] == [shown(result) for result in two]
    assert [result.cell for result in one] == list(plan.cells())
    summaries = [json.loads((tmp_path / name / "summary.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    assert summaries[0] == summaries[1]
    assert {row["learner"] for row in summaries[0]} == {"mean", "sgd", "seeded"}


def test_finished_cells_are_not_run_again(tmp_path):
    run_benchmark(plan_of("mean"), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / CELLS).iterdir()}
    seen = []
    run_benchmark(plan_of("mean", "seeded"), tmp_path, on_cell=lambda result: seen.append(result.cell.learner))
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / CELLS).iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 2
    assert seen == ["mean", "seeded"]


def test_a_fault_costs_its_own_cell_only(tmp_path):
    results = run_benchmark(plan_of("raises", "wrong-shape", "not-a-number", "mean"), tmp_path)
    failures = {result.cell.learner: result.failure for result in results}
    assert failures["mean"] is None
    assert failures["raises"].startswith("ZeroDivisionError: cannot [be] learned (plugin_learners.py, line ")
    assert "expected predictions of shape" in failures["wrong-shape"]
    assert "predicted NaN or infinity in lifetime 0" in failures["not-a-number"]
    assert "raises" in (tmp_path / "results.csv").read_text(encoding="utf-8")


def test_failed_cells_are_run_again_if_asked(tmp_path, monkeypatch):
    run_benchmark(plan_of("raises"), tmp_path)
    monkeypatch.setattr(registered.LEARNERS["raises"], "update", registered.LEARNERS["mean"].update)
    assert run_benchmark(plan_of("raises"), tmp_path)[0].failure is not None
    assert run_benchmark(plan_of("raises"), tmp_path, retry_failed=True)[0].failure is None


def test_a_slow_learner_is_interrupted(tmp_path):
    started = time.monotonic()
    (result,) = run_benchmark(plan_of("sleeps", cell_minutes=0.02), tmp_path)
    assert result.failure == "took more than 0.02 minutes (--cell-minutes)"
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_what_hangs_or_dies_takes_nobody_along(tmp_path, monkeypatch):
    results = run_benchmark(plan_of("hangs", "mean", "dies", "seeded", cell_minutes=0.2), tmp_path, jobs=2)
    failures = {result.cell.learner: result.failure for result in results}
    assert failures["mean"] is None
    assert failures["seeded"] is None
    assert failures["hangs"].startswith("hung: did not stop")
    assert failures["dies"].startswith("its process died")
    assert not list((tmp_path / LOCKS).glob("*.begun"))


PROGRAM = """
import sys
from pathlib import Path
from flp_agents.benchmark.running import run_benchmark
from flp_agents.benchmark.shared_folder import LOCKS
from flp_agents.benchmark.plan import BenchmarkPlan

if __name__ == "__main__":
    plan = BenchmarkPlan(learners=("slow",), envs=("FLPSine-Continual-v0",), seeds=6, episodes=4,
                         env_options={"num_functions": 3, "steps_per_function": 4}, plugins=(sys.argv[2],))
    run_benchmark(plan, Path(sys.argv[1]), jobs=int(sys.argv[3]))
"""


def start(tmp_path, jobs=1):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    folder = tmp_path / "results"
    return subprocess.Popen([sys.executable, script, folder, PLUGIN, str(jobs)], start_new_session=True), folder


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killing_it_loses_the_running_cells_only(tmp_path, jobs):
    process, folder = start(tmp_path, jobs)
    deadline = time.monotonic() + 120
    while len(list((folder / CELLS).glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (folder / CELLS).glob("*.json")}
    assert 2 <= len(done) < 6
    assert all(read_result(path).failure is None for path in done)
    again, folder = start(tmp_path, jobs)
    assert again.wait(timeout=200) == 0
    after = {path: path.stat().st_mtime_ns for path in (folder / CELLS).glob("*.json")}
    assert done.items() <= after.items()
    assert len(after) == 6
    assert (folder / "results.csv").read_text(encoding="utf-8").count("\n") == 1 + 6 * 4


@pytest.mark.slow
def test_two_in_one_folder_share_the_work(tmp_path):
    first, folder = start(tmp_path)
    second, _ = start(tmp_path)
    assert first.wait(timeout=200) == 0
    assert second.wait(timeout=200) == 0
    assert len(read_results(folder)[0]) == 6
    assert not list(folder.rglob("*.tmp"))


# Ray forks, to start programs of its own, and JAX warns of every fork once another test has imported it.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.slow
def test_on_a_local_ray(tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray: pip install 'flp-envs[ray]'")
    plan = plan_of("mean", "seeded", seeds=2)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        on_ray = run_benchmark(plan, tmp_path / "ray", jobs=2, backend="ray")
    finally:
        ray.shutdown()
    here = run_benchmark(plan, tmp_path / "here")
    assert [shown(result) for result in on_ray] == [shown(result) for result in here]


@pytest.mark.slow
def test_on_a_local_dask(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask: pip install 'flp-envs[dask]'")
    plan = plan_of("mean", "seeded", seeds=2)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster):
        on_dask = run_benchmark(plan, tmp_path / "dask", jobs=2, backend="dask")
    here = run_benchmark(plan, tmp_path / "here")
    assert [shown(result) for result in on_dask] == [shown(result) for result in here]


def test_bad_input(tmp_path, monkeypatch):
    with pytest.raises(InvalidChoice, match="did you mean 'loky'"):
        run_benchmark(plan_of("mean"), tmp_path, backend="lokey")
    with pytest.raises(FLPError, match="jobs must be a whole number of at least 1"):
        run_benchmark(plan_of("mean"), tmp_path, jobs=0)
    for name, module in (("ray", "ray.util.joblib"), ("dask", "distributed")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(FLPError, match=rf"the {name} backend needs .*flp-envs\[{name}\]"):
            run_benchmark(plan_of("mean"), tmp_path, backend=name)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FLPError, match="choose another --output"):
        run_benchmark(plan_of("mean"), tmp_path / "file")


def test_a_folder_holds_one_benchmark(tmp_path):
    run_benchmark(plan_of("mean"), tmp_path)
    with pytest.raises(PlanError, match="with episodes 3, not 4: choose another --output"):
        run_benchmark(plan_of("seeded", episodes=4), tmp_path)
    with pytest.raises(PlanError, match="with env_options"):
        run_benchmark(plan_of("seeded", env_options={}), tmp_path)


def test_what_cannot_be_read_is_run_again(tmp_path):
    (before,) = run_benchmark(plan_of("mean"), tmp_path)
    path = cell_path(tmp_path, before.cell)
    damaged = path.read_bytes()[:-20]
    path.write_bytes(damaged)
    (tmp_path / CELLS / "other.json").write_text("{", encoding="utf-8")
    (after,) = run_benchmark(plan_of("mean"), tmp_path)
    assert shown(after) == shown(before)
    assert (tmp_path / EARLIER / path.name).read_bytes() == damaged
    assert len(read_results(tmp_path)[0]) == 1


@register_learner("overflows")
class Overflows:
    """Its answers are numbers, their squares are not."""

    def reset(self):
        pass

    def predict(self, x):
        return np.full((len(x), 1), 1e200)

    def update(self, x, y):
        pass


@register_learner("leaves")
class Leaves(Overflows):
    def predict(self, x):
        return np.zeros((len(x), 1))

    def update(self, x, y):
        raise SystemExit(3)


def test_what_cannot_be_summarised_costs_itself(tmp_path):
    results = run_benchmark(plan_of("overflows", "leaves", "mean"), tmp_path)
    failures = {result.cell.learner: result.failure for result in results}
    assert failures["mean"] is None
    assert failures["overflows"].startswith("its losses grow beyond 1e+100, towards NaN or infinity in lifetime 0, ")
    assert failures["leaves"].startswith("SystemExit: 3 (test_benchmark.py, line ")
    assert read_results(tmp_path)[1] == []
