"""The meta-trained checkpoints that come with the package: whole, as they say, and as good as they say."""

import json

import pytest
import torch

import flp_envs
from flp_agents import Checkpointed, Full, Reversible, checkpoint, evaluate, get_preset, run_lifetime
from flp_agents.bundled import bundled_checkpoints, describe_bundled, load_bundled
from flp_agents.training import Plan
from flp_envs import InvalidChoice
from flp_envs.recording import draw_episodes, seed_env

NAMES = {
    "flp-2-sine-continual": "flp",
    "feature-reuse-1-sine-continual": "feature-reuse",
    "gradient-based-3-sine-continual": "gradient-based",
    "oml-3-sine-continual": "oml",
}


def test_all_are_there():
    assert set(bundled_checkpoints()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_how_it_was_made(name):
    row = next(row for row in describe_bundled() if row["name"] == name)
    assert (row["env"], row["learner"], row["preset"]) == ("FLPSine-Continual-v0", NAMES[name], "cpu")
    assert row["command"].startswith("flp train")
    assert "/" not in row["command"]
    assert row["cost_seconds"] > 60
    assert row["result"]["split"] == "meta-test"
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_each_was_trained_to_its_end_with_todays_preset(name):
    about = checkpoint.load(bundled_checkpoints()[name]).about
    assert about["outer_steps_done"] == about["settings"]["outer_steps"]
    assert Plan.from_json(about).settings == get_preset("cpu", NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_each_scores_what_it_says(name):
    result = checkpoint.load(bundled_checkpoints()[name]).about["result"]
    env = flp_envs.make("FLPSine-Continual-v0", split="meta-test")
    scores = evaluate(load_bundled(name), env, episodes=8, seed=result["seed"])
    assert scores.mean == pytest.approx(result["mean"], abs=6 * result["standard_error"] * (200 / 8) ** 0.5)


def test_flp_learns_ten_functions_and_better_than_feature_reuse():
    env = flp_envs.make("FLPSine-Continual-v0", split="meta-test")
    names = ("flp-2-sine-continual", "feature-reuse-1-sine-continual")
    flp, feature_reuse = (evaluate(load_bundled(name), env, episodes=16, seed=0).mean for name in names)
    assert flp < 0.05
    assert flp < feature_reuse


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InvalidChoice, match="did you mean 'flp-2-sine-continual'"):
        load_bundled("flp-2-sine-continua")


def gradient_in_a_trained_lifetime(strategy, dtype=torch.float32, precision="float32"):
    env = flp_envs.make("FLPSine-Continual-v0")
    seed_env(env, 0)
    learner = load_bundled("flp-2-sine-continual").to(dtype)
    learner.set_precision(precision)
    loss = run_lifetime(learner, draw_episodes(env, 1), meta_gradient=strategy).query_loss.mean()
    grads = torch.autograd.grad(loss, [p for p in learner.parameters() if p.requires_grad], allow_unused=True)
    return loss.item(), torch.cat([g.flatten().double() for g in grads if g is not None])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_a_trained_lifetime_can_be_walked_back(dtype, tolerance):
    """400 inner steps in which the weights move as they do in use."""
    _, exact = gradient_in_a_trained_lifetime(Full(), dtype)
    for strategy in (Reversible(), Reversible(400), Checkpointed()):
        _, got = gradient_in_a_trained_lifetime(strategy, dtype)
        assert (got - exact).norm() < tolerance * exact.norm()


def test_a_trunk_in_bfloat16_answers_nearly_as_well():
    exact, _ = gradient_in_a_trained_lifetime(Full())
    rough, _ = gradient_in_a_trained_lifetime(Full(), precision="bfloat16")
    assert rough == pytest.approx(exact, rel=0.25)
    assert rough != exact
