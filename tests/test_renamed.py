"""Old names work for one more version, and say the new ones."""

import warnings

import numpy as np
import pytest
import torch
from conftest import small_options

import flp_envs
from flp_agents import Full, MetaTrainer, build_learner, get_preset, run_lifetime
from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import step_by_step
from flp_agents.lifetime.recording import record_lifetimes
from flp_base.renamed import Renamed, renamed_parameters, take_old_names
from flp_envs.recording import draw_episodes, seed_env

ENV = "FLPSine-Continual-v0"


class Greeter:
    hello = Renamed("greet")

    def __init_subclass__(cls):
        take_old_names(cls)

    def greet(self, name="you"):
        return f"hello {name}"


class Loud(Greeter):
    def greet(self, name="you"):
        return super().greet(name).upper()


@pytest.fixture(scope="module")
def small_env():
    return flp_envs.make(ENV, **small_options(ENV))


@pytest.fixture(scope="module")
def small_flp(small_env):
    return build_learner("flp", small_env, get_preset("cpu", "flp", {"hidden_widths": (8, 8)}))


def episodes(env, n=2):
    seed_env(env, 0)
    return draw_episodes(env, n)


def test_an_old_name_is_the_new_one_with_a_warning_where_it_is_used():
    with pytest.warns(DeprecationWarning, match=r"^Loud.hello is now called greet; the old name") as caught:
        assert Loud().hello("me") == "HELLO ME"
    assert caught[0].filename == __file__


def test_what_a_subclass_defines_under_an_old_name_counts_as_the_new_one():
    with pytest.warns(DeprecationWarning, match="^Old.hello is now called greet") as caught:

        class Old(Loud):
            def hello(self, name="you"):
                with pytest.warns(DeprecationWarning, match="hello is now called greet"):
                    return super().hello(name) + "!"

    assert caught[0].filename == __file__
    assert Old().greet("me") == Old().hello("me") == "HELLO ME!"


def test_a_subclass_of_both_names_keeps_its_new_one():
    with pytest.warns(DeprecationWarning, match="^Both.hello"):

        class Both(Greeter):
            def hello(self):
                return "old"

            def greet(self):
                return "new"

    assert (Both().greet(), Both().hello()) == ("new", "old")


def test_parameters_keep_their_old_names():
    @renamed_parameters(colour="color", answers="predictions")
    def paint(color, predictions=0):
        """A docstring."""
        return color, predictions

    with pytest.warns(DeprecationWarning, match="^answers of .*paint is now called predictions") as caught:
        assert paint("red", answers=3) == ("red", 3)
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="got both predictions and answers, its old name"):
        paint("red", predictions=1, answers=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paint(color="red", predictions=1) == ("red", 1)
    assert paint.__doc__ == "A docstring."


OLD_METHODS = {
    "fitted_to": "adapt_to",
    "ask_for": "set_task",
    "fit_lifetime": "scale_updates",
    "answer_all": "predict_all",
    "live_to_first_order": "rollout_to_first_order",
}


@pytest.mark.parametrize(("old", "new"), OLD_METHODS.items())
def test_a_learner_keeps_the_old_names_of_its_methods(small_flp, old, new):
    with pytest.warns(DeprecationWarning, match=f"^FLP.{old} is now called {new};"):
        assert getattr(small_flp, old) == getattr(small_flp, new)


@pytest.mark.parametrize(("old", "new"), OLD_METHODS.items())
def test_a_learner_of_ones_own_with_old_methods_works(old, new):
    with pytest.warns(DeprecationWarning, match=f"Own.{old} is now called {new};"):
        own = type("Own", (Learner,), {old: lambda self, *args: args})()
    assert getattr(own, new)(1) == (1,)


def test_a_strategy_keeps_its_old_name(small_env, small_flp):
    class ByHand:
        def encode(self, learner, support, query, *, online):
            return learner.encode(support), learner.encode(query)

        def live(self, learner, state, features, targets, *, online):
            return step_by_step(learner, state, features, targets, online)

    given = episodes(small_env)
    with pytest.warns(DeprecationWarning, match="ByHand.live is now called rollout"):
        found = run_lifetime(small_flp, given, meta_gradient=ByHand())
    torch.testing.assert_close(found.query_loss, run_lifetime(small_flp, given).query_loss)
    with pytest.warns(DeprecationWarning, match="Full.live is now called rollout"):
        assert (full := Full()).live == full.rollout


def test_results_keep_the_old_names_of_their_attributes(small_env, small_flp):
    given = episodes(small_env)
    lifetime, record = run_lifetime(small_flp, given), record_lifetimes(small_flp, given)
    with pytest.warns(DeprecationWarning, match="Lifetime.query_answers is now called query_predictions"):
        assert lifetime.query_answers is lifetime.query_predictions
    with pytest.warns(DeprecationWarning, match="LifetimeRecord.asked_at is now called queried_at"):
        np.testing.assert_array_equal(record.asked_at, record.queried_at)
    with pytest.warns(DeprecationWarning, match="LifetimeRecord.answers is now called query_predictions"):
        assert record.answers is record.query_predictions


def test_a_trainer_keeps_its_old_names(small_env, small_flp):
    rates = dict.fromkeys(small_flp.parameter_groups(), 1e-3)
    with pytest.warns(DeprecationWarning, match="^draw_ahead of MetaTrainer.__init__ is now called prefetch"):
        trainer = MetaTrainer(small_flp, small_env, rates=rates, draw_ahead=False)
    with pytest.warns(DeprecationWarning, match="^MetaTrainer.live_in is now called draw_from"):
        trainer.live_in(small_env, 2)
    assert trainer.meta_batch == 2
