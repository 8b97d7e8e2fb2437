"""Registries: one list of the names of each kind of thing, whoever brings it."""

import importlib
import sys

import pytest

import flp_agents  # noqa: F401 - registers what there is
import flp_envs
from flp_agents.baselines.building import BASELINES
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.learners.pathways.pathway import PATHWAYS
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.learners.registered import LEARNERS
from flp_agents.lifetime.estimators.estimator import ESTIMATORS
from flp_agents.lifetime.outer_objectives.outer_objective import OUTER_OBJECTIVES
from flp_agents.lifetime.strategies.strategy import STRATEGIES
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES
from flp_agents.training.presets import PRESETS
from flp_base.errors import FLPWarning, InvalidChoice
from flp_base.registry import Registry, RegistryError
from flp_datasets.packed.dataset import DATASETS
from flp_envs.families.family import FAMILIES


@pytest.fixture
def colours():
    registry = Registry("colour", entry_points="flp_test.colours", advice="mix your own")
    registry.register("red")(lambda: "#f00")
    yield registry
    Registry.every.remove(registry)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with two entry points, one of which fails."""
    info = tmp_path / "paints-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: paints\nVersion: 1.0\n", encoding="utf-8")
    points = "[flp_test.colours]\nbroken = paints_missing:blue\ngreen = paints:green\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    (tmp_path / "paints.py").write_text("def green():\n    return '#0f0'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("paints", None)


def test_a_name_is_taken_once(colours):
    def other():
        return "#e00"

    with pytest.raises(RegistryError, match="another colour is registered as 'red' already, by test_registries"):
        colours.add("red", other)
    colours.add("crimson", other)
    colours.add("crimson", other)  # the same again, as a module that is imported twice does
    assert list(colours) == ["red", "crimson"]


def test_a_thing_has_a_name(colours):
    for name in ("", None, 3):
        with pytest.raises(RegistryError, match="a colour is registered by its name, got"):
            colours.add(name, test_a_thing_has_a_name)


def test_an_unknown_name_gets_the_nearest_and_advice(colours):
    with pytest.raises(InvalidChoice, match=r"unknown colour 'rad': did you mean 'red'.*; mix your own"):
        colours["rad"]
    assert colours.get("rad") is None
    assert "rad" not in colours


def test_entry_points_are_imported_when_they_are_asked_for(colours, installed):
    assert set(colours) == {"red", "broken", "green"}
    assert "paints" not in sys.modules
    assert colours["green"]() == "#0f0"
    with pytest.raises(RegistryError, match="the entry point broken = paints_missing:blue fails: ModuleNotFoundError"):
        colours["broken"]


def test_one_that_fails_costs_itself_only_with_one_warning(colours, installed):
    with pytest.warns(FLPWarning, match="broken = paints_missing:blue fails") as warned:
        colours.load_all()
    assert len(warned) == 1
    assert colours["green"]() == "#0f0"


def test_what_was_registered_since_is_forgotten_but_what_is_built_in_stays(colours):
    before = colours.snapshot()
    colours.add("crimson", test_a_thing_has_a_name)
    colours.add("an error", RegistryError)
    colours.add("a user's error", FLPWarning, of_user=True)
    assert colours.built_in() == ["an error"]
    assert set(colours.of_users()) == {"red", "crimson", "a user's error"}
    colours.restore(before)
    assert set(colours) == {"red", "an error"}
    colours.forget("red", "unknown")
    assert set(colours) == {"an error"}


@pytest.mark.parametrize(
    "registry",
    [
        LEARNERS,
        BASELINES,
        RULES,
        PATHWAYS,
        ESTIMATORS,
        STRATEGIES,
        OUTER_OBJECTIVES,
        LIFETIME_SCHEDULES,
        PRESETS,
        METRICS,
        FAMILIES,
        DATASETS,
    ],
    ids=lambda r: r.kind,
)
def test_all_that_is_built_in_is_found_by_name(registry):
    assert registry.built_in()
    for name in registry.built_in():
        assert registry[name] is not None
        assert registry.is_built_in(name)
    assert registry.kind in repr(registry)


@pytest.mark.parametrize("name", ["FLP-Sine", "FLP Sine", ""])
def test_a_family_is_named_as_ids_begin(name):
    with pytest.raises(RegistryError):
        flp_envs.register_family(name)(flp_envs.SineTask)


def test_a_family_of_a_taken_name_registers_no_ids():
    with pytest.raises(RegistryError, match="another family of environments is registered as 'FLPSine' already"):
        flp_envs.register_family("FLPSine", version=7)(flp_envs.FewShotTask)
    assert "FLPSine-IID-v7" not in flp_envs.known_ids()


def test_a_metric_is_named_as_columns_are():
    from flp_agents import register_metric

    with pytest.raises(RegistryError, match="a metric's name is a column of tables"):
        register_metric("worst step", "worst step")(len)
