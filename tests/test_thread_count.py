"""How many processor threads torch uses: the user's choice, and chosen once where the user has made none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flp_agents.benchmark.plan import BenchmarkPlan
from flp_agents.benchmark.running import run_benchmark
from flp_agents.cli.main import main
from flp_agents.support.processes import choose_threads, one_thread
from flp_agents.support.provenance import stamp
from flp_base.errors import FLPError

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    """As many as nobody chooses by default; the tests' own one afterwards."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


def test_importing_changes_nothing():
    code = "import torch; n = torch.get_num_threads(); import flp_envs, flp_agents.cli.main, flp_agents.cli.training\n"
    code += "assert torch.get_num_threads() == n"
    path = [str(p) for p in (Path.cwd(), Path.cwd() / "agents", Path.cwd() / "datasets")]
    program = f"import sys; sys.path[:0] = {path}; {code}"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)


def test_one_unless_the_user_says_otherwise():
    choose_threads(None)
    assert torch.get_num_threads() == 1


def test_what_is_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    choose_threads(2)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", VARIABLES)
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "3")  # as torch has read it when it was loaded
    choose_threads(None)
    assert torch.get_num_threads() == 3


def test_large_products_get_all_cores():
    choose_threads(None, large=True)
    assert torch.get_num_threads() == 3


def test_a_block_of_one_thread_gives_the_others_back():
    def fail():
        assert torch.get_num_threads() == 1
        raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"), one_thread():
        fail()
    assert torch.get_num_threads() == 3


def test_a_benchmark_leaves_the_users_process_as_it_was(tmp_path):
    plan = BenchmarkPlan(
        learners=("ridge",), envs=("FLPSine-IID-v0",), seeds=1, episodes=2, env_options={"num_functions": 2}
    )
    run_benchmark(plan, tmp_path)
    assert torch.get_num_threads() == 3


def test_a_resumed_run_has_as_many_as_before(tmp_path, capsys):
    options = ["--hidden-widths", "8,8", "--meta-batch", "2", "--outer-steps", "3", "--test-episodes", "2"]
    options += ["--warm-up", "0", "--env-option", "num_functions=2", "--env-option", "steps_per_function=2"]
    folder = str(tmp_path / "run")
    assert main(["train", *options, "--output", folder, "--minutes", "1e-9", "--threads", "2"]) == 0
    assert torch.get_num_threads() == 2
    torch.set_num_threads(3)
    assert main(["train", "--resume", folder, "--test-episodes", "2"]) == 0
    assert torch.get_num_threads() == 2
    assert main(["train", *options, "--output", f"{folder}-2"]) == 0
    assert torch.get_num_threads() == 1
    assert main(["train", "--resume", str(tmp_path / "none")]) == 1
    assert "no checkpoint at" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes cannot be kept to a part of the cores")
def test_no_more_processes_by_default_than_cores_that_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    asked = []

    def run(*arguments, jobs, **options):
        asked.append(jobs)
        raise FLPError("enough")

    monkeypatch.setattr("flp_agents.cli.benchmark.run_benchmark", run)
    monkeypatch.setattr(
        "flp_agents.cli.reproduction.reproduce_table", lambda table, scale, how, **_: run(jobs=how.jobs)
    )
    assert main(["benchmark", "--output", str(tmp_path / "benchmark")]) == 1
    assert main(["reproduce", "table1", "--output", str(tmp_path / "reproduction")]) == 1
    assert asked == [1, 1]
    assert stamp()["machine"].endswith(" 1 core")
