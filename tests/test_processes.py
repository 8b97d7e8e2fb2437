"""Meta-training in two processes on this machine: the same as in one, and clear words when it goes wrong."""

import csv
import socket
import time

import pytest
import torch
from documentation import as_module, start_as_a_reader

from flp_agents.support.processes import Processes
from flp_agents.training import checkpoint
from flp_envs import InvalidSize

SMALL = [
    "--hidden-widths=12,12",
    "--env-option=steps_per_function=3",
    "--short-outer-steps=0",
    "--test-episodes=2",
    "--threads=1",
]


@pytest.fixture
def start(tmp_path_factory):
    """Starts ``world`` processes as torchrun would; ``different`` maps a rank to arguments of its own."""

    def begin(world, *arguments, **different):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        running = []
        for rank in range(world):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1"}
            variables = {name: str(value) for name, value in {**place, "MASTER_PORT": port}.items()}
            program = as_module(["train", *arguments, *different.get(f"rank_{rank}", [])])
            running.append(start_as_a_reader(program, tmp_path_factory.mktemp("rank"), **variables))
        return running

    return begin


def finish(running):
    """What each printed, its errors and its exit code."""
    ended = [process.wait(120) for process in running]
    return [(process.printed, process.errors, process.code) for process in ended]


def losses(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [
            float(next(value for name, value in row.items() if name.endswith("_loss"))) for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize(
    "flags",
    [
        ["--learner=flp"],
        # Every lifetime draws: the right ones must be taken.
        pytest.param(["--learner=gradient-based", "--redraw-output"], marks=pytest.mark.slow),
        # The state of each process's lifetimes is carried on by it.
        ["--learner=flp", "--estimator=windows", "--window=4", "--outer-objective=online"],
        pytest.param(["--learner=flp", "--lifetimes=random", "--vary=steps_per_function=2..4"], marks=pytest.mark.slow),
    ],
    ids=["flp", "redrawn", "windows", "random lengths"],
)
def test_two_processes_do_what_one_does(tmp_path, start, flags):
    small = [flag for flag in SMALL if "short" not in flag or "--lifetimes=random" not in flags]
    arguments = [*small, *flags, "--outer-steps=6", "--meta-batch=4"]
    (one,) = finish(start(1, *arguments, f"--output={tmp_path / 'one'}"))
    first, second = finish(start(2, *arguments, f"--output={tmp_path / 'two'}"))
    assert [one[2], first[2], second[2]] == [0, 0, 0], (one, first, second)
    assert "shared by 2 processes" in first[0]
    assert second[0] == ""
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    weights = [checkpoint.load(tmp_path / name).learner.state_dict() for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5)


def test_processes_started_differently_say_so(tmp_path, start):
    running = start(2, *SMALL, "--outer-steps=6", "--meta-batch=4", f"--output={tmp_path}", rank_1=["--seed=1"])
    for _, errors, code in finish(running):
        assert code == 1
        assert "process 1 was started with another seed than process 0" in errors
    assert not (tmp_path / "checkpoint.json").exists()


def test_a_meta_batch_that_cannot_be_shared_is_refused(tmp_path, start):
    for _, errors, code in finish(start(2, *SMALL, "--meta-batch=3", f"--output={tmp_path}")):
        assert code == 1
        assert "2 processes cannot share a meta-batch of 3 evenly" in errors
    with pytest.raises(InvalidSize, match="multiple of 4"):
        Processes(1, 4).share(6)
    assert Processes(1, 2).share(6) == slice(3, 6)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_run_and_the_run_can_go_on(tmp_path, start, lost):
    arguments = [*SMALL, "--outer-steps=3000", "--meta-batch=2", "--save-every=0.2"]
    running = start(2, *arguments, f"--output={tmp_path}")
    metrics = tmp_path / "metrics.csv"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.1)
    running[lost].process.kill()
    (_, errors, code) = finish(running)[1 - lost]
    assert code == 1
    assert "another process of the run was lost" in errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    done = len(losses(tmp_path))
    for _, errors, code in finish(start(2, f"--resume={tmp_path}", "--minutes=0.05", "--threads=1")):
        assert code == 0, errors
    assert len(losses(tmp_path)) >= done // 2
