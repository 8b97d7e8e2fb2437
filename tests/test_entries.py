"""Names of learners: built in, registered, of entry points, checkpoints."""

import importlib
import sys
from pathlib import Path

import pytest
from plain_learners import Zero

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.benchmark.entries import SplitLeak, build_entry, register_learner
from flp_agents.evaluation.scoring import evaluate
from flp_agents.support import plugins
from flp_agents.support.plugins import PluginError, load_plugins
from flp_agents.training.bundled import bundled_checkpoints
from flp_base.errors import FLPError, InvalidChoice
from flp_base.registry import RegistryError

PLUGIN = Path(__file__).parent / "plugin_learners.py"
SMALL = {"num_functions": 3, "steps_per_function": 4}


@pytest.fixture
def env():
    return flp_envs.make("FLPSine-Continual-v0", split="meta-test", **SMALL)


@pytest.fixture(autouse=True)
def _registered():
    """What a test registers is forgotten after it; but the plugin, whose module stays imported, is not."""
    load_plugins([str(PLUGIN)])
    before = plugins.registered()
    yield
    plugins.restore(before)


def test_a_decorated_class_is_known_by_its_name(env):
    assert register_learner("zero")(Zero) is Zero
    entry = build_entry("zero", env, seed=3)
    assert (entry.title, entry.network, entry.meta_trained_on) == ("zero", "seed 3", {})
    assert evaluate(entry.learner, env, episodes=2).mean > 0.1
    assert "zero" in entries.learner_names()


def test_a_builder_gets_what_it_has_parameters_for(env):
    got = {}

    @register_learner("asks")
    def build(seed, env):
        got.update(seed=seed, env=env)
        return Zero()

    build_entry("asks", env, seed=7)
    assert got == {"seed": 7, "env": env}

    @register_learner("asks-more")
    def build_more(**arguments):
        got.update(arguments, all=True)
        return Zero()

    build_entry("asks-more", env, seed=8)
    assert (got["seed"], got["all"]) == (8, True)


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(RegistryError, match="built-in learner is named 'flp'"):
        register_learner("flp")(Zero)
    register_learner("zero")(Zero)
    register_learner("zero")(Zero)  # the same again, as a module that is imported twice does
    with pytest.raises(RegistryError, match="another learner is registered as 'zero'"):
        register_learner("zero")(type("Other", (Zero,), {}))


def test_plugins_are_files_or_modules(tmp_path, monkeypatch, env):
    load_plugins([str(PLUGIN)])
    load_plugins([str(PLUGIN)])
    assert build_entry("mean", env).title == "mean"
    source = "from flp_agents import register_learner\nfrom test_entries import Zero\nregister_learner('{}')(Zero)\n"
    (tmp_path / "my_learners.py").write_text(source.format("of-a-module"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins(["my_learners"])
    assert build_entry("of-a-module", env).title == "of-a-module"
    sys.modules.pop("my_learners")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file .*missing.py"),
        ("x = 1", "registers no learner"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("def f(:", "SyntaxError"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
    ],
)
def test_plugins_that_bring_nothing(tmp_path, content, message):
    path = tmp_path / "missing.py"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(PluginError, match=message):
        load_plugins([str(path)])
    with pytest.raises(PluginError):
        load_plugins([str(path)])  # not taken for loaded


def test_entry_points_of_installed_packages(tmp_path, monkeypatch, env):
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[flp_envs.learners]\ntheirs = their_package:Theirs\nbroken = their_package:missing\n", encoding="utf-8"
    )
    (tmp_path / "their_package.py").write_text("from test_entries import Zero as Theirs\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert {"theirs", "broken"} <= set(entries.learner_names())
    assert build_entry("theirs", env).title == "theirs"
    with pytest.raises(RegistryError, match="entry point broken = their_package:missing fails: AttributeError"):
        build_entry("broken", env)


def test_a_meta_trained_learner_is_the_bundled_one_of_the_environment():
    env = flp_envs.make("FLPSine-Continual-v0", split="meta-test")
    by_name, by_checkpoint = (build_entry(name, env) for name in ("flp", "flp-2-sine-continual"))
    by_folder = build_entry(str(bundled_checkpoints()["flp-2-sine-continual"]), env)
    assert by_name.title == by_checkpoint.title == by_folder.title == "FLP (2)"
    assert by_name.network == by_checkpoint.network == by_folder.network
    assert len(by_name.network) == 64
    assert by_name.meta_trained_on["env"] == "FLPSine-Continual-v0"
    assert by_folder.origin["checkpoint"] == "flp-2-sine-continual"


def test_what_was_not_meta_trained_is_said(env):
    glyphs = flp_envs.make("FLPGlyph-IID-v0", split="meta-test")
    with pytest.raises(FLPError, match="no bundled checkpoint of oml for FLPGlyph-IID-v0: meta-train one"):
        build_entry("oml", glyphs)
    with pytest.raises(FLPError, match="env options"):
        build_entry("flp", env)
    with pytest.raises(InvalidChoice, match="did you mean 'sgd'") as caught:
        build_entry("sgf", env)
    # Of fifty names the nearest are enough.
    assert len(str(caught.value)) < 200
    with pytest.raises(InvalidChoice, match=r"unknown learner 'polynomials': valid: .*adam, .* by --plugin FILE$"):
        build_entry("polynomials", env)


def test_weights_are_told_apart_by_their_digest():
    digests = {entries.weights_digest(name, "FLPSine-Continual-v0", 0) for name in ("flp", "oml", "feature-reuse")}
    assert len(digests) == 3
    assert "" not in digests
    assert entries.weights_digest("flp-2-sine-continual", "FLPSine-IID-v0", 1) in digests
    assert entries.weights_digest("sgd", "FLPSine-IID-v0", 0) == ""


def test_a_meta_trained_start_says_whose_weights_it_has():
    env = flp_envs.make("FLPSine-Continual-v0", split="meta-test")
    start, whole = (build_entry(name, env) for name in ("adam-meta-trained", "gradient-based"))
    assert (start.title, start.network) == ("adam-meta-trained", whole.network)
    assert start.meta_trained_on == whole.meta_trained_on
    assert start.origin["checkpoint"] == "gradient-based-3-sine-continual"
    digests = [entries.weights_digest(name, env.spec.id, 1) for name in ("adam-meta-trained", "gradient-based")]
    assert digests[0] == digests[1] != ""


def test_results_on_the_split_of_meta_training_are_refused():
    for name in ("flp", "flp-2-sine-continual", str(bundled_checkpoints()["flp-2-sine-continual"])):
        with pytest.raises(SplitLeak, match=r"meta-trained on the meta-train split of FLPSine.*use --split meta-test"):
            entries.check_split(name, "FLPSine-IID-v0", "meta-train")
        entries.check_split(name, "FLPSine-IID-v0", "meta-test")
    entries.check_split("sgd", "FLPSine-IID-v0", "meta-train")
    entries.check_split("flp-2-omniglot-iid", "FLPGlyph-IID-v0", "meta-train")
