"""What a benchmark compares, from TOML and from arguments."""

from dataclasses import replace

import pytest

from flp_agents.benchmark.entries import SplitLeak
from flp_agents.benchmark.plan import BenchmarkPlan, PlanError, read_plan
from flp_agents.benchmark.results import Cell
from flp_base.errors import FLPError

WHOLE = """
learners = ["sgd", "flp-2-sine-continual"]
envs = ["FLPSine-Continual-v0", "FLPSine-IID-v0"]
seeds = [3, 5]
episodes = 7
split = "meta-test"
cell_minutes = 2.5
[env_options]
steps_per_function = 8
[options_of_env."FLPSine-IID-v0"]
num_functions = 4
"""


def plan_of(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path)


def test_a_whole_plan(tmp_path):
    plan = plan_of(tmp_path, WHOLE)
    assert plan == BenchmarkPlan(
        learners=("sgd", "flp-2-sine-continual"),
        envs=("FLPSine-Continual-v0", "FLPSine-IID-v0"),
        seeds=(3, 5),
        episodes=7,
        env_options={"steps_per_function": 8},
        options_of_env={"FLPSine-IID-v0": {"num_functions": 4}},
        cell_minutes=2.5,
    )
    cells = list(plan.cells())
    assert len(cells) == len({cell.digest for cell in cells}) == 8
    sgd = Cell("FLPSine-Continual-v0", "sgd", 3, 7, "meta-test", {"steps_per_function": 8})
    assert cells[0] == replace(sgd, depends_on=cells[0].depends_on)
    assert cells[2].env_options == {"steps_per_function": 8, "num_functions": 4}
    assert [cell.seed for cell in cells] == [3] * 4 + [5] * 4
    assert [bool(cell.checkpoint) for cell in cells] == [False, True] * 4


def test_what_is_left_out_has_a_default(tmp_path):
    plan = plan_of(tmp_path, "")
    assert plan == BenchmarkPlan()
    cells = list(plan.cells())
    assert {cell.seed for cell in cells} == {0, 1, 2}
    assert {"flp", "sgd", "ppo", "joint-training"} <= {cell.learner for cell in cells}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learners = [", "is not TOML"),
        ("lerners = []", "did you mean 'learners'"),
        ("learners = 'sgd'", "learners must be a list of names, got 'sgd'"),
        ("learners = [1]", "learners must be a list of names"),
        ("seeds = true", "seeds must be a whole number, or a list of them, got True"),
        ("seeds = [1.5]", "seeds must be"),
        ("episodes = 'many'", "episodes must be a whole number"),
        ("env_options = 3", "env_options must be a table"),
        ("options_of_env = {a = 1}", "options_of_env must be a table of tables"),
        ("cell_minutes = 'long'", "cell_minutes must be a finite number above 0"),
    ],
)
def test_a_broken_file(tmp_path, text, message):
    with pytest.raises(FLPError, match=message):
        plan_of(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(PlanError, match=r"cannot read .*No such file"):
        read_plan(tmp_path / "plan.toml")
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="is not TOML"):
        read_plan(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learners": ("sgt",)}, "did you mean 'sgd'"),
        ({"learners": ("sgd", "sgd")}, "learners: sgd is named twice"),
        ({"envs": ()}, "at least one environment"),
        ({"envs": ("FLPSine-IID-v1",)}, "did you mean 'FLPSine-IID-v0'"),
        ({"env_options": {"num_functons": 3}}, "did you mean 'num_functions'"),
        ({"options_of_env": {"FLPSine-Continual-v0": {}}}, "unknown environment with options of its own"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
        ({"seeds": ()}, "expected a number of seeds"),
        ({"seeds": (1, 1)}, "different seeds"),
        ({"episodes": 1}, "episodes must be a whole number of at least 2"),
        ({"split": "test"}, "split"),
        ({"cell_minutes": 0.0}, "cell_minutes must be a finite number above 0"),
        ({"plugins": ("nowhere.py",)}, "no file nowhere.py"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(changes, message):
    plan = {"learners": ("sgd",), "envs": ("FLPSine-IID-v0",), **changes}
    with pytest.raises(FLPError, match=message):
        BenchmarkPlan(**plan).check()


@pytest.mark.parametrize("learner", ["flp", "flp-2-sine-continual", "ppo", "sgd-meta-trained"])
def test_a_benchmark_on_the_split_of_meta_training_is_refused(learner):
    plan = BenchmarkPlan(learners=("sgd", learner), envs=("FLPSine-Continual-v0",), split="meta-train")
    with pytest.raises(SplitLeak, match=f"{learner} was meta-trained on the meta-train split"):
        plan.check()
    BenchmarkPlan(learners=("sgd",), envs=("FLPSine-Continual-v0",), split="meta-train").check()
