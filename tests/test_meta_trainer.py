"""The outer loop."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from flp_agents import (
    FLP,
    Adam,
    Autograd,
    Backpropagation,
    GradientBased,
    MetaTrainer,
    MetaTrainingDiverged,
    Network,
    run_lifetime,
)
from flp_agents.training.rates import UntrainedParameters
from flp_agents.training.schedules import rate_factor
from flp_envs import InvalidChoice, InvalidSize, draw_episodes, seed_env

SMALL = {"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4}
RATES = {"weights": 1e-3, "inner_rates": 1e-3}
# All groups of FLP.
FROZEN = dict.fromkeys(("weights", "feedback", "coefficients", "strengths"), 0.0)


def make_env(**options):
    return gym.make("FLPSine-Continual-v0", **{**SMALL, **options})


def make(env=None, learner=None, **options):
    learner = learner or GradientBased(Network((3, 8, 8, 1)), 2, initial_rate=0.01, seed=3)
    return MetaTrainer(learner, env or make_env(), **{"rates": RATES, "seed": 5, **options})


def test_a_step_is_adam_on_the_query_loss():
    trainer = make(meta_batch=3, rates=None, optimizer=Adam(RATES, gradient_clip=0.0))
    twin = GradientBased(Network((3, 8, 8, 1)), 2, initial_rate=0.01, seed=3)
    env = make_env()
    seed_env(env, 5)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    for _ in range(2):
        loss = run_lifetime(twin, draw_episodes(env, 3)).query_loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert trainer.step().query_loss == pytest.approx(loss.item(), rel=1e-6)
    for a, b in zip(trainer.learner.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_each_kind_of_meta_parameter_has_its_own_rate():
    learner = FLP(Network((3, 8, 8, 1)), 2, initial_coefficient=0.001)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    trainer = make(learner=learner, rates={**FROZEN, "coefficients": 1e-4, "strengths": 1e-2})
    trainer.step()
    change = {name: (p.detach() - before[name]).abs().max().item() for name, p in learner.named_parameters()}
    assert change["layers.weights.0"] == change["pathways.0.weights.0"] == 0.0
    assert change["coefficients.1"] == pytest.approx(1e-4, rel=0.01)
    assert change["strengths.1"] == pytest.approx(1e-2, rel=0.01)


def test_frozen_groups_do_not_count_in_the_norm():
    learner = FLP(Network((3, 8, 8, 1)), 2, initial_coefficient=0.001)
    result = make(learner=learner, rates=None, optimizer=Adam({**FROZEN, "strengths": 1e-2}, gradient_clip=0.0)).step()
    assert result.gradient_norm == pytest.approx(sum(p.grad.item() ** 2 for p in learner.strengths) ** 0.5, rel=1e-5)


def test_nothing_to_train_is_refused():
    with pytest.raises(InvalidSize, match="expected a learning rate above 0 for at least one of weights, inner_rates"):
        make(rates=dict.fromkeys(RATES, 0.0))


def test_a_group_without_a_rate_is_an_error_that_names_it():
    with pytest.raises(UntrainedParameters, match=r"no outer learning rate is given for inner_rates: .*--rate inn"):
        make(rates={"weights": 1e-3})
    with pytest.raises(UntrainedParameters, match="given for feedback, coefficients, strengths"):
        make(learner=FLP(Network((3, 8, 1)), 1), rates={"weights": 1e-3})


class Gained(FLP):
    """Has a meta-parameter more, of no group or of two."""

    def __init__(self, *arguments, groups=(), **keywords):
        super().__init__(*arguments, **keywords)
        self.gain, self.groups = torch.nn.Parameter(torch.ones(())), groups

    def parameter_groups(self):
        return {**super().parameter_groups(), **{name: [self.gain] for name in self.groups}}


@pytest.mark.parametrize(
    ("groups", "message"), [((), "parameter gain is missing from"), (("a", "b"), "gain stands 2 times in")]
)
def test_a_parameter_belongs_to_one_group(groups, message):
    rates = {**FROZEN, "weights": 1e-3, **dict.fromkeys(groups, 1e-3)}
    with pytest.raises(UntrainedParameters, match=rf"{message} parameter_groups\(\) of Gained"):
        make(learner=Gained(Network((3, 8, 1)), 1, groups=groups), rates=rates)
    fine = Gained(Network((3, 8, 1)), 1, groups=("a",))
    make(learner=fine, rates={**FROZEN, "weights": 1e-3, "a": 0.1})


def test_training_mode_comes_back_after_evaluation():
    trainer = make()
    trainer.learner.eval()
    trainer.step()
    assert trainer.learner.training


def test_the_gradient_is_clipped_as_a_whole(monkeypatch):
    trainer = make(rates=None, optimizer=Adam(RATES, gradient_clip=1e-3))
    seen = []
    monkeypatch.setattr(
        trainer.adam.moments,
        "step",
        lambda: seen.append(torch.stack([p.grad.norm() for p in trainer.learner.parameters()]).norm().item()),
    )
    assert trainer.step().gradient_norm > 1e-3
    assert seen[0] == pytest.approx(1e-3, rel=1e-3)


def test_meta_training_learns():
    env = make_env(num_functions=1, steps_per_function=6, batch_size=8, query_size=8)
    learner = GradientBased(Network((2, 32, 32, 1), (1.0, 0.2)), 2, initial_rate=0.01, seed=3)
    trainer = make(env, learner, meta_batch=16, rates={"weights": 3e-3, "inner_rates": 1e-4})
    losses = [trainer.step().query_loss for _ in range(200)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_the_same_seed_trains_the_same():
    a, b = make(), make()
    assert [a.step() for _ in range(3)] == [b.step() for _ in range(3)]
    assert make(seed=6).step() != make(seed=5).step()


def test_a_wrapped_env_trains_as_well():
    class Watched(gym.Wrapper):
        resets = 0

        def reset(self, **options):
            self.resets += 1
            return super().reset(**options)

    wrapped = Watched(make_env())
    a, b = make(wrapped, meta_batch=2), make(meta_batch=2)
    assert [a.step() for _ in range(2)] == [b.step() for _ in range(2)]
    assert wrapped.resets == 4


def test_schedules():
    factors = [rate_factor("cosine", step, outer_steps=100, warm_up=10) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[4] == pytest.approx(0.5, rel=0.01)
    assert factors[50] == pytest.approx(0.505)
    assert factors[100] == pytest.approx(0.01)
    assert rate_factor("constant", 10**6, outer_steps=100, warm_up=0) == 1.0


@pytest.mark.parametrize(
    ("old", "new"),
    [("gradient_clip", "gradient_clip"), ("warm_up", "warm_up"), ("restart_adam_every", "restart_every")],
)
def test_what_is_the_optimizers_still_works_under_its_old_name(old, new):
    with pytest.warns(DeprecationWarning, match=rf"MetaTrainer\({old}=...\) is now called .*Adam\({new}=...\)"):
        trainer = make(**{old: 3})
    assert trainer.optimizer == Adam(RATES, **{new: 3})


def test_an_optimizer_is_given_once():
    with pytest.raises(TypeError, match="an optimizer, or the rates of Adam, not both"):
        make(optimizer=Adam(RATES))
    with pytest.raises(TypeError, match="unexpected keyword argument 'gradient_clips'"):
        make(gradient_clips=1.0)


def test_restarting_adam_forgets_its_moments():
    trainer = make(rates=None, optimizer=Adam(RATES, restart_every=2))
    steps = []
    for _ in range(4):
        trainer.step()
        steps.append(int(next(iter(trainer.adam.moments.state.values()))["step"]))
    assert steps == [1, 2, 1, 2]


def poison(trainer, step_numbers):
    """Makes the query loss NaN in some outer steps."""
    draw = trainer.step

    def step():
        weight = trainer.learner.layers.weights[0]
        kept = weight.detach().clone()
        if trainer.step_count in step_numbers:
            with torch.no_grad():
                weight.fill_(float("nan"))
        try:
            return draw()
        finally:
            if trainer.step_count - 1 in step_numbers:
                with torch.no_grad():
                    weight.copy_(kept)

    return step


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    trainer = make()
    step = poison(trainer, {1, 3})
    results = [step() for _ in range(5)]
    assert [r.skipped for r in results] == [False, True, False, True, False]
    assert [r.skipped_total for r in results] == [0, 1, 1, 2, 2]
    assert all(torch.isfinite(p).all() for p in trainer.learner.parameters())


def test_many_of_them_in_a_row_stop_the_run():
    trainer = make(patience=3)
    step = poison(trainer, {2, 3, 4})
    step(), step(), step(), step()
    with pytest.raises(MetaTrainingDiverged, match=r"not finite in 3 outer steps in a row.*lower the initial"):
        step()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"meta_batch": 0}, InvalidSize, "meta_batch must be"),
        ({"rates": {**RATES, "weights": -1.0}}, InvalidSize, "rate of weights must be"),
        ({"rates": {**RATES, "weight": 1.0}}, InvalidChoice, "did you mean 'weights'"),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"outer_steps": 0}, InvalidSize, "outer_steps must be"),
        ({"warm_up": -1}, InvalidSize, "warm_up must be"),
        ({"restart_every": 0.5}, InvalidSize, "restart_every must be"),
        ({"gradient_clip": -1.0}, InvalidSize, "gradient_clip must be"),
        ({"gradient_clip": float("nan")}, InvalidSize, "gradient_clip must be"),
        ({"schedule": "cosin"}, InvalidChoice, "did you mean 'cosine'"),
    ],
)
def test_bad_arguments_of_adam_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Adam(RATES, **options)


def test_the_trunk_runs_once_and_the_query_once(monkeypatch):
    """Frozen layers never enter the inner loop: support and query go through together; the query is answered last."""
    learner = FLP(Network((3, 8, 8, 8, 1)), 2, initial_coefficient=0.001)
    calls = {"trunk": 0, "answers": []}
    trunk, predict = learner.layers.trunk, learner.predict

    def count_trunk(x):
        calls["trunk"] += 1
        return trunk(x)

    def count_answers(state, features):
        calls["answers"].append(features.shape[1])
        return predict(state, features)

    monkeypatch.setattr(learner.layers, "trunk", count_trunk)
    monkeypatch.setattr(learner, "predict", count_answers)
    make(learner=learner, rates={**FROZEN, "weights": 1e-3}, estimator=Backpropagation(Autograd())).step()
    assert calls["trunk"] == 1
    assert calls["answers"] == [4] * 6 + [8]
