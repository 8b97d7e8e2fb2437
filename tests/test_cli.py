"""The ``flp`` command, as a user types it."""

import json
import os
import re
import signal
import time

import pytest
from documentation import start_as_a_reader

from flp_agents import LEARNERS, PRESETS
from flp_agents.cli.main import main
from flp_agents.support.settings import option_fields
from flp_agents.training import checkpoint
from flp_agents.training.bundled import bundled_checkpoints, bundled_for
from flp_envs import ENV_IDS

SMALL = [
    "--env-option=num_functions=2",
    "--env-option=steps_per_function=3",
    "--env-option=batch_size=4",
    "--env-option=query_size=4",
]
QUICK = [*SMALL, "--hidden-widths=8,8", "--short-outer-steps=0", "--outer-steps=3", "--test-episodes=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small finished run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", *QUICK, f"--output={folder}"]) == 0
    return folder


def fails(arguments, capsys, code=1):
    """Runs a command that must fail, and returns its one line of error."""
    try:
        assert main([str(a) for a in arguments]) == code
    except SystemExit as error:
        assert error.code == code == 2  # noqa: PT017
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("flp: error: ")
    return lines[0]


def test_list_as_json(capsys):
    assert main(["list", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["environments"][: len(ENV_IDS)] == list(ENV_IDS)  # then what other tests registered
    assert content["learners"] == list(LEARNERS)
    assert content["presets"] == list(PRESETS)
    assert {row["name"] for row in content["checkpoints"]} == set(bundled_checkpoints())
    for row in content["checkpoints"]:
        assert row["env"] in ENV_IDS
        assert row["learner"] in LEARNERS
        assert row["preset"] in PRESETS


def test_list_for_people(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (*ENV_IDS, *LEARNERS, *PRESETS, *bundled_checkpoints()):
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", out), f"{name} is missing, or broken in two"
    assert max(map(len, out.splitlines())) <= 80
    # All scores below a heading are in the unit that it names.
    of_env = [part.splitlines() for part in out.split("\n\n")[2:]]
    assert len(of_env) > 2
    for heading, *rows in of_env:
        assert heading.endswith("mean squared error" if "Sine" in heading else "per cent of wrong answers")
        assert all(("sine" in row) == ("Sine" in heading) for row in rows)


@pytest.mark.parametrize("command", ["evaluate", "export", "render", "analyse"])
def test_a_learner_that_is_no_checkpoint_is_sent_to_the_benchmark(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ridge", "flp"):
        arguments = [name] if command == "analyse" else ["--checkpoint", name]
        arguments += ["--output", "x"] if command == "export" else []
        line = fails([command, *arguments], capsys)
        assert f"{name} is a learner, not a checkpoint" in line
        assert f"flp benchmark --learners {name}" in line
        assert ("flp-2-sine-continual" in line) == (name == "flp")


def test_train_then_evaluate(trained, capsys, monkeypatch):
    assert main(["evaluate", f"--checkpoint={trained}", "--episodes=5", "--seed=3", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["env"] == "FLPSine-Continual-v0"
    assert (content["learner"], content["checkpoint"], content["episodes"], content["seed"]) == (
        "flp",
        str(trained),
        5,
        3,
    )
    assert content["metric"] == "mse"
    assert content["mean"] > 0
    assert content["standard_error"] > 0
    monkeypatch.setattr("flp_agents.support.progress._LINE_EVERY_SECONDS", 0.0)
    assert main(["evaluate", f"--checkpoint={trained}", "--episodes=5", "--seed=3"]) == 0
    said = capsys.readouterr()
    assert f"{content['mean']:.5f}" in said.out
    assert said.err == "episode 1/5\nepisode 5/5\n"


def test_a_checkpoint_that_does_not_say_its_env_is_refused(trained, tmp_path, capsys):
    checkpoint.save(tmp_path, checkpoint.load(trained).learner, {})
    assert "does not say its env" in fails(["evaluate", f"--checkpoint={tmp_path}"], capsys)
    assert "does not say its env" in fails(["render", f"--checkpoint={tmp_path}"], capsys)


def test_an_id_may_name_its_module(trained, capsys):
    flags = ["--env=flp_envs:FLPSine-Continual-v0", "--episodes=2", "--json"]
    assert main(["evaluate", f"--checkpoint={trained}", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["env"] == "FLPSine-Continual-v0"


def test_export_leaves_the_training_state_out(trained, tmp_path, capsys):
    assert main(["export", f"--checkpoint={trained}", f"--output={tmp_path / 'small'}"]) == 0
    exported, original = checkpoint.load(tmp_path / "small"), checkpoint.load(trained)
    assert exported.progress is None
    assert exported.about == original.about
    assert checkpoint.parameters_digest(exported.learner) == checkpoint.parameters_digest(original.learner)
    capsys.readouterr()
    assert "holds a checkpoint already" in fails(
        ["export", f"--checkpoint={trained}", f"--output={tmp_path / 'small'}"], capsys
    )


def test_the_recorded_command_does_not_say_where(monkeypatch):
    from flp_agents.cli.given import typed_command

    assert typed_command(["train", "--output", "here", "--seed=3", "--output=there"]) == "flp train --seed=3"


def test_one_episode_has_no_standard_error(trained, capsys):
    assert main(["evaluate", f"--checkpoint={trained}", "--episodes=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["standard_error"] is None


def test_every_setting_can_be_overridden():
    from flp_agents.cli.parser import make_parser

    flags = ["train"]
    for name, field in option_fields().items():
        flag = "--" + name.replace("_", "-")
        if isinstance(field.default, bool):
            flags.append(flag if not field.default else flag.replace("--", "--no-", 1))
        elif isinstance(field.default, tuple):
            flags.append(f"{flag}=7,8")
        else:
            flags.append(f"{flag}={'x' if isinstance(field.default, str) else 7}")
    options = vars(make_parser().parse_args(flags))
    for name, field in option_fields().items():
        assert options[name] not in (None, field.default)


def test_overrides_reach_the_learner(tmp_path):
    more = ["--granularity=neuron", "--rectified", "--rule=hebb", "--initial-strength=0.25"]
    assert main(["train", *QUICK, *more, f"--output={tmp_path}"]) == 0
    learner = checkpoint.load(tmp_path).learner
    assert learner.settings["granularity"] == "neuron"
    assert learner.settings["feedback"].rectified
    assert type(learner.settings["rule"]).__name__ == "Hebb"
    assert learner.settings["initial_strength"] == 0.25


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("learner", LEARNERS.built_in())
def test_every_preset_trains_every_learner(preset, learner, tmp_path):
    flags = [*QUICK[:-2], "--outer-steps=2", "--test-episodes=2", f"--preset={preset}", f"--learner={learner}"]
    more = [] if learner == "feature-reuse" else ["--plastic-layers=2"]
    assert main(["train", *flags, *more, f"--output={tmp_path}"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("learner", LEARNERS.built_in())
def test_the_paper_size_network_takes_an_outer_step(learner, tmp_path):
    flags = ["--preset=paper", f"--learner={learner}", "--outer-steps=1", "--test-episodes=2"]
    assert main(["train", *flags, f"--output={tmp_path}"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--env=FLPSin-Continual-v0"], "did you mean 'FLPSine-Continual-v0'"),
        (["train", "--env=FLPSine-Continual-v1"], "did you mean 'FLPSine-Continual-v0'"),
        (["train", "--env=MyLines-v0"], "; one of your own is named with its module, MODULE:ID"),
        (["train", "--learner=fpl"], "unknown learner 'fpl': did you mean 'flp'"),
        (["train", "--learner=mine"], "; what is your own is brought by --plugin FILE"),
        (["train", "--learner=ridge"], "ridge has no meta-parameters, so it is not meta-trained: use it in"),
        (["train", "--preset=papre"], "unknown preset 'papre': did you mean 'paper'"),
        (["train", "--rule=oya"], "unknown rule 'oya': did you mean 'oja'"),
        (["train", "--granularity=neurons"], "did you mean 'neuron'"),
        (["train", "--order=third"], "unknown order"),
        (["train", "--schedule=cosinus"], "did you mean 'cosine'"),
        (["train", "--meta-gradient=revers"], "did you mean 'reversible'"),
        (["train", "--precision=bfloat"], "did you mean 'bfloat16'"),
        (["train", "--gradient-steps=-1"], "gradient_steps must be"),
        (["train", "--learner=oml", "--meta-gradient=reversible"], "OML has no closed form: use Checkpointed"),
        (["train", "--meta-gradient=checkpointed", "--gradient-steps=5000"], "inner steps: choose every of at most"),
        (["train", "--meta-gradient=truncated", "--gradient-steps=5000"], "inner steps: choose at most as many"),
        (["train", "--cuda-graph"], "a CUDA graph needs a CUDA device"),
        (["train", "--plastic-layers=0"], "plastic_layers must be a whole number of at least 1, got 0"),
        (["train", "--plastic-layers=10"], "between 1 and the network's number of layers, 9, got 10"),
        (["train", "--env-option=num_functions=0"], "num_functions must be a whole number of at least 1, got 0"),
        (["train", "--env-option=num_functions=500"], "at most the function pool's size, 400, got 500"),
        (["train", "--env-option=num_function=5"], "did you mean 'num_functions'"),
        (["train", "--env-option=5"], "expected NAME=VALUE"),
        (["train", "--env=CartPole-v1"], "cannot make CartPole-v1"),
        (["train", "--env-option=split=meta-test"], "split is not set here"),
        (["train", "--env-option=env_id=x"], "env_id is not set here"),
        (["train", "--env-option=function_pool_size=100000000000"], "function_pool_size must be at most"),
        (["train", "--env-option=max_amplitude=1e39"], "max_amplitude must be"),
        (["train", "--learner=feature-reuse", "--plastic-layers=2"], "feature-reuse has 1 plastic layer, got 2"),
        (["train", "--outer-steps=0"], "outer_steps must be"),
        (["train", "--test-episodes=0"], "test-episodes must be"),
        (["train", "--threads=99999"], "threads must be at most"),
        (["train", "--meta-batch=0"], "meta_batch must be"),
        (["train", "--rate-weights=-1"], "rate_weights must be a finite number of at least 0"),
        (["train", "--hidden-widths=8,0"], "each of hidden_widths must be a whole number of at least 1"),
        (["train", "--device=cuda"], "'cuda' is not there: this machine has 0 CUDA devices; use --device cpu"),
        (["train", "--device=cuda:7"], "'cuda:7' is not there"),
        (["train", "--device=tpu"], "unknown device 'tpu': expected cpu, cuda or cuda:N"),
        (["train", "--threads=0"], "threads must be"),
        (["train", "--resume=nowhere"], "no checkpoint at nowhere"),
        (["evaluate", "--checkpoint=nowhere"], "unknown checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_leaves_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    # Should the input be taken after all, the run is short.
    quick = [flag for flag in QUICK if flag.split("=")[0] not in {a.split("=")[0] for a in arguments}]
    quick = [flag for flag in quick if "env-option" not in flag] if "env-option" in str(arguments) else quick
    if "train" in arguments and "--resume=nowhere" not in arguments and "layers, 9" not in message:
        arguments = [*arguments, *quick]
    assert message in fails(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["evaluate", "--checkpoint=flp-2-sine-iid", "--data-root=--"], "--data-root: expected a value, got '--'"),
        ([], "required: COMMAND"),
        (["train", "--outer-steps=many"], "invalid int value: 'many'"),
        (["train", "--hidden-widths=a,b"], "expected whole numbers with commas between them, got 'a,b'"),
        (["train", "--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["evaluate"], "required: --checkpoint"),
        (["train", "--seed=-1"], "expected a whole number from 0 to 2147483647, got '-1'"),
        (["train", "--seed=99999999999999999999"], "expected a whole number from 0 to"),
    ],
)
def test_bad_usage_gets_one_line(arguments, message, capsys):
    assert message in fails(arguments, capsys, code=2)


def test_evaluate_refuses_what_does_not_fit(trained, capsys):
    base = ["evaluate", f"--checkpoint={trained}"]
    assert "meta-trained on FLPSine-Continual-v0, not on FLPSine-IID-v0: add --transfer" in fails(
        [*base, "--env=FLPSine-IID-v0"], capsys
    )
    assert (
        "takes inputs of shape (3,) and predicts 1 numbers, the environment shows x of Box((4, 6), float32)"
        in fails([*base, "--env-option=num_functions=5"], capsys)
    )
    assert "episodes must be" in fails([*base, "--episodes=0"], capsys)
    assert "did you mean 'meta-test'" in fails([*base, "--split=test"], capsys)
    assert main([*base, "--env=FLPSine-IID-v0", "--transfer", "--episodes=2"]) == 0


def test_a_run_is_not_overwritten_by_accident(trained, capsys):
    before = checkpoint.parameters_digest(checkpoint.load(trained).learner)
    assert "holds a run already: go on with --resume" in fails(["train", *QUICK, f"--output={trained}"], capsys)
    assert checkpoint.parameters_digest(checkpoint.load(trained).learner) == before


def test_resume_keeps_the_settings(trained, capsys):
    assert "leave out --outer-steps" in fails(["train", f"--resume={trained}", "--outer-steps=9"], capsys)
    more = ["--learner=oml", "--seed=5", "--env-option=a=1", "--overwrite", "--output=x"]
    assert "leave out --learner, --output, --seed, --env-option, --overwrite" in fails(
        ["train", f"--resume={trained}", *more], capsys
    )
    assert "no checkpoint at" in fails(["train", "--resume="], capsys)
    assert main(["train", f"--resume={trained}", "--test-episodes=2"]) == 0


def test_an_unwritable_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "choose another --output" in fails(["train", *QUICK, f"--output={tmp_path / 'file' / 'run'}"], capsys)


def test_a_pause_can_be_resumed(tmp_path, capsys):
    flags = [*QUICK[:-2], "--outer-steps=40", "--test-episodes=2"]
    assert main(["train", *flags, "--minutes=0.0001", f"--output={tmp_path / 'run'}"]) == 0
    assert f"go on with: flp train --resume {tmp_path / 'run'}" in capsys.readouterr().out
    assert main(["train", f"--resume={tmp_path / 'run'}", "--test-episodes=2"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_saves_and_says_how_to_resume(number, tmp_path):
    folder = tmp_path / "run"
    flags = [*QUICK[:-2], "--outer-steps=100000", f"--output={folder}"]
    started = start_as_a_reader(["train", *flags], tmp_path)
    while not (folder / "metrics.csv").exists():
        time.sleep(0.05)
        assert started.process.exitcode is None
    time.sleep(1.0)
    os.kill(started.process.pid, number)
    ended = started.wait(60)
    assert ended.code == 130
    assert f"go on with: flp train --resume {folder}" in ended.printed
    assert not ended.errors
    assert checkpoint.load(folder).progress["step_count"] > 0


def test_render_says_how_far_it_is(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flp_agents.support.progress._LINE_EVERY_SECONDS", 0.0)
    assert main(["render", f"--checkpoint={trained}", f"--output={tmp_path / 'end.png'}"]) == 0
    assert capsys.readouterr().err.splitlines()[2:] == [f"inner step {step}/8" for step in range(3, 9)]


def test_render_writes_an_animation_and_a_picture(trained, tmp_path, capsys):
    from PIL import Image

    animation, picture = tmp_path / "a" / "life.gif", tmp_path / "end.png"
    assert main(["render", f"--checkpoint={trained}", f"--output={animation}", "--every=2"]) == 0
    with Image.open(animation) as image:
        assert image.n_frames == 5  # before steps 0, 2, 4, before the query, after it
    assert main(["render", *SMALL, "--learner=gradient-based", f"--output={picture}"]) == 0
    with Image.open(picture) as image:
        assert image.size[0] > 100
    capsys.readouterr()
    assert "ends in .gif, .mp4 or .png" in fails(["render", *SMALL, f"--output={tmp_path / 'x.avi'}"], capsys)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot write" in fails(["render", *SMALL, f"--output={tmp_path / 'file' / 'x.png'}"], capsys)
    assert not list(tmp_path.glob("**/.*"))


@pytest.mark.slow
def test_the_demo_leaves_a_table_and_a_picture(tmp_path, capsys):
    from PIL import Image

    assert main(["demo", f"--output={tmp_path}", "--episodes=2", "--train-seconds=2"]) == 0
    out = capsys.readouterr().out
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) == sum(len(bundled_for("FLPSine-Continual-v0", learner)) for learner in LEARNERS)
    assert len(content["glyphs"]) == sum(len(bundled_for("FLPOmniglot-Continual-v0", learner)) for learner in LEARNERS)
    assert "FLPGlyph-Continual-v0" in out
    for row in content["rows"] + content["glyphs"]:
        assert row["learner"] in out
        assert row["learner"] in (tmp_path / "results.md").read_text(encoding="utf-8")
    with Image.open(tmp_path / "lifetime.png") as image:
        assert image.size[0] > 500
    assert "meta-test error before" in out


def test_a_checkpoint_is_used_on_another_family_with_transfer(capsys):
    name = "flp-2-omniglot-continual"
    base = ["evaluate", f"--checkpoint={name}", "--env=FLPGlyph-IID-v0", "--episodes=3", "--json"]
    assert "add --transfer" in fails(base, capsys)
    assert main([*base, "--transfer"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["env"], content["metric"]) == ("FLPGlyph-IID-v0", "error_percent")
    assert content["mean"] < 40
    assert main([*base, "--transfer", "--env-option=num_classes=30"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["mean"] <= 100
    line = fails([*base, "--transfer", "--env-option=image_size=40"], capsys)
    assert "takes inputs of shape (1, 28, 28)" in line
