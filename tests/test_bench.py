"""The benchmark: operation counts by hand, its JSON, and peers that compute the same."""

import json

import numpy as np
import pytest
import torch

from flp_agents import FLP, GradientBased, Network, build_learner, get_preset
from flp_agents.cli import profiling as commands
from flp_agents.cli.main import main
from flp_agents.experiments.profiling import lower_bound as floor
from flp_agents.experiments.profiling import run
from flp_agents.experiments.profiling.lower_bound import operations
from flp_agents.experiments.profiling.report import table, write_report
from flp_envs import FLPError, SineTask, make
from flp_envs.recording import draw_episodes, seed_env

FIELDS = ("seconds", "peak_bytes", "ratio_to_autograd", "ratio_to_jax", "ratio_to_floor")


def test_operations_are_those_counted_by_hand():
    # Two functions, 3 minibatches of 4 pairs each: 24 inputs; 8 queries.
    episode = SineTask(num_functions=2, steps_per_function=3, batch_size=4, query_size=4).sample(
        np.random.default_rng(0)
    )
    network = Network((3, 5, 7, 1))
    trunk, first, second = 15, 35, 7
    flp = operations(FLP(network, 2), episode)
    assert flp == 2 * (24 * (2 * trunk + 6 * first + 6 * second) + 8 * (2 * trunk + 3 * first + 3 * second))
    gradient = operations(GradientBased(network, 2), episode)
    assert gradient - flp == 2 * 24 * 3 * second
    whole = operations(FLP(network, 3), episode)
    assert whole == 2 * (24 * (4 * trunk + 6 * (first + second)) + 8 * (2 * trunk + 3 * (first + second)))


@pytest.fixture
def tiny(monkeypatch):
    """The benchmark's settings, in a network that takes no time, beside a product that takes none either."""

    def setting(configuration, lifetimes=1):
        name, _ = run.CONFIGURATIONS[configuration]
        env = make(run.ENV, num_functions=2, steps_per_function=30, batch_size=4, query_size=4)
        preset = get_preset("cpu", name, {"hidden_widths": (8, 8), "plastic_layers": 2})
        seed_env(env, 0)
        return build_learner(name, env, preset), draw_episodes(env, lifetimes)

    monkeypatch.setattr(run, "setting", setting)
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(floor, "_SIZE", 64)


def test_every_strategy_is_timed_against_every_peer(tiny, tmp_path):
    told = []
    results = run.bench(seconds=0.0, on_round=told.append)
    assert list(results) == list(run.CONFIGURATIONS)
    for configuration, strategies in results.items():
        assert set(strategies) >= {"full", "checkpointed", "truncated", "autograd"}
        assert ("reversible" in strategies) == configuration.startswith("FLP")
        for row in strategies.values():
            assert tuple(row) == FIELDS
            assert row["seconds"] > 0
            assert row["ratio_to_jax"] is None
            assert row["ratio_to_floor"] > 0
        assert strategies["autograd"]["ratio_to_autograd"] == 1.0
    assert "round 1: FLP (2), full" in told
    write_report(results, tmp_path / "new", "flp bench")
    written = json.loads((tmp_path / "new" / "meta_gradient.json").read_text(encoding="utf-8"))
    assert written["results"] == json.loads(json.dumps(results))
    assert written["machine"]["torch"] == torch.__version__
    assert (tmp_path / "new" / "meta_gradient.md").read_text(encoding="utf-8").strip() == table(results)
    assert table(results).count("\n") == 1 + sum(map(len, results.values()))


@pytest.mark.slow
def test_the_command_prints_one_object_or_a_table(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(commands, "QUICK_SECONDS", 0.0)
    assert main(["bench", "--quick", "--json", "--output", str(tmp_path / "folder")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == list(run.CONFIGURATIONS)
    assert (
        json.loads((tmp_path / "folder" / "meta_gradient.json").read_text(encoding="utf-8"))["command"]
        == "flp bench --quick --json"
    )
    capsys.readouterr()
    assert main(["bench", "--seconds", "0"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("| configuration | strategy | seconds |")
    # One strategy is timed, whatever it takes, and nothing more.
    assert printed.out.count("\n") == 3
    assert printed.err.startswith("preparing\nFLP (2)\nround 1: FLP (2), full\n")
    assert "0 s were enough for 1 of 19 strategies: a larger --seconds, or --quick, times all of them" in printed.err


@pytest.mark.slow
def test_it_ends_in_time_and_shows_what_it_does_at_once(tiny, monkeypatch):
    """A strategy takes a second of a made-up clock: after three seconds nothing is begun, in whatever round."""
    clock, told = [0.0], []
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])

    def step(learner, episode, strategy):
        clock[0] += 0.5
        return run.Outcome(1.0, 1.0, 0.25)

    monkeypatch.setattr(run, "our_step", step)
    results = run.bench(seconds=2.5, whole_round=False, on_round=told.append)
    assert {c: list(strategies) for c, strategies in results.items()} == {
        "FLP (2)": ["full", "checkpointed", "reversible"]
    }
    assert results["FLP (2)"]["full"]["ratio_to_autograd"] is None
    assert clock[0] == 3.0
    assert told[0] == "FLP (2)"
    clock[0] = 0.0
    assert len(run.bench(seconds=2.5)) == len(run.CONFIGURATIONS)
    assert clock[0] == 19.0
    clock[0] = 0.0
    run.bench(seconds=20.5)
    assert clock[0] == 21.0


@pytest.mark.slow
def test_a_strategy_that_computes_something_else_is_no_result(tiny, monkeypatch):
    step = run.our_step

    def wrong(learner, episode, strategy):
        outcome = step(learner, episode, strategy)
        return outcome._replace(norm=outcome.norm * 1.1) if strategy == run.Checkpointed() else outcome

    monkeypatch.setattr(run, "our_step", wrong)
    with pytest.raises(FLPError, match=r"FLP \(2\), checkpointed: loss and gradient norm are"):
        run.bench(seconds=0.0)


@pytest.mark.parametrize("lifetimes", [1, 3])
@pytest.mark.parametrize("learner", ["flp", "gradient-based"])
def test_the_jax_peer_computes_the_same(learner, lifetimes):
    pytest.importorskip("jax", reason="the JAX peer is compared where JAX is installed")
    from flp_agents import run_lifetime
    from flp_agents.experiments.profiling.jax_reference import jax_peer

    env = make(run.ENV, num_functions=2, steps_per_function=5, batch_size=4, query_size=4)
    made = build_learner(learner, env, get_preset("cpu", learner, {"hidden_widths": (9, 8, 7)}))
    seed_env(env, 0)
    episode = draw_episodes(env, lifetimes)
    loss, grads = jax_peer(made)(episode)
    own = run_lifetime(made, episode).query_loss.mean()
    own.backward()
    assert loss == pytest.approx(own.item(), rel=1e-4)
    for name, parameter in made.named_parameters():
        np.testing.assert_allclose(grads[name], parameter.grad.numpy(), rtol=1e-2, atol=1e-5)
