"""Environments of users: trained on by every command's defaults, and by the commands that errors advise."""

import re
import shlex
from pathlib import Path

import gymnasium as gym
import pytest
from documentation import as_module, run_as_a_reader

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.cli.main import main
from flp_agents.support import plugins
from flp_agents.training.plan import make_plan
from flp_agents.training.run import TrainingRun
from flp_base.errors import FLPError
from flp_envs.registration import id_to_make, options_given
from flp_envs.task import first_lifetimes_of

PAGE = Path(__file__).parents[1] / "docs" / "environments.md"
SMALL = ["--hidden-widths", "8,8", "--outer-steps", "3", "--warm-up", "0", "--test-episodes", "2", "--threads", "1"]
LINES = "user_envs:UserLines-v0"


@pytest.mark.parametrize("learner", ["flp", "gradient-based"])
def test_train_works_on_a_users_env_with_the_default_preset_and_says_that_it_is_not_shortened(
    learner, tmp_path, capsys
):
    folder = str(tmp_path / "run")
    assert main(["train", "--env", LINES, "--learner", learner, "--output", folder, *SMALL]) == 0
    said = capsys.readouterr().out
    assert "UserLines-v0 does not say how its lifetimes can be made cheaper (Task.first_lifetimes): all 3 outer" in said
    assert main(["evaluate", "--checkpoint", folder, "--episodes", "2"]) == 0
    assert "does not say" not in capsys.readouterr().out


def test_an_env_that_only_speaks_the_protocol_is_trained_on_too(tmp_path, capsys):
    arguments = ["train", "--env", "user_envs:UserProtocol-v0", "--output", str(tmp_path / "run"), *SMALL]
    assert main(arguments) == 0
    assert "does not say how its lifetimes can be made cheaper" in capsys.readouterr().out


def test_a_task_describes_its_first_lifetimes(tmp_path, capsys):
    settings = {"hidden_widths": (8, 8), "outer_steps": 3, "short_outer_steps": 2, "short_steps_per_function": 1}
    plan = make_plan("user_envs:UserShortLines-v0", "flp", overrides=settings, env_options={"batch": 3})
    run = TrainingRun(plan, tmp_path / "run")
    assert run.notes == []
    seen = []
    run.run(on_step=lambda _: seen.append(run.trainer.env.unwrapped.task.support_steps))
    assert seen == [2, 2, 6]
    assert run.trainer.env.unwrapped.task.batch == 3
    again = TrainingRun.resume(tmp_path / "run")
    assert again.plan == run.plan


def test_the_families_describe_theirs():
    wishes = {"steps_per_task": 4, "num_classes": 9}
    for env_id in flp_envs.ENV_IDS:
        expected = {"steps_per_function": 4} if env_id.startswith("FLPSine") else {"num_classes": 9}
        assert first_lifetimes_of(flp_envs.make(env_id), **wishes) == expected
    assert first_lifetimes_of(flp_envs.make(LINES), **wishes) is None
    assert first_lifetimes_of(gym.make("CartPole-v1"), **wishes) is None


@pytest.mark.parametrize("answer", [None, ["steps"], {1: 2}, 5], ids=str)
def test_what_is_no_description_is_refused_before_anything_is_written(answer, tmp_path, monkeypatch):
    import user_envs

    monkeypatch.setattr(user_envs.ShortLines, "first_lifetimes", lambda self, **wishes: answer)
    plan = make_plan("user_envs:UserShortLines-v0", "flp", overrides={"hidden_widths": (8, 8)})
    with pytest.raises(FLPError, match=r"first_lifetimes must return options of the environment by name, such as"):
        TrainingRun(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_id_and_options_of_an_env_are_enough_to_make_it_again():
    env = flp_envs.make(LINES, split="meta-test", steps=5, batch=2)
    assert id_to_make(env) == LINES
    assert options_given(env) == {"steps": 5, "batch": 2}
    sine = flp_envs.make("FLPSine-IID-v0", split="meta-test", num_functions=3, interleaving=1.0)
    assert (id_to_make(sine), options_given(sine)) == ("FLPSine-IID-v0", {"num_functions": 3})
    assert options_given(flp_envs.make("FLPOmniglot-IID-v0", data_root=None)) == {}


@pytest.mark.parametrize("learner", ["flp", "oml"])
@pytest.mark.parametrize(
    ("env_id", "options"),
    [(LINES, {"steps": 2, "outputs": 2}), ("FLPSine-IID-v0", {"num_functions": 2, "max_amplitude": 3.0})],
)
def test_the_advice_for_a_missing_checkpoint_works_as_printed(learner, env_id, options, tmp_path, monkeypatch):
    monkeypatch.setattr(entries.bundled, "bundled_for", lambda *_: [])
    env = flp_envs.make(env_id, split="meta-test", **options)
    with pytest.raises(FLPError, match="no bundled checkpoint") as refusal:
        entries.build_entry(learner, env)
    command = shlex.split(re.search(r"\((flp train .*)\)", str(refusal.value)).group(1))
    folder = str(tmp_path / "run")
    assert main([*command[1:], "--output", folder, *SMALL]) == 0
    assert entries.build_entry(folder, env).learner.objective.metric == "mse"


def test_the_advice_for_a_missing_policy_names_the_module_too(monkeypatch):
    monkeypatch.setattr(plugins, "_LOADED", [])  # those of other tests
    env = flp_envs.make(LINES, split="meta-test", steps=2)
    with pytest.raises(FLPError, match="no bundled policy of ppo") as refusal:
        entries.build_entry("ppo", env)
    advised = f"flp train-sb3 --algorithm ppo --env {LINES} --env-option steps=2 --output FOLDER"
    assert advised in str(refusal.value).replace("'", "")


@pytest.mark.slow
def test_the_page_about_environments_runs_as_it_stands(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    (tmp_path / "my_module.py").write_text(blocks[0], encoding="utf-8")
    run_as_a_reader(blocks[1], tmp_path)
    run_as_a_reader(as_module(["train", "--env", "my_module:MyLines-v0", "--output", "run", *SMALL]), tmp_path)
