"""Learners and environments that were registered in a notebook or a script, in other processes."""

import functools
import os
import pickle
import subprocess
import sys
import threading

import gymnasium as gym
import numpy as np
import pytest

import flp_envs
from flp_agents import register_learner
from flp_agents.benchmark.plan import BenchmarkPlan
from flp_agents.benchmark.running import run_benchmark
from flp_agents.benchmark.sending import Brought, CannotSend, pack, unpack
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins

SMALL = {"num_functions": 2, "steps_per_function": 2, "batch_size": 2, "query_size": 2}
SCRIPT = """
import sys
from pathlib import Path
import gymnasium as gym
import numpy as np
import flp_envs
from flp_agents import BenchmarkPlan, register_learner, run_benchmark

OFFSET = 3.0

def helper(x):
    return np.full((len(x), 1), OFFSET)

@register_learner("of-a-script")
class Mine:
    def reset(self): pass
    def predict(self, x): return helper(x)
    def update(self, x, y): pass

register_learner("made-in-place")(lambda seed: Mine())

class Env(flp_envs.OnlineLearningEnv):
    def __init__(self, split="meta-train", render_mode=None, **options):
        super().__init__(flp_envs.SineTask(split=split, **options), render_mode=render_mode)

gym.register("OfAScript-v0", entry_point="__main__:Env")

if __name__ == "__main__":
    options = {"num_functions": 2, "steps_per_function": 2, "batch_size": 2, "query_size": 2}
    plan = BenchmarkPlan(("of-a-script", "made-in-place"), ("OfAScript-v0",), 1, 2, env_options=options)
    for jobs in (1, 2):
        for result in run_benchmark(plan, Path(sys.argv[1]) / str(jobs), jobs=jobs):
            print(result.failure, result.scores.get("query_score"))
"""


class Constant:
    def __init__(self, value=0.0):
        self.value = value

    def reset(self):
        pass

    def predict(self, x):
        return np.full((len(x), 1), self.value)

    def update(self, x, y):
        pass


class Env(flp_envs.OnlineLearningEnv):
    def __init__(self, split="meta-train", render_mode=None, **options):
        super().__init__(flp_envs.SineTask(split=split, **options), render_mode=render_mode)


@pytest.fixture(autouse=True)
def _as_it_was():
    before = plugins.registered()
    yield
    plugins.restore(before)


def plan_of(*learners, envs=("FLPSine-IID-v0",)):
    return BenchmarkPlan(learners, envs, 1, 2, env_options=SMALL)


@pytest.mark.slow
def test_what_a_script_defines_runs_in_its_processes_too(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[:2] == lines[2:]
    assert all(line.startswith("None [") for line in lines)


def test_what_was_registered_in_this_process_runs_in_others(tmp_path):
    register_learner("here")(functools.partial(Constant, 2.0))
    gym.register("Here-v0", entry_point=lambda **options: Env(**options))
    plan = plan_of("here", envs=("Here-v0",))
    (two,) = run_benchmark(plan, tmp_path / "two", jobs=2)
    (one,) = run_benchmark(plan, tmp_path / "one")
    assert one.failure is two.failure is None
    assert one.scores == two.scores


def test_only_what_others_cannot_import_is_sent_with_its_code():
    register_learner("by-name")(Constant)
    register_learner("by-value")(lambda: Constant(1.0))
    gym.register("ByName-v0", entry_point=Env)
    gym.register("ByValue-v0", entry_point=lambda **options: Env(**options))
    gym.register("ByModule-v0", entry_point=f"{__name__}:Env")
    envs = ("FLPSine-IID-v0", "ByName-v0", "ByValue-v0", "ByModule-v0")
    brought = pack(plan_of("by-name", "by-value", "ridge", envs=envs))
    assert brought.learners.keys() == {"by-name", "by-value"}
    assert brought.envs.keys() == {"ByName-v0", "ByValue-v0", "ByModule-v0"}
    assert brought.by_value == {"by-value", "ByValue-v0"}
    LEARNERS.forget("by-name", "by-value")
    for env in brought.envs:
        gym.registry.pop(env)
    unpack(brought)
    assert LEARNERS["by-name"] is Constant
    assert LEARNERS["by-value"]().value == 1.0
    assert flp_envs.make("ByValue-v0", split="meta-test").unwrapped.task.split == "meta-test"
    # What this process has already stays; what was sent with its code takes the place of what was sent before.
    LEARNERS.restore({**LEARNERS.snapshot(), "by-name": None, "by-value": None})
    unpack(brought)
    assert LEARNERS["by-name"] is None
    assert LEARNERS["by-value"]().value == 1.0


def test_what_cannot_be_sent_is_refused_at_once(tmp_path):
    lock = threading.Lock()
    register_learner("locked")(lambda: (lock, Constant())[1])
    with pytest.raises(CannotSend, match=r"locked is defined where .*cannot be sent .*lock.*--plugin, or use one job"):
        run_benchmark(plan_of("locked"), tmp_path / "two", jobs=2)
    assert not (tmp_path / "two").exists()
    assert run_benchmark(plan_of("locked"), tmp_path / "one")[0].failure is None
    with pytest.raises(CannotSend, match="cannot be built in another process"):
        unpack(Brought({"gone": pickle.dumps(Constant)[:-5]}, by_value=frozenset(["gone"])))
