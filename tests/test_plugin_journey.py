"""One plug-in file goes through every command, and what is saved of it asks for it again."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import flp_envs
from flp_agents import (
    FLP,
    Adam,
    Backpropagation,
    CheckpointError,
    GradientBased,
    MetaTrainer,
    Network,
    Truncated,
    evaluate,
    load_checkpoint,
    load_plugins,
    register_learner,
    save_checkpoint,
)
from flp_agents.cli.main import main
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins
from flp_agents.support.savable import SAVABLE
from flp_agents.training import checkpoint
from flp_agents.training.run import TrainingRun

pytestmark = pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin.py"
# The example's environment, but smaller, with an id of its own, and found by its module's name.
CHANGES = {
    '"ShortSine-v0", entry_point=make_env': '"PlugSine-v0", entry_point="plug_everything:make_env"',
    '"num_functions": 3, "steps_per_function": 8': (
        '"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4'
    ),
}
ENV = "--env=PlugSine-v0"
QUICK = ["--outer-steps=3", "--short-outer-steps=0", "--test-episodes=2", "--threads=1"]
FLP_QUICK = [*QUICK, "--hidden-widths=8,8"]
RUNS = {
    "gained-flp": [ENV, "--learner=gained-flp", "--rule=leaky-hebb", "--rate=gains=0.01", *FLP_QUICK],
    "running-mean": ["--env=plug_everything:PlugSine-v0", "--learner=running-mean", "--rate=factors=0.1", *QUICK],
    "flp": [ENV, "--learner=flp", "--rule=leaky-hebb", *FLP_QUICK],
}


def source():
    """The plug-in of the example, and all that it lacks."""
    text, _, _ = EXAMPLE.read_text(encoding="utf-8").partition("if __name__")
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    return text + Path(__file__).with_name("plugin_everything.py").read_text(encoding="utf-8")


def forget():
    """As in a new process: nothing is registered or imported."""
    sys.path[:] = [folder for folder in sys.path if not (Path(folder) / "plug_everything.py").exists()]
    LEARNERS.forget("gained-flp", "running-mean", "plain-mean")
    RULES.forget("leaky-hebb")
    SAVABLE.forget(*(name for name in SAVABLE if name.startswith("plug_everything")))
    plugins.gym.registry.pop("PlugSine-v0", None)
    sys.modules.pop("plug_everything", None)
    plugins._LOADED.clear()


@pytest.fixture(autouse=True)
def _forgotten():
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the plug-in, and a run of every kind."""
    folder = tmp_path_factory.mktemp("journey")
    plugin = folder / "plug_everything.py"
    plugin.write_text(source(), encoding="utf-8")
    for name, flags in RUNS.items():
        forget()
        assert main(["train", f"--plugin={plugin}", *flags, f"--output={folder / name}"]) == 0
    forget()
    return folder


@pytest.fixture
def plugin(here):
    return f"--plugin={here / 'plug_everything.py'}"


def run(arguments, capsys, code=0, search=()):
    """What a command that runs in a new process prints."""
    forget()
    sys.path[:0] = search
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == code
    return capsys.readouterr()


def command(name, folder, run_name, to="exported"):
    """A command on a run's checkpoint."""
    saved = f"--checkpoint={folder / run_name}"
    return {
        "evaluate": ["evaluate", saved, "--episodes=2", "--json"],
        "render": ["render", saved, f"--output={folder / 'picture.png'}"],
        "export": ["export", saved, f"--output={folder / f'{to}-{run_name}'}"],
        "analyse": ["analyse", folder / run_name, "--episodes=1", f"--output={folder / 'analysis'}", "--json"],
        "train": ["train", f"--resume={folder / run_name}", "--test-episodes=2"],
    }[name]


@pytest.mark.parametrize("name", RUNS)
def test_what_is_saved_is_used_again_with_its_plugin(name, here, plugin, capsys):
    about = checkpoint.read_description(here / name)["about"]
    assert about["plugins"] == ["plug_everything.py"]  # without the folder
    assert about["env"] == ("plug_everything:" if name == "running-mean" else "") + "PlugSine-v0"
    printed = run([*command("evaluate", here, name), plugin], capsys)
    assert json.loads(printed.out)["env"] == "PlugSine-v0"
    more = ("render", "analyse") if name == "gained-flp" else ()
    for action in ("export", "train", *more):
        run([*command(action, here, name), plugin], capsys)
    again = run(["evaluate", f"--checkpoint={here / f'exported-{name}'}", "--episodes=2", "--json", plugin], capsys)
    assert json.loads(again.out)["mean"] == json.loads(printed.out)["mean"]


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("action", ["evaluate", "render", "export", "analyse", "train"])
def test_without_its_plugin_it_is_named_and_nothing_is_executed(action, name, here, capsys, monkeypatch):
    """Not even where Python would look for a file of that name."""
    monkeypatch.chdir(here)
    if (action, name) == ("export", "flp"):
        return
    said = run(command(action, here, name, to="never"), capsys, code=1).err
    assert said.startswith("flp: error: ")
    assert said.count("\n") == 1
    assert "--plugin plug_everything" in said
    assert "plug_everything" not in sys.modules


def test_a_module_that_python_finds_by_itself_is_imported_again(here, capsys):
    said = run(command("evaluate", here, "running-mean"), capsys, search=[str(here)])
    assert json.loads(said.out)["env"] == "PlugSine-v0"


@pytest.mark.parametrize("name", RUNS)
def test_a_paused_run_says_how_it_is_resumed_and_ends_at_the_same_bits(name, here, plugin, capsys):
    folder = here / f"paused-{name}"
    start = ["train", plugin, *RUNS[name], f"--output={folder}", "--save-every=0"]
    said = run([*start, "--minutes=0.0000001"], capsys).out
    assert plugin.replace("=", " ") in said
    words = said.split("go on with: flp ")[1].split()
    run([*words, "--test-episodes=2"], capsys)
    load_plugins([str(here / "plug_everything.py")])
    digests = {checkpoint.parameters_digest(load_checkpoint(path).learner) for path in (folder, here / name)}
    assert len(digests) == 1
    assert load_checkpoint(folder).about["plugins"] == ["plug_everything.py"]


@pytest.mark.slow
def test_learners_of_a_plugin_are_compared_in_workers_and_reported(here, plugin, capsys):
    folder = here / "compared"
    learners = ["gained-flp", "plain-mean", str(here / "gained-flp"), str(here / "running-mean")]
    flags = ["--seeds=1", "--episodes=2", "--jobs=2", f"--output={folder}", "--json"]
    said = run(["benchmark", plugin, "--learners", *learners, "--envs", "PlugSine-v0", *flags], capsys)
    rows = json.loads(said.out)["rows"]
    assert len({row["learner"] for row in rows}) == 4
    assert "failed" not in said.err
    run(["report", folder, plugin], capsys)
    assert "gained-flp" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["gained-flp", "running-mean", "plain-mean"])
def test_learners_of_a_plugin_are_checked_where_they_are_compared(name, plugin, capsys):
    said = run(["check-learner", name, plugin, "--envs", "PlugSine-v0", "--json"], capsys)
    assert all(finding["passed"] for finding in json.loads(said.out)["findings"])


def test_a_plugin_is_listed_rendered_and_given_rewards(here, plugin, capsys):
    listed = json.loads(run(["list", plugin, "--json"], capsys).out)
    assert "PlugSine-v0" in listed["environments"]
    assert "gained-flp" in listed["learners"]
    run(["render", plugin, ENV, "--learner=gained-flp", f"--output={here / 'new.png'}"], capsys)
    flags = ["--algorithm=ppo", "--env-steps=1", "--test-episodes=2", f"--output={here / 'policy'}"]
    run(["train-sb3", plugin, ENV, *flags], capsys)
    assert json.loads((here / "policy" / "policy.json").read_text(encoding="utf-8"))["plugins"] == [
        "plug_everything.py"
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learner=gained-flp"], "no outer learning rate is given for gains: .*--rate gains=1e-3"),
        (["--learner=gained-flp", "--rate=gain=1"], "unknown group of meta-parameters 'gain': did you mean 'gains'"),
        (["--learner=gained-flp", "--rate=gains=x"], "--rate: expected NAME=RATE"),
        (["--learner=gained-flp", "--rate=gains=nan"], "the outer learning rate of gains must be a finite number"),
        (["--learner=gained-flp", "--rate=weights=1"], "--rate weights: use --rate-weights"),
        (["--learner=plain-mean"], "plain-mean has no meta-parameters, so it is not meta-trained"),
        (["--learner=gained-flpp"], "unknown learner 'gained-flpp': did you mean 'gained-flp'"),
        (["--rule=leaky-heb"], "unknown rule 'leaky-heb': did you mean 'leaky-hebb'"),
        (["--learner=running-mean", "--rate=factors=1", "--rule=oja"], "--rule makes no difference to running-mean"),
        (["--learner=oml", "--granularity=layer"], "--granularity makes no difference to oml on PlugSine-v0"),
        (["--learner=oml", "--rate-feedback=1"], "--rate-feedback makes no difference to oml"),
        (["--channels=8"], "--channels makes no difference to flp on PlugSine-v0"),
        (["--gradient-steps=3"], "gradient_steps are of checkpointed, reversible and truncated"),
    ],
)
def test_what_would_be_ignored_is_refused(flags, message, here, plugin, capsys):
    import re

    said = run(["train", plugin, ENV, *flags, f"--output={here / 'refused'}"], capsys, code=1).err
    assert re.search(message, said)
    assert not (here / "refused").exists()


def test_a_program_saves_what_the_commands_take(here, plugin, capsys):
    load_plugins([str(here / "plug_everything.py")])
    from plug_everything import GainedFLP, LeakyHebb

    def trainer():
        env = flp_envs.make("PlugSine-v0", split="meta-train")
        learner = GainedFLP(Network((3, 8, 8, 1)), 2, rule=LeakyHebb(0.2), first_gain=0.25, initial_coefficient=0.01)
        rates = dict.fromkeys(learner.parameter_groups(), 1e-3)
        estimator = Backpropagation(Truncated(4))
        optimizer = Adam(rates, outer_steps=4)
        return MetaTrainer(learner, env, optimizer=optimizer, meta_batch=2, estimator=estimator, seed=7)

    whole, part, folder = trainer(), trainer(), here / "program"
    for _ in range(4):
        whole.step()
    for _ in range(2):
        part.step()
    part.save(folder)
    shutil.copytree(folder, here / "program-2")
    resumed = MetaTrainer.resume(here / "program-2")
    assert (resumed.rates, resumed.estimator, resumed.seed) == (whole.rates, Backpropagation(Truncated(4)), 7)
    assert resumed.learner.settings == whole.learner.settings
    for _ in range(2):
        resumed.step()
    resumed.save(here / "program-2")
    resumed.save(here / "program-2")  # its own, again
    with pytest.raises(CheckpointError, match="holds another checkpoint already: choose another"):
        whole.save(here / "program-2")
    whole.save(here / "program-2", overwrite=True)
    run(["train", f"--resume={folder}", "--test-episodes=2", plugin], capsys)
    for action in ("evaluate", "export"):
        run([*command(action, here, "program"), plugin], capsys)
    load_plugins([str(here / "plug_everything.py")])
    digests = [checkpoint.parameters_digest(load_checkpoint(path).learner) for path in (folder, here / "program-2")]
    assert digests == [checkpoint.parameters_digest(whole.learner)] * 2
    about = load_checkpoint(folder).about
    assert (about["learner"], about["outer_steps_done"], about["rates"]) == ("gained-flp", 4, {"gains": 1e-3})
    with pytest.raises(CheckpointError, match="cannot save GainedFLP: its class was defined anew since"):
        whole.save(here / "anew")


def test_a_run_of_the_command_line_goes_on_in_a_program(here, plugin, capsys):
    run(["train", plugin, *RUNS["gained-flp"], "--minutes=0.0000001", f"--output={here / 'half'}"], capsys)
    trainer = MetaTrainer.resume(here / "half")
    while trainer.step_count < 3:
        trainer.step()
    assert checkpoint.parameters_digest(trainer.learner) == checkpoint.parameters_digest(
        load_checkpoint(here / "gained-flp").learner
    )
    trainer.save(here / "half")
    assert load_checkpoint(here / "half").about["command"].startswith("flp train --plugin=plug_everything.py")


def test_an_env_without_an_id_is_given_again(here, tmp_path, capsys):
    env = flp_envs.OnlineLearningEnv(
        flp_envs.SineTask(num_functions=2, steps_per_function=2, query_size=4, batch_size=4)
    )
    learner = GradientBased(Network((3, 4, 1)), 1)
    trainer = MetaTrainer(learner, env, optimizer=Adam({"weights": 1e-3, "inner_rates": 0.0}, outer_steps=2))
    trainer.save(tmp_path / "run")
    with pytest.raises(CheckpointError, match="does not say its env"):
        MetaTrainer.resume(tmp_path / "run")
    assert "does not say its env" in run(["train", f"--resume={tmp_path / 'run'}"], capsys, code=1).err
    assert "does not say its env" in run(["evaluate", f"--checkpoint={tmp_path / 'run'}"], capsys, code=1).err
    flags = ["--env=FLPSine-IID-v0", "--env-option=num_functions=2", "--env-option=steps_per_function=2"]
    run(["evaluate", f"--checkpoint={tmp_path / 'run'}", "--episodes=1", *flags], capsys)
    resumed = MetaTrainer.resume(tmp_path / "run", env)
    assert resumed.rates == trainer.rates
    trainer.step(), resumed.step()


def test_a_learner_is_saved_for_inference_with_its_env(tmp_path, capsys):
    env = flp_envs.make("FLPSine-IID-v0", num_functions=2, steps_per_function=2, query_size=8, batch_size=4)
    save_checkpoint(tmp_path / "saved", FLP(Network((3, 4, 1)), 1), {"note": "mine"}, env=env)
    loaded = load_checkpoint(str(tmp_path / "saved"))
    assert loaded.about["env_options"] == {
        "num_functions": 2,
        "steps_per_function": 2,
        "query_size": 8,
        "batch_size": 4,
    }
    assert (loaded.about["note"], loaded.about["learner"]) == ("mine", "feature-reuse")
    said = json.loads(run(["evaluate", f"--checkpoint={tmp_path / 'saved'}", "--episodes=2", "--json"], capsys).out)
    test = flp_envs.make("FLPSine-IID-v0", split="meta-test", **loaded.about["env_options"])
    assert said["mean"] == evaluate(loaded.learner, test, episodes=2, seed=0).mean
    with pytest.raises(CheckpointError, match="holds no training state: it can be evaluated, not resumed"):
        MetaTrainer.resume(tmp_path / "saved")


def test_a_run_at_its_short_lifetimes_is_resumed_in_python_and_by_the_command_line(here, plugin, tmp_path, capsys):
    flags = [flag for flag in RUNS["flp"] if "short" not in flag]
    more = [
        "--short-outer-steps=2",
        "--short-steps-per-function=1",
        "--minutes=0.0000001",
        f"--output={tmp_path / 'run'}",
    ]
    run(["train", plugin, *flags, *more], capsys)
    load_plugins([str(here / "plug_everything.py")])
    trainer = MetaTrainer.resume(tmp_path / "run")
    steps = []
    for _ in range(2):
        result = trainer.step()
        steps.append((trainer.env.unwrapped.task.steps_per_function, result.outer_loss))
    assert steps[0][0] == 1 < steps[1][0]
    run(["train", plugin, f"--resume={tmp_path / 'run'}", "--test-episodes=2"], capsys)
    with (tmp_path / "run" / "metrics.csv").open(encoding="utf-8") as file:
        losses = [float(row["query_loss"]) for row in csv.DictReader(file)]
    assert losses[1:3] == [loss for _, loss in steps][: len(losses) - 1]
    TrainingRun.resume(tmp_path / "run").run()


def test_what_could_not_be_built_again_is_not_saved(tmp_path):
    class Forgets(FLP):
        """Does not tell its own argument."""

        def __init__(self, network, plastic_layers=2, *, width=3, **flp):
            super().__init__(network, plastic_layers, **flp)
            self.extra = torch.nn.Parameter(torch.zeros(width))

    network = Network((3, 4, 1))

    class Unknown(FLP):
        """Not registered."""

    with pytest.raises(CheckpointError, match=r"cannot save Unknown: decorate it with @flp_agents.register_learner"):
        save_checkpoint(tmp_path, Unknown(network))
    register_learner("forgets-its-width")(Forgets)
    with pytest.raises(
        CheckpointError, match=r"its settings lack the constructor's argument 'width': add self.settings"
    ):
        save_checkpoint(tmp_path, Forgets(network))
    learner = Forgets(network)
    learner.settings = {**learner.settings, "width": 5}
    with pytest.raises(CheckpointError, match="built again from its settings, it has another extra"):
        save_checkpoint(tmp_path, learner)
    learner.settings = {**learner.settings, "width": torch.ones(3)}
    with pytest.raises(CheckpointError, match="cannot save tensor"):
        save_checkpoint(tmp_path, learner)
    assert not list(tmp_path.iterdir())
    for registry in (LEARNERS, SAVABLE):
        registry.forget(*(name for name in registry if "orgets" in name))


@pytest.mark.slow
def test_a_new_process_needs_and_takes_the_plugin(here):
    """The same once in a process of its own, as the others are in this one."""
    words = [sys.executable, "-m", "flp_agents", "evaluate", f"--checkpoint={here / 'gained-flp'}", "--episodes=1"]
    without = subprocess.run(words, cwd=here.parent, capture_output=True, encoding="utf-8", check=False)
    assert (without.returncode, without.stderr.count("\n")) == (1, 1)
    assert "add --plugin plug_everything.py" in without.stderr
    assert "Traceback" not in without.stderr
