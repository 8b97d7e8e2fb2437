"""Presets as files: those of the package, a user's own, and what is said of files that are none."""

import json
from pathlib import Path

import pytest

from flp_agents import PRESETS, get_preset, load_preset
from flp_agents.cli.main import main
from flp_agents.training import checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.presets.lines import line_of
from flp_agents.training.presets.preset import PresetError
from flp_base.errors import FLPError

MINE = """
extends = "cpu"

[numbers]
network.hidden_widths = [8, 8]

[numbers.outer-loop]
outer_steps = 2
short_outer_steps = 0

[[cases]]
when = { learner = "gradient-based", order = "first" }
gradient-based.initial_rate = 0.25

[[environments]]
env = "FLPSine"
options.num_functions = 2

[[environments]]
env = "FLPSine"
splits = "meta-trained on"
options.steps_per_function = 3
"""


@pytest.fixture(autouse=True)
def _forgotten():
    before = PRESETS.snapshot()
    yield
    PRESETS.restore(before)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_every_preset_is_a_file_of_the_package():
    folder = Path(get_preset.__code__.co_filename).parent
    assert {path.stem for path in folder.glob("*.toml")} == set(PRESETS.built_in())


def test_a_file_extends_another_preset(mine):
    assert load_preset(mine) == "mine"
    settings = get_preset("mine", "flp")
    assert (settings.network.hidden_widths, settings.outer_loop.outer_steps) == ((8, 8), 2)
    assert settings.outer_loop.rate_weights == get_preset("cpu", "flp").outer_loop.rate_weights
    first = {"order": "first"}
    rates = [get_preset("mine", "gradient-based", given).get("initial_rate") for given in ({}, first)]
    assert rates == [3.0, 0.25]
    # What is asked for stays.
    assert get_preset("mine", "gradient-based", {**first, "initial_rate": 2.0}).get("initial_rate") == 2.0
    assert get_preset("mine", "flp", kind="images") == get_preset("cpu", "flp", kind="images")


def test_a_run_of_a_users_preset_needs_the_file_no_more(mine, tmp_path, capsys):
    run = tmp_path / "run"
    flags = ["train", f"--preset={mine}", "--threads=1", "--test-episodes=2", f"--output={run}"]
    assert main([*flags, "--minutes=0.00001"]) == 0
    mine.unlink()
    PRESETS.forget("mine")
    assert main(["train", f"--resume={run}", "--test-episodes=2", "--threads=1"]) == 0
    assert main(["evaluate", f"--checkpoint={run}", "--episodes=2"]) == 0
    plan = Plan.from_json(checkpoint.read_description(run)["about"])
    assert (plan.preset, plan.env_options) == ("mine", {"num_functions": 2})
    steps = [plan.make_env(split).unwrapped.task.steps_per_function for split in ("meta-train", "meta-test")]
    assert steps[0] == 3 != steps[1]


def test_checkpoints_of_earlier_versions_have_the_options_of_their_preset(mine):
    about = {**Plan("FLPOmniglot-IID-v0", {}, "flp", "cpu", get_preset("cpu", "flp"), 0, "").to_json()}
    assert about.pop("split_options") == {"meta-trained on": {"rotations": True}, "others": {}}
    assert Plan.from_json(about).split_options["meta-trained on"] == {"rotations": True}
    with pytest.raises(FLPError, match="preset 'gone'"):
        Plan.from_json({**about, "preset": "gone"})


WRONG = {
    'extends = "papers"': (1, "unknown preset 'papers': did you mean 'paper'"),
    "extends = 3": (1, "preset"),
    "extends = '../cpu'": (1, "unknown preset '../cpu'"),
    'extends = "a\\u0000b"': (1, "unknown preset"),
    "[number]\n": (1, "unknown key 'number': did you mean 'numbers'"),
    "[numbers]\n\nnet.ink = true": (3, "unknown section 'net': did you mean 'network'"),
    "[numbers]\nnetwork = 3": (2, "network must be a table, got 3"),
    "[numbers.network]\nink = true\nhidden_width = [3]": (3, "unknown option of network 'hidden_width'"),
    "[numbers]\n# ink\nnetwork = { ink = true, channel = 3 }": (
        3,
        "unknown option of network 'channel': did you mean",
    ),
    "[images.outer-loop]\nouter_steps = 0": (2, "outer_steps"),
    "[images.outer-loop]\nouter_steps = 3\nrate_weights = '1e-3'": (3, "rate_weights"),
    "[images]\nflp.rule = 'ojja'": (2, "unknown rule 'ojja': did you mean 'oja'"),
    "[[cases]]\nwhen.learner = 'oml'\noml.inner_rate = 1.0\n[[cases]]\nwhen.learners = 'flp'": (5, "unknown condition"),
    "[[cases]]\noml.inner_rate = 1.0": (1, "a case needs when"),
    "[[cases]]\nwhen.learner = 'flpp'": (2, "unknown learner 'flpp': did you mean 'flp'"),
    "[[environments]]\nenv = 'FLPSien'": (2, "unknown environment 'FLPSien'"),
    "[images]\nhidden_widths = [8]": (2, "hidden_widths is an option of network: write network.hidden_widths"),
    "[[cases]]\nwhen = { kind = 'number' }": (2, "unknown kind of environments 'number'"),
    "[[cases]]\nwhen = { learner = 3 }": (2, "learner must be text, got 3"),
    "[[cases]]\nwhen.order = 'third'": (2, "unknown order 'third'"),
    "[cases]\nwhen.order = 'first'": (1, "cases must be a list of tables"),
    "[[environments]]\noptions.shots = 3": (1, "env must be the beginning of environments' ids"),
    "[[environments]]\nenv = 'FLPSine'\nsplits = 'meta-train'": (3, "unknown splits 'meta-train'"),
    "[[environments]]\nenv = 'FLPSine'\nhow = 'meta-train'": (3, "unknown key 'how'"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_its_line(text, tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    line, said = WRONG[text]
    assert main(["train", f"--preset={path}", f"--output={tmp_path / 'run'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"flp: error: {path}, line {line}: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_preset(tmp_path):
    path = tmp_path / "wrong.toml"
    with pytest.raises(FLPError, match=r"wrong\.toml cannot be read"):
        load_preset(path)
    path.write_bytes(b"[numbers\n")
    with pytest.raises(PresetError, match=r"wrong\.toml is not TOML: .*line 1"):
        load_preset(path)
    path.write_bytes(b"# nothing\n")
    with pytest.raises(PresetError, match=r"wrong\.toml: expected extends, or one of the tables"):
        load_preset(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PresetError, match="is not TOML"):
        load_preset(path)
    taken = tmp_path / "cpu.toml"
    taken.write_text(MINE, encoding="utf-8")
    before = PRESETS["cpu"]
    with pytest.raises(PresetError, match="a preset of this package is called cpu: rename the file"):
        load_preset(taken)
    assert PRESETS["cpu"] is before
    with pytest.raises(FLPError, match=r"unknown preset 'mine'.*ends in \.toml"):
        get_preset("mine", "flp")


def test_settings_that_contradict_one_another_are_found_when_they_are_used(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_text("[numbers.outer-loop]\nestimator = 'windows'\n", encoding="utf-8")
    load_preset(path)
    with pytest.raises(FLPError, match="the estimator windows needs window"):
        get_preset("windows", "flp")
    assert get_preset("windows", "flp", {"window": 5}).window == 5


def test_lines_are_counted_through_lists_of_tables():
    text = json.dumps(MINE)  # any text without the keys
    assert line_of(text, ("cases", 0, "when")) is None
    assert line_of(MINE, ("cases", 0, "gradient-based", "initial_rate")) == 13
    assert line_of(MINE, ("environments", 1, "options", "steps_per_function")) == 22
    assert line_of(MINE, ("numbers", "outer-loop", "short_outer_steps")) == 9


def test_options_of_single_splits_leave_the_inputs_as_they_are(tmp_path, capsys):
    path = tmp_path / "other.toml"
    text = MINE.replace("options.steps_per_function = 3", "options.num_functions = 3").replace(
        'env = "FLPSine"\noptions.num_functions = 2', 'env = "FLPSine"\noptions.batch_size = 4'
    )
    path.write_text(text, encoding="utf-8")
    assert main(["train", f"--preset={path}", "--env-option=query_size=8", f"--output={tmp_path / 'run'}"]) == 1
    said = capsys.readouterr().err
    assert "options that a preset gives to some splits only must leave the inputs as they are" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
