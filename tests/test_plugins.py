"""Plug-ins: files and modules that bring learners, environments and plasticity rules."""

import importlib
import sys

import pytest

import flp_envs
from flp_agents import load_plugins, register_rule
from flp_agents.cli.main import main
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.support import plugins
from flp_agents.support.plugins import PluginError
from flp_base.registry import RegistryError

ENV = """
import gymnasium as gym
from flp_envs import OnlineLearningEnv, SineTask

def make_env(split="meta-train", render_mode=None, **options):
    return OnlineLearningEnv(SineTask(split, **options), render_mode=render_mode)

gym.register("{id}", entry_point="{module}:make_env")
"""
RULE = """
from dataclasses import dataclass
from flp_agents import register_rule

@register_rule("{name}")
@dataclass(frozen=True)
class Mine:
    decay: float = 0.5
    def __call__(self, weight, pre, post, coefficient, unit=1.0):
        return weight * (1 - self.decay)
"""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """What a test registers or imports is forgotten after it."""
    before, modules, search = plugins.registered(), set(sys.modules), list(sys.path)
    monkeypatch.setattr(plugins, "_LOADED", [])
    yield
    plugins.restore(before)
    for name in set(sys.modules) - modules:
        if name.startswith("plug_"):
            del sys.modules[name]
    sys.path[:] = search


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_a_file_that_registers_an_environment_only_is_a_plugin(tmp_path):
    path = write(tmp_path / "plug_env.py", ENV.format(id="PlugEnv-v0", module="plug_env"))
    load_plugins([path, path])
    load_plugins([path])
    assert plugins.loaded_plugins() == (path,)
    assert sys.modules["plug_env"].__file__ == path
    for env_id in ("PlugEnv-v0", "plug_env:PlugEnv-v0"):  # the entry point names the file's own module
        assert type(flp_envs.make(env_id, split="meta-test").unwrapped).__name__ == "OnlineLearningEnv"
    assert "PlugEnv-v0" in flp_envs.known_ids()
    with pytest.raises(flp_envs.InvalidChoice, match="did you mean 'PlugEnv-v0'"):
        flp_envs.make("PlugEnw-v0")


def test_a_file_that_registers_a_rule_only_is_a_plugin(tmp_path):
    load_plugins([write(tmp_path / "plug_rule.py", RULE.format(name="plug-rule"))])
    assert RULES["plug-rule"]().decay == 0.5


def test_what_lies_beside_a_plugin_can_be_imported_and_shadows_nothing(tmp_path):
    write(tmp_path / "plug_beside.py", "name = 'plug-beside'\n")
    write(tmp_path / "json.py", "raise RuntimeError('shadows the standard library')\n")
    source = "import json\nfrom plug_beside import name\n" + RULE.replace('"{name}"', "name")
    load_plugins([write(tmp_path / "plug_needs.py", source)])
    assert "plug-beside" in RULES


def test_a_module_name_works_as_well_as_a_file(tmp_path, monkeypatch):
    (tmp_path / "plug_package").mkdir()
    write(tmp_path / "plug_package" / "__init__.py", "")
    write(tmp_path / "plug_package" / "envs.py", ENV.format(id="PlugPackage-v0", module="plug_package.envs"))
    with pytest.raises(PluginError, match=r"no module plug_package.envs on Python's search path: name a file"):
        load_plugins(["plug_package.envs"])
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins(["plug_package.envs"])
    flp_envs.make("PlugPackage-v0").close()


def test_a_module_that_was_imported_before_is_a_plugin_if_it_can_be_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "plug_early.py", ENV.format(id="PlugEarly-v0", module="plug_early"))
    importlib.import_module("plug_early")
    load_plugins(["plug_early"])
    for name in ("os", "numpy"):
        with pytest.raises(PluginError, match=f"{name} registers no learner, environment or rule"):
            load_plugins([name])


def test_two_files_of_one_name_are_refused(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        write(folder / "plug_same.py", ENV.format(id=f"PlugSame{folder.name}-v0", module="plug_same"))
    load_plugins([str(folders[0] / "plug_same.py")])
    with pytest.raises(PluginError, match=r"another module's name \(.*a/plug_same.py\): rename the file"):
        load_plugins([str(folders[1] / "plug_same.py")])
    for name in ("json", "calendar", "cProfile"):  # imported already, or not yet
        with pytest.raises(PluginError, match=f"cannot be imported as {name}: that is another module's name"):
            load_plugins([write(tmp_path / f"{name}.py", ENV.format(id="PlugNever-v0", module=name))])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plug_nothing.py", "x = 1", "registers no learner, environment or rule: decorate a class with"),
        ("plug_exit.py", "import sys\nsys.exit(3)", r"cannot import .*plug_exit.py: SystemExit: 3 \(line 11\)"),
        ("plug_exit.py", "raise SystemExit", "cannot import .*plug_exit.py: SystemExit"),
        ("plug_odd.py", "class Odd(BaseException): ...\nraise Odd('no Exception')", "Odd: no Exception"),
        ("plug_raises.py", "\n\nf = 1 / 0", r"ZeroDivisionError: division by zero \(line 12\)"),
        ("plug_missing.py", None, "no file .*plug_missing.py: --plugin expects a Python file or the name of a module"),
        ("plug\0nul.py", None, r"no plug-in is named .*plug\\x00nul.py'"),
        ("plug\0nul", None, r"no plug-in is named .*plug\\x00nul'"),
        ("plug_folder", None, "no module .*plug_folder on Python's search path"),
    ],
)
def test_a_plugin_that_fails_is_one_line_and_leaves_nothing(name, content, message, tmp_path):
    if content is not None:
        registered = "" if content == "x = 1" else ENV.format(id="PlugFails-v0", module="plug_fails")
        write(tmp_path / name, registered + content)
    before = plugins.registered(), list(sys.path)
    for _ in range(2):  # a second time too: it does not count as loaded
        with pytest.raises(PluginError) as caught:
            load_plugins([str(tmp_path / name)])
    assert "\n" not in str(caught.value)
    assert (plugins.registered(), list(sys.path)) == before
    assert plugins.loaded_plugins() == ()


def test_rules_are_checked_when_they_are_registered():
    with pytest.raises(RegistryError, match="another plasticity rule is registered as 'oja' already"):
        register_rule("oja")(type("Other", (RULES["hebb"],), {}))
    with pytest.raises(RegistryError, match="expected the rule 'plain' to be a frozen dataclass with __call__"):
        register_rule("plain")(type("Plain", (), {}))
    source = RULE.replace("float = 0.5", "float")
    with pytest.raises(RegistryError, match="the field decay of the rule 'bare' needs a default"):
        exec(source.format(name="bare"), {"__name__": "plug_bare"})


def test_every_command_takes_plugins_and_a_failing_one_is_one_line(capsys, tmp_path, monkeypatch):
    """Before it does anything else: no other option matters."""
    monkeypatch.chdir(tmp_path)
    from flp_agents.cli.parser import make_parser

    commands = next(a for a in make_parser()._actions if a.dest == "command").choices
    needed = {
        "evaluate": ["--checkpoint=x"],
        "export": ["--checkpoint=x", "--output=y"],
        "reproduce": ["table1"],
        "train-sb3": ["--algorithm=ppo"],
        **{key: ["x"] for key in ("analyse", "analyze", "report", "check-learner")},
    }
    of_data = [["list"], ["prepare", "omniglot"], ["verify"], ["show", "glyph"]]
    for name in commands:
        for more in of_data if name == "data" else [needed.get(name, [])]:
            assert main([name, *more, "--plugin=here.py", "--plugin=missing.py"]) == 1
            assert capsys.readouterr().err == (
                "flp: error: no file here.py: --plugin expects a Python file or the name of a module\n"
            )
    assert not list(tmp_path.iterdir())
