"""A meta-trained network in an environment of more classes, or fewer, than it was meta-trained on."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

import flp_envs
from flp_agents import FLP, LEARNERS, Feedback, GymAgent, Network, build_learner, evaluate, get_preset, run_lifetime
from flp_agents.learners.objective import CrossEntropy, IncompatibleSpaces
from flp_envs import draw_episodes, seed_env

ENV = "FLPGlyph-IID-v0"
SETTINGS = {
    "channels": 2,
    "padding": 1,
    "hidden_widths": (12,),
    "initial_coefficient": 0.01,
    "initial_rate": 10.0,
}


def make(num_classes, **options):
    sizes = {"shots": 1, "query_shots": 1, "image_size": 8, **options}
    return flp_envs.make(ENV, num_classes=num_classes, **sizes)


def meta_trained(name="flp", num_classes=5, **settings):
    """A learner whose parameters all differ from the initial ones, as after meta-training."""
    preset = get_preset("paper", name, {**SETTINGS, **settings}, kind="images")
    learner = build_learner(name, make(num_classes), preset, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator) + 0.01
    return learner


def first(parameter, like):
    return parameter[tuple(slice(size) for size in like.shape)]


@pytest.mark.parametrize("num_classes", [10, 600])
@pytest.mark.parametrize("name", LEARNERS.built_in())
def test_trained_units_are_kept_and_new_ones_start_as_their_mean(name, num_classes):
    trained = meta_trained(name)
    before = {n: p.detach().clone() for n, p in trained.named_parameters()}
    grown = trained.adapt_to(make(num_classes))
    assert grown.objective == CrossEntropy(num_classes, num_classes)
    assert trained.objective == CrossEntropy(5, 5)
    feedback = {
        n for n, p in grown.named_parameters() if any(p is q for q in grown.parameter_groups().get("feedback", []))
    }
    larger = set()
    for key, parameter in grown.named_parameters():
        source = before[key]
        assert torch.equal(first(parameter, source), source), key
        assert torch.equal(dict(trained.named_parameters())[key], source), key
        if parameter.shape != source.shape:
            larger.add(key)
            if key not in feedback:
                expected = source.mean(0, keepdim=True).expand(num_classes - 5, *source.shape[1:])
                torch.testing.assert_close(parameter[5:], expected)
    output = len(grown.layers.weights) - 1
    assert {f"layers.weights.{output}", f"layers.biases.{output}"} <= larger
    if name == "flp":
        assert {"pathways.0.weights.0", "coefficients.1"} <= larger


def test_new_feedback_columns_are_codes_of_their_own_of_the_trained_ones_scale():
    trained = meta_trained(hidden_widths=(400,))
    grown = trained.adapt_to(make(300))
    old = trained.pathways[0].weights[0].detach()
    new = grown.pathways[0].weights[0].detach()[:, 5:]
    assert new.shape == (400, 295)
    codes = new - new.mean(1, keepdim=True)
    likeness = torch.corrcoef(codes.t()) - torch.eye(295)
    assert likeness.abs().max() < 0.4  # of independent codes of 400 numbers: 0.05, and 0.22 at most among 43,000 pairs
    # Unit by unit, the mean and the deviation of the trained columns.
    standard = (new - old.mean(1, keepdim=True)) / old.std(1, keepdim=True)
    assert float(standard.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(standard.std()) == pytest.approx(1.0, abs=0.02)
    assert float(standard.mean(1).abs().max()) < 0.3


def test_growing_is_deterministic_and_depends_on_the_learners_seed():
    trained = meta_trained()
    torch.manual_seed(0)
    one = trained.adapt_to(make(9))
    torch.manual_seed(1)
    other = trained.adapt_to(make(9))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    state = torch.get_rng_state()
    trained.adapt_to(make(9))
    assert torch.equal(torch.get_rng_state(), state)
    trained.settings = {**trained.settings, "seed": 99}
    assert not torch.equal(trained.adapt_to(make(9)).pathways[0].weights[0], one.pathways[0].weights[0])


def test_what_comes_out_is_finite_and_of_the_same_kind():
    trained = meta_trained().double()
    trained.set_precision("bfloat16")
    grown = trained.eval().adapt_to(make(20))
    assert all(p.dtype == torch.float64 and torch.isfinite(p).all() for p in grown.parameters())
    assert not grown.training
    assert grown.layers.precision == "bfloat16"
    assert grown.settings["hidden_multiplier"] == trained.settings["hidden_multiplier"] == 100.0
    assert meta_trained().train().adapt_to(make(20)).training


@pytest.mark.parametrize(
    "settings",
    [
        {"output_feedback": "mixed", "signal": "error"},
        {"output_feedback": "mixed", "feedback_layers": 1, "feedback_width": 7},
        {"granularity": "layer"},
        {"granularity": "neuron"},
    ],
    ids=str,
)
def test_every_form_of_feedback_and_coefficients_grows(settings):
    trained = meta_trained(**settings)
    grown = trained.adapt_to(make(8))
    for (name, large), small in zip(grown.named_parameters(), trained.parameters(), strict=True):
        assert torch.equal(first(large, small), small), name
    own = grown.pathways[-1].weights[-1]
    assert own.shape[0] == 8
    assert len({tuple(row) for row in own.detach().round(decimals=4).tolist()}) == 8


@pytest.mark.parametrize("name", LEARNERS.built_in())
def test_fewer_classes_use_the_first_units(name):
    trained = meta_trained(name)
    fewer = trained.adapt_to(make(3))
    assert fewer.objective == CrossEntropy(3, 5)
    for a, b in zip(fewer.parameters(), trained.parameters(), strict=True):
        assert torch.equal(a, b)
    env = make(3)
    seed_env(env, 0)
    episode = draw_episodes(env, 4)
    lifetime = run_lifetime(fewer, episode)
    assert lifetime.query_predictions.shape == (4, 3, 1, 5)
    assert torch.equal(lifetime.state.weights[-1][:, 3:], fewer.init(4).weights[-1][:, 3:])
    assert fewer.objective.actions(lifetime.query_predictions).max() < 3
    # Fewer units from the start: the same answers.
    narrow = build_learner(name, env, get_preset("paper", name, SETTINGS, kind="images"))
    with torch.no_grad():
        for small, large in zip(narrow.parameters(), trained.parameters(), strict=True):
            small.copy_(first(large, small))
    expected = run_lifetime(narrow, episode)
    torch.testing.assert_close(lifetime.query_predictions[..., :3], expected.query_predictions, rtol=1e-4, atol=1e-5)


def test_as_many_classes_leave_the_learner_alone():
    trained = meta_trained()
    assert trained.adapt_to(make(5)) is trained
    assert trained.adapt_to(gym.make_vec(ENV, num_envs=2, num_classes=5, image_size=8)) is trained


@pytest.mark.parametrize("name", LEARNERS.built_in())
def test_output_units_that_meta_training_never_used_count_for_nothing(name):
    """A network of 20 units, meta-trained on 5 classes, has 5 trained ones; those after them are as they were drawn."""
    narrow, wide = meta_trained(name), meta_trained(name, output_units=20)
    with torch.no_grad():
        for small, large in zip(narrow.parameters(), wide.parameters(), strict=True):
            first(large, small).copy_(small)
    assert wide.adapt_to(make(5)) is wide
    for num_classes, outputs in ((7, 20), (30, 30)):
        grown = wide.adapt_to(make(num_classes))
        assert grown.objective == CrossEntropy(num_classes, outputs)
        expected = narrow.adapt_to(make(outputs))
        for (key, got), right in zip(grown.named_parameters(), expected.parameters(), strict=True):
            assert torch.equal(got, right), key


SINE = {"num_functions": 2, "steps_per_function": 1, "batch_size": 4, "query_size": 4}
SHOWN = {
    "labels": r"inputs of shape \(1, 8, 8\) and predicts 5 labels, the environment shows x of ",
    "numbers": r"inputs of shape \(3,\) and predicts 1 numbers, the environment shows x of ",
}


@pytest.mark.parametrize(
    ("answers", "env", "shown"),
    [
        ("labels", lambda: make(5, image_size=14), r"Box\(\(1, 14, 14\), uint8\) and y of Discrete\(5\)"),
        ("labels", lambda: make(7, image_size=14), r"Box\(\(1, 14, 14\), uint8\) and y of Discrete\(7\)"),
        ("labels", lambda: flp_envs.make("FLPSine-IID-v0", **SINE), r"Box\(\(4, 3\), float32\) and y of Box\(\(4, 1\)"),
        ("labels", lambda: flp_envs.make("FLPMiniImageNet-IID-v0", query_shots=1), r"Box\(\(3, 84, 84\), uint8\)"),
        ("numbers", lambda: make(5), r"Box\(\(1, 8, 8\), uint8\) and y of Discrete\(5\)"),
        ("numbers", lambda: flp_envs.make("FLPSine-IID-v0"), r"Box\(\(32, 11\), float32\) and y of Box"),
    ],
)
def test_another_kind_or_size_is_refused_in_one_line(answers, env, shown):
    numbers = flp_envs.make("FLPSine-IID-v0", **SINE)
    settings = {"hidden_widths": (8, 8)}
    learner = (
        meta_trained() if answers == "labels" else build_learner("flp", numbers, get_preset("cpu", "flp", settings))
    )
    for use in (lambda: learner.adapt_to(env()), lambda: evaluate(learner, env()), lambda: GymAgent(learner, env())):
        with pytest.raises(IncompatibleSpaces, match=f"the learner takes {SHOWN[answers]}{shown}") as caught:
            use()
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith("use the env options that it was meta-trained with")


@pytest.mark.parametrize("num_classes", [3, 5, 12])
def test_evaluate_and_gym_agent_fit_the_learner(num_classes):
    trained, env = meta_trained().eval(), make(num_classes)
    before = [p.detach().clone() for p in trained.parameters()]
    result = evaluate(trained, env, episodes=4, seed=2)
    seed_env(env, 2)
    by_hand = run_lifetime(trained.adapt_to(env), draw_episodes(env, 4)).query_score
    np.testing.assert_allclose(result.scores, by_hand, rtol=1e-6)
    seed_env(env, 2)
    mean, _ = evaluate_policy(GymAgent(trained, env), env, n_eval_episodes=4, warn=False)
    assert mean == pytest.approx(1 - result.mean / 100, abs=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), before, strict=True))


def test_a_network_of_fully_connected_layers_alone_grows_as_well():
    class OfNumbers:
        def __init__(self, classes):
            self.observation_space = gym.spaces.Dict(
                {"x": gym.spaces.Box(-1, 1, (4,), np.float32), "y": gym.spaces.Discrete(classes)}
            )

    learner = FLP(Network((4, 6, 3)), 2, feedback=Feedback("target", output="clamped"), objective=CrossEntropy(3, 3))
    grown = learner.adapt_to(OfNumbers(5))
    assert grown.layers.network.widths == (4, 6, 5)
    assert learner.adapt_to(OfNumbers(3)) is learner
