"""flp check-learner: every fault is found, and named; a learner without fault passes."""

from pathlib import Path

import pytest

from flp_agents import register_learner
from flp_agents.benchmark import entries
from flp_agents.benchmark.learner_checker import check_learner
from flp_agents.learners.registered import LEARNERS
from flp_agents.support import plugins
from flp_base.errors import FLPError, InvalidChoice

PLUGIN = Path(__file__).parent / "plugin_learners.py"
FORGETS = "forgets everything when a new lifetime begins"
REPEATS = "predicts the same again under the same seed"
LIVES = "predicts for every input, in the right shape, with numbers"


@pytest.fixture(autouse=True)
def _plugin():
    plugins.load_plugins([str(PLUGIN)])


def faults(name, envs=None):
    return {finding.check: finding.words for finding in check_learner(name, envs) if not finding.passed}


@pytest.mark.parametrize("name", ["mean", "seeded", "policy"])
def test_what_keeps_every_rule_passes(name):
    findings = check_learner(name)
    assert all(finding.passed for finding in findings), findings
    assert {finding.env for finding in findings} == {"FLPSine-Continual-v0", "FLPSine-IID-v0"}
    assert len(findings) == 14


@pytest.mark.parametrize(
    ("name", "rule", "word"),
    [
        ("never-forgets", REPEATS, "in a class"),
        ("global-noise", REPEATS, "generator of its own"),
        ("peeks", "looks at observations alone", "looks at unwrapped"),
        ("wrong-shape", LIVES, r"expected predictions of shape"),
        ("not-a-number", LIVES, "NaN or infinity at support step"),
        ("learns-when-asked", "does not learn from queries", "predict() must not learn"),
        ("raises", LIVES, "ZeroDivisionError: cannot [be] learned"),
    ],
)
def test_each_fault_is_named(name, rule, word):
    found = faults(name, ["FLPSine-Continual-v0"])
    assert list(found) == [rule]
    assert word in found[rule]


class Keeps(entries.Learner):
    """A learner in the functional form that keeps something in itself, and mixes lifetimes."""

    def __init__(self):
        super().__init__()
        self.seen = 0.0

    def init(self, n):
        import torch

        return (torch.zeros(n, 1, 1, dtype=torch.float64),)

    def predict(self, state, features):
        return (state[0] + self.offset(features)).expand(*features.shape[:-1], 1), state

    def offset(self, features):
        return self.seen

    def update(self, state, y):
        self.seen += float(y.mean())
        return state


class Averages(Keeps):
    def offset(self, features):
        return features.double().mean()


class LooksAhead(Keeps):
    """Treats all inputs of a lifetime together."""

    def offset(self, features):
        return features.double().mean((1, 2), keepdim=True)

    def encode(self, x):
        return x + x.mean((1, 2, 3), keepdim=True)

    def update(self, state, y):
        return state


@pytest.mark.parametrize(
    ("learner", "rules"),
    [
        (Keeps, {FORGETS, "predicts the same alone and beside other lifetimes"}),
        (Averages, {"predicts the same alone and beside other lifetimes"}),
        (LooksAhead, {"predicts before it sees what comes later"}),
    ],
)
def test_faults_of_functional_learners(learner, rules, request):
    register_learner("functional")(learner)
    request.addfinalizer(lambda: LEARNERS.forget("functional"))
    assert rules <= set(faults("functional", ["FLPSine-Continual-v0"]))


@pytest.mark.parametrize("name", ["nearest-neighbour", "ridge", "sgd"])
def test_built_in_learners_keep_the_rules(name):
    assert faults(name, ["FLPSine-IID-v0", "FLPGlyph-IID-v0"]) == {}


def test_a_meta_trained_learner_is_tried_where_it_fits():
    findings = check_learner("feature-reuse-1-omniglot-iid")
    assert all(finding.passed for finding in findings), findings
    assert {finding.env for finding in findings} == {"FLPGlyph-Continual-v0", "FLPGlyph-IID-v0"}


def test_unknown_learners_and_environments():
    with pytest.raises(InvalidChoice, match="did you mean 'mean'"):
        check_learner("meam")
    with pytest.raises(InvalidChoice, match="did you mean 'FLPSine-IID-v0'"):
        check_learner("mean", ["FLPSine-IDD-v0"])
    with pytest.raises(FLPError, match="env options"):
        check_learner("feature-reuse-1-omniglot-iid", ["FLPSine-IID-v0"])
