"""Settings: a section for each part of a run, of these packages and of plug-ins."""

import json
import sys
from dataclasses import dataclass

import pytest

from flp_agents import FLP, Section, Settings, get_preset, option, register_learner, register_rule, register_settings
from flp_agents.cli.main import main
from flp_agents.learners.plasticity.oja import Oja
from flp_agents.support import plugins
from flp_agents.support.settings import SECTIONS, option_names, options_of, sections
from flp_agents.training.factory import build_learner
from flp_agents.training.plan import Plan
from flp_base.errors import FLPError, InvalidChoice, InvalidSize
from flp_base.registry import RegistryError
from flp_envs import make

SMALL = ["--env-option=num_functions=2", "--env-option=steps_per_function=3"]
TRAIN = ["--outer-steps=2", "--short-outer-steps=0", "--test-episodes=2", "--threads=1", "--hidden-widths=8,8"]


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    before, modules = plugins.registered(), set(sys.modules)
    monkeypatch.setattr(plugins, "_LOADED", [])
    yield
    plugins.restore(before)
    for name in set(sys.modules) - modules:
        if name.startswith("settings_plugin"):
            del sys.modules[name]


def test_every_option_of_these_packages_has_a_name_of_its_own():
    own = [of for section in sections() for of in options_of(sections()[section])]
    assert len(own) == len(set(own)) == len(option_names())
    # Of parts, which are sections themselves, with the part's name.
    assert sorted(name for name in option_names() if "." in name) == [
        "growing.grow",
        "growing.steps",
        "mixed.weight",
        "random.vary",
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_frozen_and_checks_its_values(section):
    made = SECTIONS[section]()
    assert SECTIONS[section].__dataclass_params__.frozen
    for name, of in options_of(made).items():
        assert of.metadata["help"]
        wrong = "x" if not isinstance(of.default, str) else 3
        with pytest.raises(InvalidSize, match=name):
            SECTIONS[section](**{name: wrong})


def test_settings_are_changed_by_name_and_stay_as_they_were():
    settings = Settings()
    changed = settings.replaced({"rule": "hebb", "outer_steps": 7, "hidden_widths": [8, 8]})
    assert (changed.flp.rule, changed.outer_loop.outer_steps, changed.network.hidden_widths) == ("hebb", 7, (8, 8))
    assert settings == Settings() != changed
    assert Settings.of(changed.values()) == changed
    assert Settings.of(json.loads(json.dumps(changed.values()))) == changed


def test_unknown_and_wrong_values_are_named():
    with pytest.raises(InvalidChoice, match=r"unknown preset field 'outer_step'.*outer_steps"):
        Settings.of({"outer_step": 3})
    with pytest.raises(InvalidChoice, match=r"unknown rule 'ojas'.*oja"):
        Settings.of({"rule": "ojas"})
    with pytest.raises(InvalidSize, match="outer_steps"):
        Settings.of({"outer_steps": 0})


def test_what_has_no_options_is_no_section():
    for wrong in (3, object, dataclass(frozen=True)(type("Plain", (), {"__annotations__": {}}))):
        with pytest.raises(RegistryError, match="expected the settings 'mine' to be a frozen dataclass"):
            SECTIONS.add("mine", wrong)


def rule_with_options(name="decaying", field="decay"):
    made = type(name.title(), (Oja,), {"__annotations__": {field: float}, field: option(0.1, "how fast", least=0)})
    return register_rule(name)(dataclass(frozen=True)(made))


def test_a_rule_with_options_is_built_with_them():
    rule_with_options()
    settings = get_preset("cpu", "flp", {"rule": "decaying", "decay": 0.25, "hidden_widths": (8, 8)})
    assert settings.get("decay") == settings.get("decaying.decay") == 0.25
    learner = build_learner("flp", make("FLPSine-Continual-v0"), settings)
    assert learner.settings["rule"].decay == 0.25
    assert settings.values()["decaying.decay"] == 0.25
    with pytest.raises(InvalidSize, match="decay"):
        settings.replaced({"decay": -1.0})


def test_options_of_one_name_have_their_section_before_it():
    rule_with_options()
    rule_with_options("leaking")
    with pytest.raises(FLPError, match=r"several options are called decay: use one of decaying\.decay, leaking\.decay"):
        Settings.of({"decay": 1.0})
    assert Settings.of({"leaking.decay": 1.0})["leaking"].decay == 1.0
    # A name of these packages is theirs.
    rule_with_options("numbering", "outer_steps")
    settings = Settings.of({"outer_steps": 5, "numbering.outer_steps": 0.5})
    assert (settings.outer_loop.outer_steps, settings["numbering"].outer_steps) == (5, 0.5)


def test_a_learner_with_settings_is_built_with_them_before_others_of_the_same_name():
    @register_settings("gained")
    @dataclass(frozen=True)
    class GainedSettings(Section):
        gain: float = option(2.0, "what activity is multiplied by", above=0)
        initial_strength: float = option(0.125, "of this learner")

    @register_learner("gained")
    class Gained(FLP):
        def __init__(self, network, plastic_layers=1, *, gain=1.0, initial_strength=0.5, **others):
            super().__init__(network, plastic_layers, initial_strength=initial_strength, **others)
            self.settings = {**self.settings, "gain": gain}
            self.gain = gain

    env = make("FLPSine-Continual-v0")
    learner = build_learner("gained", env, get_preset("cpu", "gained", {"gain": 3.0, "hidden_widths": (8, 8)}))
    assert (learner.gain, learner.settings["initial_strength"]) == (3.0, 0.125)
    assert build_learner("flp", env, get_preset("cpu", "flp")).settings["initial_strength"] == 0.5


def test_plans_need_the_plug_in_of_what_they_set_only():
    before = Settings()
    rule_with_options()
    plain, set_ = (Settings.of(values).values() for values in ({}, {"decay": 0.3}))
    assert plain == before.values()
    plan = Plan("FLPSine-Continual-v0", {}, "flp", "cpu", Settings.of(set_), 0, "")
    saved = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(saved) == plan
    from flp_agents.learners.plasticity.rule import RULES

    RULES.forget("decaying")
    assert Plan.from_json({**saved, "settings": plain}).settings == before
    with pytest.raises(FLPError, match=r"decaying\.decay"):
        Plan.from_json(saved)


PLUGIN = """
from dataclasses import dataclass
from flp_agents import option, register_rule
from flp_agents.learners.plasticity.hebb import Hebb

@register_rule("decaying")
@dataclass(frozen=True)
class Decaying(Hebb):
    decay: float = option(0.1, "how fast weights decay", least=0)

    def __call__(self, weight, pre, post, coefficient, unit=1.0):
        return super().__call__((1 - self.decay * 1e-3) * weight, pre, post, coefficient, unit)
"""


@pytest.mark.filterwarnings("ignore::flp_agents.ByAutograd")
def test_options_of_a_plug_in_are_options_of_the_command(tmp_path, capsys):
    (tmp_path / "settings_plugin.py").write_text(PLUGIN, encoding="utf-8")
    plugin = f"--plugin={tmp_path / 'settings_plugin.py'}"
    with pytest.raises(SystemExit):
        main(["train", plugin, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "settings of decaying" in said
    assert "--decaying.decay" in said
    assert "how fast weights decay" in said
    flags = [plugin, *SMALL, *TRAIN, "--env=FLPSine-Continual-v0"]
    assert main(["train", *flags, "--rule=decaying", "--decay=0.5", f"--output={tmp_path / 'run'}"]) == 0
    from flp_agents.training import checkpoint

    assert checkpoint.load(tmp_path / "run").learner.settings["rule"].decay == 0.5
    capsys.readouterr()
    # What makes no difference is refused.
    assert main(["train", *flags, "--decaying.decay=0.5", f"--output={tmp_path / 'other'}"]) == 1
    assert "--decaying.decay makes no difference to flp" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
