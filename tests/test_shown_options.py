"""Whatever a user prints shows its options, and no address in memory."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest

import flp_agents
import flp_datasets
import flp_envs
from flp_agents.benchmark.entries import build_entry, built_in_names
from flp_agents.learners.learner import Learner
from flp_base.shown_options import ShowsOptions
from flp_datasets.glyphs import Glyphs
from flp_datasets.rotated import Rotated
from flp_envs.stream import Stream

ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")


def classes_of(package):
    """All public classes of a package's modules, but for protocols and errors."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError:
            continue  # of an extra that is not installed
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__ and not name.startswith("_")
            if own and not issubclass(kind, BaseException) and not getattr(kind, "_is_protocol", False):
                yield kind


def test_every_public_class_is_printed_without_its_address():
    everything = {*classes_of(flp_datasets), *classes_of(flp_envs)}
    exported = (getattr(flp_agents, name) for name in flp_agents.__all__)
    of_agents = {kind for kind in exported if inspect.isclass(kind) and not getattr(kind, "_is_protocol", False)}
    learners = {kind for kind in classes_of(flp_agents) if issubclass(kind, Learner)}
    assert len(learners) > 10
    assert [k for k in everything | of_agents | learners if k.__repr__ in (object.__repr__,)] == []
    assert [k for k in learners if k.__repr__ is not Learner.__repr__] == []


@pytest.mark.parametrize(
    ("env_id", "options"),
    [("FLPSine-Continual-v0", {"num_functions": 3, "max_amplitude": 4.5}), ("FLPGlyph-IID-v0", {"shots": 4})],
)
def test_envs_and_tasks(env_id, options):
    env = flp_envs.make(env_id, **options).unwrapped
    for shown in (repr(env), repr(env.task), repr(env.task.scoring)):
        assert not ADDRESS.search(shown)
    for name, value in options.items():
        assert f"{name}={value}" in repr(env.task)
    assert repr(env.task) in repr(env)
    assert "split='meta-train'" in repr(env.task)
    env.reset(seed=0)
    assert not ADDRESS.search(repr(env.task.make_renderer()) + repr(Stream(env.episode)))


def test_a_task_is_printed_as_the_call_that_makes_it():
    task = flp_envs.SineTask("meta-test", num_functions=2)
    made_again = eval(repr(task), {"SineTask": flp_envs.SineTask})
    assert repr(made_again) == repr(task)
    np.testing.assert_array_equal(made_again.amplitudes, task.amplitudes)


def test_classes_of_images():
    assert repr(Glyphs("meta-val", 20)) == "Glyphs(split='meta-val', image_size=20)"
    assert repr(Rotated(Glyphs("meta-val"))) == "Rotated(upright=Glyphs(split='meta-val', image_size=28))"


@pytest.mark.parametrize("name", built_in_names())
def test_learners_and_agents(name):
    env = flp_envs.make("FLPSine-Continual-v0")
    learner = build_entry(name, env).learner
    agent = flp_agents.GymAgent(learner, env)
    for shown in (repr(learner), repr(agent)):
        assert not ADDRESS.search(shown)
        assert "\n" not in shown
    assert re.match(r"\w+\(\w+=", repr(learner)), "no option is shown"
    assert repr(learner) in repr(agent)


class Mine(flp_agents.PlainLearner):
    def __init__(self, rate=0.5, table=None):
        self._rate, self.table = rate, np.zeros((2, 3)) if table is None else table


class Theirs:
    """Has the three methods, and inherits nothing."""

    def reset(self): ...
    def predict(self, x): ...
    def update(self, x, y): ...


def test_plain_learners():
    env = flp_envs.make("FLPSine-Continual-v0")
    assert repr(Mine()) == "Mine(rate=0.5, table=<ndarray (2, 3) float64>)"
    for plain in (Mine(), Theirs()):
        shown = repr(flp_agents.GymAgent(plain, env))
        assert not ADDRESS.search(shown)
        assert type(plain).__name__ in shown


def test_functions_and_generators_among_the_options_have_no_address():
    class Kept(ShowsOptions):
        def __init__(self, function, rng):
            self.function, self.rng = function, rng

    assert not ADDRESS.search(repr(Kept(test_plain_learners, np.random.default_rng(0))))
    assert not ADDRESS.search(repr(Kept(lambda: 0, object())))
