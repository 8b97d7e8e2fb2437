"""Examples run, and print what they are to show."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def printed(name):
    """The numbers in each line of what an example prints."""
    # Threads of small networks that wait for each other on busy cores make seconds minutes.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, encoding="utf-8", cwd=EXAMPLES.parent, env=env
    )
    assert done.returncode == 0, done.stderr
    return [[float(number) for number in re.findall(r"\d+\.\d+", line)] for line in done.stdout.splitlines()]


def test_stream_an_env():
    (one,), (best, worst, first) = printed("stream_an_env.py")
    assert one == first
    assert 0 < best <= first <= worst < 0.01


def test_stable_baselines():
    (policy,), (learner,), (as_learner,) = printed("stable_baselines.py")
    assert policy == as_learner
    assert learner < 0.01 < policy
