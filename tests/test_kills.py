"""``kill -9`` at any moment of everything that writes: nothing is lost, and what goes on ends at the same bits.

``FLP_KILLS`` says how often each is killed in the slow test, 100 by default.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import drawn_class

from flp_agents.adapters.saved_policies import DESCRIPTION, load_policy
from flp_agents.benchmark.reading import read_results
from flp_agents.cli.main import main
from flp_agents.training import checkpoint
from flp_agents.training.run_metrics import FILE
from flp_datasets.pack import open_pack, packing_lock
from flp_datasets.pack_writing import write_pack

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SIZES = {"num_functions": 2, "steps_per_function": 2, "batch_size": 2, "query_size": 2}
OPTIONS = [f"--env-option={name}={value}" for name, value in SIZES.items()]
TRAIN = ["train", *OPTIONS, "--hidden-widths=4", "--plastic-layers=1", "--short-outer-steps=1", "--meta-batch=1"]
TRAIN += ["--outer-steps=25", "--threads=1", "--save-every=0", "--test-episodes=2"]
ENDED = -signal.SIGKILL
# Where children print.
SAID = Path(tempfile.gettempdir()) / f"flp-kills-{os.getpid()}.log"


def in_a_child(work: Callable[[], Any], kill_after: float | None = None) -> int:
    """Runs it in a forked process, which is killed after some seconds; returns what it ended with."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            # pytest has streams of its own.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
            warnings.simplefilter("ignore")
            code = int(work() or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def said() -> str:
    """What the latest child printed."""
    return SAID.read_text(encoding="utf-8", errors="replace")


class Writer:
    """Something that writes into a folder, and can be begun again.

    Subclasses say what is to hold after a kill, and what must be the same in the end.
    """

    kills = 2

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self, folder: Path) -> None:
        raise NotImplementedError

    def resume(self, folder: Path) -> None:
        """By default: the same again."""
        self.begin(folder)

    def check(self, folder: Path) -> bool:
        """Makes sure that all that is there is whole; returns whether it is finished."""
        raise NotImplementedError

    def result(self, folder: Path) -> Any:
        """What must be equal, killed or not."""
        raise NotImplementedError


def flp(*arguments: str) -> None:
    assert main(list(arguments)) == 0


class Training(Writer):
    """``flp train``, a checkpoint after every outer step, then ``--resume``."""

    def begin(self, folder: Path) -> None:
        flp(*TRAIN, f"--output={folder}")

    def resume(self, folder: Path) -> None:
        if (folder / checkpoint.DESCRIPTION).exists():
            flp("train", "--resume", str(folder), "--threads=1", "--save-every=0", "--test-episodes=2")
        else:
            self.begin(folder)

    def check(self, folder: Path) -> bool:
        if not (folder / checkpoint.DESCRIPTION).exists():
            return False
        return checkpoint.load(folder).about["result"] is not None

    def result(self, folder: Path) -> Any:
        saved = checkpoint.load(folder)
        rows = [row.rpartition(",")[0] for row in (folder / FILE).read_text(encoding="utf-8").splitlines()]
        assert not list(folder.glob(".*"))
        return checkpoint.parameters_digest(saved.learner), saved.about["result"], rows


class Overwriting(Training):
    """``flp train --overwrite`` over a finished run: that is there until the new one is."""

    def begin(self, folder: Path) -> None:
        if not folder.exists():
            shutil.copytree(self.root / "old", folder)
        flp(*TRAIN, "--seed=1", f"--output={folder}", "--overwrite")

    def resume(self, folder: Path) -> None:
        if not folder.exists() or checkpoint.load(folder).about["seed"] == 0:
            self.begin(folder)
        else:
            super().resume(folder)

    def check(self, folder: Path) -> bool:
        if not (self.root / "old").exists():
            flp(*TRAIN, f"--output={self.root / 'old'}")
        if not folder.exists() or not (folder / checkpoint.DESCRIPTION).exists():
            return False
        about = checkpoint.load(folder).about
        return about["seed"] == 1 and about["result"] is not None


class Exporting(Training):
    """``flp export``: a whole checkpoint or none."""

    def begin(self, folder: Path) -> None:
        flp("export", "--checkpoint=flp-2-sine-continual", f"--output={folder}")

    def resume(self, folder: Path) -> None:
        if not (folder / checkpoint.DESCRIPTION).exists():
            self.begin(folder)

    def result(self, folder: Path) -> Any:
        return checkpoint.parameters_digest(checkpoint.load(folder).learner), sorted(p.name for p in folder.iterdir())


class Benchmark(Writer):
    """``flp benchmark``, cell by cell."""

    def begin(self, folder: Path) -> None:
        flp("benchmark", "--learners", "nearest-neighbour", "ridge", "--envs", "FLPSine-Continual-v0", "--seeds=2",
            "--episodes=3", "--jobs=1", *OPTIONS, f"--output={folder}")  # fmt: skip

    def check(self, folder: Path) -> bool:
        cells = list((folder / "cells").glob("*.json"))
        if not cells:
            return False
        results, left_out = read_results(folder)
        assert not left_out
        return len(results) == 4 and (folder / "results.csv").exists()

    def result(self, folder: Path) -> Any:
        results, _ = read_results(folder)
        return [(result.cell.learner, result.cell.seed, result.failure, dict(result.scores)) for result in results]


class Reporting(Benchmark):
    """``flp report``: the page of before, or the new one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        super().begin(root / "results")

    def begin(self, folder: Path) -> None:
        if not folder.exists():
            # Not what is killed: whole or not there.
            shutil.copytree(self.root / "results", self.root / "copy", dirs_exist_ok=True)
            (self.root / "copy").rename(folder)
        flp("report", str(folder))

    def check(self, folder: Path) -> bool:
        page = folder / "report.html"
        return page.exists() and page.read_text(encoding="utf-8").rstrip().endswith("</html>")

    def result(self, folder: Path) -> Any:
        return hashlib.sha256((folder / "report.html").read_bytes()).hexdigest() and self.check(folder)


class Packing(Writer):
    """A pack: whole or not there."""

    def begin(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        classes = [drawn_class(f"{i}", "meta-train", 30, 28, 1, i) for i in range(20)]
        with packing_lock(folder / "a.h5"):  # as flp data prepare does
            write_pack(folder / "a.h5", "omniglot", "made for a test", classes, image_size=28, channels=1)

    def check(self, folder: Path) -> bool:
        if not (folder / "a.h5").exists():
            return False
        return len(open_pack(folder / "a.h5")[1]) == 600

    def result(self, folder: Path) -> Any:
        return hashlib.sha256(open_pack(folder / "a.h5")[1].tobytes()).hexdigest()


class Reproduction(Writer):
    """``flp reproduce``, which evaluates bundled networks."""

    def begin(self, folder: Path) -> None:
        flp("reproduce", "table1", "--methods", "flp-2", "feature-reuse-1", "--networks=1", "--episodes=2", "--jobs=1",
            f"--output={folder}")  # fmt: skip

    def check(self, folder: Path) -> bool:
        records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("cpu/**/*.json")]
        return len(records) >= 5

    def result(self, folder: Path) -> Any:
        records = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("cpu/table1*/*.json")}
        return {name: (record.get("mean"), record.get("standard_error")) for name, record in records.items()}


class TrainingPolicies(Writer):
    """``flp train-sb3``: a whole policy or none; it is not resumed."""

    def begin(self, folder: Path) -> None:
        flp("train-sb3", "--algorithm=ppo", *OPTIONS, "--env-steps=1000", "--threads=1", "--test-episodes=2",
            f"--output={folder}")  # fmt: skip

    def resume(self, folder: Path) -> None:
        if not (folder / DESCRIPTION).exists():
            self.begin(folder)

    def check(self, folder: Path) -> bool:
        return (folder / DESCRIPTION).exists() and load_policy(folder).about.env_steps >= 1000

    def result(self, folder: Path) -> Any:
        state = load_policy(folder).model.policy.state_dict()
        return {name: value.tolist() for name, value in state.items()}


WRITERS = [Training, Overwriting, Benchmark, Packing, Reproduction, TrainingPolicies, Exporting, Reporting]


def kill_and_go_on(kind: type[Writer], root: Path, kills: int) -> list[float]:
    """Kills a writer so often, each time at another moment of its own; returns those that hit it, as shares."""
    writer, rng, hits = kind(root), random.Random(kind.__name__), []
    writer.check(root / "nothing")
    began = time.monotonic()
    assert in_a_child(lambda: writer.begin(root / "whole")) == 0, said()
    whole = time.monotonic() - began
    assert writer.check(root / "whole")
    expected = writer.result(root / "whole")
    tries = 0
    while len(hits) < kills:
        tries += 1
        assert tries < 20 * kills + 20, "hardly ever killed in time"
        folder, moment = root / f"killed-{tries}", rng.random() * whole
        code = in_a_child(lambda folder=folder: writer.begin(folder), moment)
        assert code in (0, ENDED), said()
        writer.check(folder)
        if code == ENDED:
            hits.append(moment / whole)
        assert in_a_child(lambda folder=folder: writer.resume(folder)) == 0, said()
        assert writer.check(folder)
        assert writer.result(folder) == expected
        assert not list(folder.rglob("*.tmp"))
        shutil.rmtree(folder)
    return hits


@pytest.mark.parametrize("kind", [Training, Overwriting, Packing, Exporting], ids=lambda kind: kind.__name__)
def test_a_kill_loses_nothing(kind: type[Writer], tmp_path: Path) -> None:
    assert len(kill_and_go_on(kind, tmp_path, 1)) == 1


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", WRITERS, ids=lambda kind: kind.__name__)
def test_a_hundred_kills_lose_nothing(kind: type[Writer], tmp_path: Path) -> None:
    kills = int(os.environ.get("FLP_KILLS", "100"))
    hits = kill_and_go_on(kind, tmp_path, kills)
    print(
        f"{kind.__name__}: killed {len(hits)} times, at {min(hits):.2f} to {max(hits):.2f} of its time", file=sys.stderr
    )
