"""Locks on files: held by one, given back by the dead, and done without where there are none."""

import errno
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

from flp_agents.benchmark.plan import BenchmarkPlan
from flp_agents.benchmark.running import run_benchmark
from flp_agents.cli import main as cli
from flp_agents.training.plan import make_plan
from flp_agents.training.run import TrainingRun
from flp_base.errors import FLPError
from flp_base.locking import LockedElsewhere, NoFileLocks, file_lock
from flp_datasets.pack import packing_lock

fcntl = pytest.importorskip("fcntl")

# What Linux says on disks without locks: ENOLCK (37), ENOSYS (38), EOPNOTSUPP (95), EINVAL (22).
NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]

HOLDER = """
import sys, time
from pathlib import Path
from flp_base.locking import file_lock
with file_lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def no_locks(monkeypatch, request):
    """A file system that says ``request.param`` to everybody who wants a lock."""

    def refuse(handle, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def small_run(folder):
    overrides = {"meta_batch": 2, "outer_steps": 2, "hidden_widths": (8, 8), "short_outer_steps": 0}
    plan = make_plan("FLPSine-IID-v0", "feature-reuse", seed=1, overrides=overrides, env_options={"num_functions": 2})
    return TrainingRun(plan, folder)


def test_one_at_a_time_and_then_the_next(tmp_path):
    with file_lock(tmp_path / "lock") as held:
        assert held
        with pytest.raises(LockedElsewhere, match="another process holds"), file_lock(tmp_path / "lock"):
            pass
    with file_lock(tmp_path / "lock") as held:
        assert held


def test_who_waits_is_told_once_and_comes_next(tmp_path):
    events = []

    def second():
        with file_lock(tmp_path / "lock", on_wait=lambda: events.append("waits")):
            events.append("second")

    thread = threading.Thread(target=second)
    with file_lock(tmp_path / "lock"):
        thread.start()
        while not events:
            time.sleep(0.01)
        events.append("first")
    thread.join()
    assert events == ["waits", "first", "second"]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "lock"], stdout=subprocess.PIPE, encoding="utf-8"
    ) as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(LockedElsewhere), file_lock(tmp_path / "lock"):
            pass
        other.kill()
    with file_lock(tmp_path / "lock") as held:
        assert held


def test_the_lock_is_given_back_after_an_error_in_the_block(tmp_path):
    with pytest.raises(OSError, match="of the block"), file_lock(tmp_path / "lock"):
        raise OSError(errno.ENOLCK, "of the block")
    with file_lock(tmp_path / "lock") as held:
        assert held


@pytest.mark.parametrize("no_locks", NO_LOCKS, indirect=True)
@pytest.mark.parametrize("on_wait", [None, lambda: pytest.fail("nobody to wait for")], ids=["at once", "waiting"])
def test_without_locks_there_is_a_warning_and_no_claim_of_another_process(tmp_path, no_locks, on_wait):
    for _ in range(2):  # nothing is left that the next one would take for a lock
        with (
            pytest.warns(NoFileLocks, match="cannot be locked in"),
            file_lock(tmp_path / "lock", on_wait=on_wait) as held,
        ):
            assert not held


def test_what_is_no_lack_of_locks_is_an_os_error(tmp_path, monkeypatch):
    def fail(handle, operation):
        raise OSError(errno.EIO, "broken")

    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "none" / "lock"):
        pass
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="broken"), file_lock(tmp_path / "lock"):
        pass


# Everything that locks, on a disk without locks.


@pytest.mark.parametrize("no_locks", NO_LOCKS[:2], indirect=True)
def test_training_goes_on_without_locks(tmp_path, no_locks):
    run = small_run(tmp_path)
    with pytest.warns(NoFileLocks):
        run.run()
    assert run.finished


def test_training_says_who_is_in_the_way_only_if_somebody_is(tmp_path):
    with file_lock(tmp_path / "lock"), pytest.raises(FLPError, match="another process is training into"):
        small_run(tmp_path).run()
    small_run(tmp_path).run()


@pytest.mark.parametrize("no_locks", NO_LOCKS[:2], indirect=True)
def test_packing_goes_on_without_locks_and_removes_no_file_of_another(tmp_path, no_locks):
    (tmp_path / ".a.h5.1.tmp").touch()  # another process may be writing it
    with (
        pytest.warns(NoFileLocks),
        packing_lock(tmp_path / "a.h5", lambda: pytest.fail("nobody to wait for")),
    ):
        assert (tmp_path / ".a.h5.1.tmp").exists()


@pytest.mark.parametrize("no_locks", NO_LOCKS[:2], indirect=True)
def test_a_benchmark_goes_on_without_locks(tmp_path, no_locks):
    plan = BenchmarkPlan(
        learners=("ridge",), envs=("FLPSine-IID-v0",), seeds=1, episodes=2, env_options={"num_functions": 2}
    )
    with pytest.warns(NoFileLocks):
        (result,) = run_benchmark(plan, tmp_path)
    assert result.failure is None


def test_the_command_line_says_a_warning_in_one_line():
    line = cli._in_one_line(NoFileLocks("no\nlocks"), NoFileLocks, "file.py", 3)
    assert line == "flp: warning: no locks\n"
    assert "file.py:3: UserWarning: other" in cli._in_one_line(UserWarning("other"), UserWarning, "file.py", 3)
    assert cli._WITH_PLACE is warnings.formatwarning
