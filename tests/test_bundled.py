"""The meta-trained checkpoints that come with the package: whole, as they say, and as good as they say."""

import json
from pathlib import Path

import gymnasium
import pytest
import torch
from conftest import needs_bfloat16

import flp_envs
from flp_agents import Checkpointed, Full, Reversible, evaluate, get_preset, run_lifetime
from flp_agents.cli.parser import make_parser
from flp_agents.cli.setting_options import settings_given
from flp_agents.experiments.reproduction.tables import TABLE_1, TABLE_2
from flp_agents.training import bundled, checkpoint
from flp_agents.training.bundled import bundled_checkpoints, bundled_for, describe_bundled, load_bundled, title
from flp_agents.training.plan import Plan, make_plan
from flp_datasets.prepare import prepare
from flp_envs import InvalidChoice
from flp_envs.recording import draw_episodes, seed_env

SINE = {network.name: network for network in TABLE_1.cells("cpu") if network.seed == 0}
OMNIGLOT = {
    network.name: network for network in TABLE_2.cells("cpu") if network.seed == 0 and "omniglot" in network.name
}
NAMES = sorted({*SINE, *OMNIGLOT})
# Too large to come with the package.
PAPER_SIZE = Path(__file__).parent.parent / "results" / "paper_size"
CHANCE = {"mse": 4.25, "error_percent": 80.0}


@pytest.fixture(scope="module")
def real_root(real_omniglot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real Omniglot, packed at 28 pixels."""
    root = tmp_path_factory.mktemp("real")
    prepare("omniglot", image_size=28, source=real_omniglot, data_root=root)
    return root


@pytest.fixture
def env_of(request):
    """Makes the meta-test environment of a checkpoint; skips those on the real Omniglot where it is absent."""

    def make(name: str):
        about = checkpoint.read_description(bundled_checkpoints()[name])["about"]
        options = dict(about["env_options"])
        if name in OMNIGLOT:
            options["data_root"] = request.getfixturevalue("real_root")
        return flp_envs.make(about["env"], split="meta-test", **options)

    return make


def test_all_are_there():
    assert set(bundled_checkpoints()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_how_it_was_made(name):
    row = next(row for row in describe_bundled() if row["name"] == name)
    network = {**SINE, **OMNIGLOT}[name]
    assert (row["env"], row["learner"], row["preset"]) == (network.column.env, network.method.learner, "cpu")
    assert row["command"].startswith("flp train")
    assert "/" not in row["command"]
    assert row["cost_seconds"] > 60
    assert row["result"]["split"] == "meta-test"
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_each_was_trained_to_its_end(name):
    about = checkpoint.read_description(bundled_checkpoints()[name])["about"]
    assert about["outer_steps_done"] == about["settings"]["outer_steps"]


@pytest.mark.parametrize("name", sorted(SINE))
def test_each_on_sine_waves_is_what_table_1_asks_for_today(name):
    about = checkpoint.read_description(bundled_checkpoints()[name])["about"]
    assert Plan.from_json(about).settings == SINE[name].plan().settings
    # Its command may spell out what has become the preset's since.
    options = make_parser().parse_args(about["command"].split()[1:])
    typed = make_plan(options.env, options.learner, preset=options.preset, overrides=settings_given(options))
    assert typed.settings == SINE[name].plan().settings


@pytest.mark.parametrize("name", sorted(OMNIGLOT))
def test_each_on_omniglot_was_trained_with_todays_preset(name):
    about = checkpoint.read_description(bundled_checkpoints()[name])["about"]
    settings, options = Plan.from_json(about).settings, OMNIGLOT[name].method.options
    preset = get_preset("cpu", about["learner"], options, kind="images")
    if about["learner"] == "feature-reuse":
        # Its only plastic layer is the output, which is clamped: what is said of feedback and hidden layers, and of
        # gradients, concerns others.
        unread = ("rectified", "initial_strength", "rate_strengths", "hidden_multiplier", "rate_unit", "inner_rate")
        settings = settings.replaced({name: preset.get(name) for name in unread})
    assert settings == preset


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in OMNIGLOT else []) for n in NAMES])
def test_each_scores_what_it_says(name, env_of):
    check_what_it_scores(bundled_checkpoints()[name], env_of(name), episodes=8 if name in SINE else 50)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flp-2-sine-continual", "gradient-based-3-sine-continual"])
def test_each_of_the_papers_size_scores_what_it_says(name):
    if not (PAPER_SIZE / name).exists():
        pytest.skip("needs networks that only the repository has, not its source distribution")
    about = checkpoint.read_description(PAPER_SIZE / name)["about"]
    assert about["outer_steps_done"] == about["settings"]["outer_steps"]
    check_what_it_scores(PAPER_SIZE / name, flp_envs.make(about["env"], split="meta-test"), episodes=8)


def check_what_it_scores(folder: Path, env: gymnasium.Env, *, episodes: int) -> None:
    """Asserts that a network's result is what it scores, as far as so many episodes tell."""
    saved = checkpoint.load(folder)
    result = saved.about["result"]
    scores = evaluate(saved.learner, env, episodes=episodes, seed=result["seed"])
    assert scores.metric == result["metric"]
    error = 6 * result["standard_error"] * (result["episodes"] / episodes) ** 0.5
    assert scores.mean == pytest.approx(result["mean"], abs=error)
    assert result["mean"] < CHANCE[result["metric"]]


@pytest.mark.parametrize("method", ["flp-2", "flp-3", "feature-reuse-1", "gradient-based-3"])
def test_each_that_is_differentiated_through_its_lifetime_learns_ten_functions(method):
    env = flp_envs.make("FLPSine-Continual-v0", split="meta-test")
    assert evaluate(load_bundled(f"{method}-sine-continual"), env, episodes=16, seed=0).mean < 0.002


@pytest.mark.parametrize("schedule", [pytest.param("iid", marks=pytest.mark.slow), "continual"])
def test_flp_learns_five_characters(schedule, env_of):
    name = f"flp-2-omniglot-{schedule}"
    assert evaluate(load_bundled(name), env_of(name), episodes=100, seed=0).mean < 4.0


@pytest.mark.parametrize("name", sorted(OMNIGLOT))
def test_what_was_learned_on_omniglot_serves_on_glyphs(name):
    env = flp_envs.make("FLPGlyph-Continual-v0", split="meta-test")
    assert evaluate(load_bundled(name), env, episodes=10, seed=0).mean < 60.0


def test_variants_stand_for_no_learner(tmp_path, monkeypatch):
    usual = [f"{name}-sine-continual" for name in ("flp-2", "feature-reuse-1", "gradient-based-3", "oml-3")]
    for name in usual:
        (tmp_path / name).symlink_to(bundled_checkpoints()[name])
    for name, of, changes in (
        ("aaa-flp-3", "flp-2-sine-continual", {"plastic_layers": 3}),
        ("aaa-first-order", "gradient-based-3-sine-continual", {"order": "first"}),
        ("aaa-as-released", "gradient-based-3-sine-continual", {"order": "first", "redraw_output": True}),
    ):
        saved = checkpoint.load(bundled_checkpoints()[of])
        about = {**saved.about, "settings": {**saved.about["settings"], **changes}}
        checkpoint.save(tmp_path / name, saved.learner, about)
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    env = "FLPSine-Continual-v0"
    assert len(bundled_checkpoints()) == 4 + 3
    assert bundled_for(env, "flp") == ["flp-2-sine-continual"]
    assert bundled_for(env, "gradient-based") == ["gradient-based-3-sine-continual"]
    assert bundled_for("FLPSine-IID-v0", "flp") == []
    found = (tmp_path / f"aaa-{name}" for name in ("flp-3", "first-order", "as-released"))
    titles = [title(checkpoint.read_description(folder)["about"]) for folder in found]
    assert titles == ["FLP (3)", "Gradient-based (3), first order", "Gradient-based (3), as released"]


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


@needs_bfloat16
def test_a_trunk_in_bfloat16_answers_nearly_as_well():
    exact, _ = gradient_in_a_trained_lifetime(Full())
    rough, _ = gradient_in_a_trained_lifetime(Full(), precision="bfloat16")
    assert rough == pytest.approx(exact, rel=0.25)
    assert rough != exact
