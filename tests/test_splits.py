"""Which split a learner is trained on and which it is evaluated on: chosen at the beginning, and kept."""

import json
from pathlib import Path

import gymnasium as gym
import pytest

import flp_envs
from flp_agents.benchmark.entries import SplitLeak, check_split
from flp_agents.cli.main import main
from flp_agents.experiments.reproduction.networks import plan_digest
from flp_agents.experiments.reproduction.tables import TABLE_1, TABLE_2, Network
from flp_agents.training import checkpoint
from flp_agents.training.plan import Plan, make_plan, split_trained_on
from flp_agents.training.presets import preset_split_options
from flp_agents.training.run import TrainingRun
from flp_base.errors import InvalidChoice
from flp_envs import SineTask
from flp_envs.online_env import OnlineLearningEnv

TINY = {"hidden_widths": (4,), "channels": 2, "outer_steps": 1, "short_outer_steps": 0, "meta_batch": 1}
SMALL = {"num_functions": 2, "steps_per_function": 1, "batch_size": 2, "query_size": 2}


@pytest.mark.parametrize("env_id", flp_envs.ENV_IDS)
def test_every_family_is_evaluated_on_meta_val_unless_told_otherwise(env_id):
    assert make_plan(env_id, "flp").evaluate_on == "meta-val"
    assert make_plan(env_id, "flp", evaluate_on="meta-test").evaluate_on == "meta-test"
    with pytest.raises(InvalidChoice, match="did you mean 'meta-val'"):
        make_plan(env_id, "flp", evaluate_on="meta-vall")
    with pytest.raises(InvalidChoice, match="did you mean 'meta-train'"):
        make_plan(env_id, "flp", train_on="meta-trai")


class TwoSplits(SineTask):
    """Somebody's task, which has no meta-val."""

    def __init__(self, split: str = "meta-train", **options: object) -> None:
        if split not in ("meta-train", "meta-test"):
            raise KeyError(split)
        super().__init__(split, **SMALL)


def test_an_environment_without_meta_val_is_evaluated_on_meta_test():
    def make_env(render_mode: str | None = None, **options: object) -> OnlineLearningEnv:
        return OnlineLearningEnv(TwoSplits(**options), render_mode=render_mode)

    gym.register("TwoSplits-v0", make_env)
    try:
        assert make_plan("TwoSplits-v0", "flp").evaluate_on == "meta-test"
    finally:
        del gym.registry["TwoSplits-v0"]


def test_pools_of_functions_are_of_one_split_only():
    pools = [
        {(a, p) for a, p in zip(t.amplitudes, t.phases, strict=True)} for t in map(SineTask, flp_envs.sine.POOL_SEEDS)
    ]
    assert [len(pool) for pool in pools] == [400, 1000, 1000]
    assert len(set().union(*pools)) == 2400


def test_a_run_trains_on_its_split_and_remembers_both(tmp_path, capsys):
    command = "train --env FLPOmniglot-IID-v0 --train-on meta-trainval --evaluate-on meta-test --test-episodes 2"
    sizes = "--hidden-widths 4 --channels 2 --outer-steps 1 --meta-batch 1 --threads 1"
    assert main([*command.split(), *sizes.split(), "--output", str(tmp_path / "run")]) == 0
    assert "; meta-test error_percent over 2 episodes" in capsys.readouterr().out
    about = checkpoint.read_description(tmp_path / "run")["about"]
    assert (about["train_on"], about["evaluate_on"], about["result"]["split"]) == (
        "meta-trainval",
        "meta-test",
        "meta-test",
    )
    run = TrainingRun.resume(tmp_path / "run")
    # Both splits' characters, each as four classes: the preset's rotations hold for whatever is meta-trained on.
    assert run.plan.make_train_env().unwrapped.task.classes.num_classes == 4 * (8 + 8)
    assert main(["train", "--resume", str(tmp_path / "run"), "--train-on", "meta-train"]) == 1
    assert "leave out --train-on" in capsys.readouterr().err
    for split in ("meta-train", "meta-val", "meta-trainval"):
        with pytest.raises(SplitLeak, match=f"meta-trained on the meta-trainval split .* a result on {split} says"):
            check_split(str(tmp_path / "run"), "FLPOmniglot-Continual-v0", split)
    check_split(str(tmp_path / "run"), "FLPOmniglot-Continual-v0", "meta-test")


def test_what_was_meta_trained_before_there_was_a_choice_says_on_what():
    """Omniglot's meta-train split was its whole background set then."""
    assert split_trained_on({"env": "FLPOmniglot-IID-v0"}) == "meta-trainval"
    assert split_trained_on({"env": "FLPSine-IID-v0"}) == "meta-train"
    assert split_trained_on({"env": "FLPOmniglot-IID-v0", "train_on": "meta-train"}) == "meta-train"
    about = make_plan("FLPOmniglot-IID-v0", "flp").to_json()
    before = {name: value for name, value in about.items() if name not in ("train_on", "evaluate_on")}
    plan = Plan.from_json(before)
    assert (plan.train_on, plan.evaluate_on) == ("meta-trainval", "meta-test")


def test_presets_options_for_training_hold_for_all_that_is_trained_on_and_for_nothing_else():
    for split, expected in (("meta-train", True), ("meta-trainval", True), ("meta-val", False), ("meta-test", False)):
        assert bool(preset_split_options("cpu", "FLPOmniglot-IID-v0", split)) is expected
        assert bool(preset_split_options("paper-code", "FLPMiniImageNet-IID-v0", split)) is not expected


def test_the_papers_table_of_images_is_meta_trained_on_both_and_evaluated_on_meta_test():
    network = Network(TABLE_2.methods[0], TABLE_2.columns[0], "cpu", 0)
    plan = network.plan()
    assert (plan.train_on, plan.evaluate_on) == ("meta-trainval", "meta-test")
    assert network.command.endswith("--train-on meta-trainval --seed 0 --evaluate-on meta-test")
    # What a network is evaluated on does not change how it is meta-trained: earlier results count.
    network = Network(TABLE_1.methods[1], TABLE_1.columns[1], "cpu", 0)
    kept = json.loads(Path("results/cpu/table1/flp-2-sine-continual.json").read_text(encoding="utf-8"))
    assert plan_digest(network) == kept["plan"]
