"""Section 7.1's second experiment, on learners small enough to be meta-trained for some outer steps here."""

import copy
import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import needs_bfloat16, small_episode

from flp_agents import FLP, GradientBased, Network, run_lifetime
from flp_agents.experiments.analysis import continue_with_more_plasticity, with_more_plasticity
from flp_agents.experiments.analysis import evaluated as judged
from flp_agents.training.checkpoint import DESCRIPTION, Checkpoint, CheckpointError, load, parameters_digest, save
from flp_agents.training.plan import Plan
from flp_agents.training.presets import get_preset
from flp_agents.training.run import TrainingRun
from flp_agents.training.run_metrics import RunMetrics, last_step
from flp_base.errors import FLPError, InvalidChoice
from flp_envs import InvalidSize

SIZES = {"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4}
SETTINGS = {"hidden_widths": (8, 8), "outer_steps": 3, "short_outer_steps": 0, "coefficient_unit": 1e-4, "warm_up": 0}


@pytest.fixture(scope="module")
def feature_reuse(tmp_path_factory) -> Path:
    """A folder with a Feature-Reuse network after three outer steps."""
    folder = tmp_path_factory.mktemp("feature-reuse")
    settings = get_preset("cpu", "feature-reuse", SETTINGS)
    TrainingRun(Plan("FLPSine-Continual-v0", SIZES, "feature-reuse", "cpu", settings, 0, "a test"), folder).run()
    return folder


@pytest.fixture
def saved(feature_reuse) -> Checkpoint:
    return load(feature_reuse)


def weights(learner):
    return [p.detach().clone() for p in learner.parameter_groups()["weights"]]


@pytest.mark.parametrize("plastic_layers", [1, 2, 3])
def test_without_coefficients_the_answers_are_feature_reuses_own(plastic_layers):
    learner = FLP(Network((3, 6, 5, 1)), 1, initial_coefficient=3e-3).double()
    more = with_more_plasticity(learner, plastic_layers, initial_strength=0.0)
    episode = small_episode(n=3)
    lived, lived_on = run_lifetime(learner, episode), run_lifetime(more, episode)
    torch.testing.assert_close(lived_on.query_predictions, lived.query_predictions, rtol=1e-12, atol=1e-12)
    assert more.settings["plastic_layers"] == plastic_layers


def test_what_was_plastic_is_kept_and_what_becomes_plastic_begins_as_told():
    learner = FLP(Network((3, 6, 5, 1)), 1, initial_coefficient=3e-3, initial_strength=0.25, seed=1)
    with torch.no_grad():
        learner.strengths[0].fill_(0.7)
    more = with_more_plasticity(learner, 3, initial_coefficient=2e-3, seed=5)
    assert [strength.item() for strength in more.strengths] == pytest.approx([0.25, 0.25, 0.7])
    for layer, value in enumerate((2e-3, 2e-3, 3e-3)):
        torch.testing.assert_close(more.coefficients[layer], torch.full_like(more.coefficients[layer], value))
    for mine, its in zip(more.pathways[-1].parameters(), learner.pathways[0].parameters(), strict=True):
        assert torch.equal(mine, its)
    for mine, its in zip(weights(more), weights(learner), strict=True):
        assert torch.equal(mine, its)


def test_a_learner_with_more_plasticity_can_be_saved(tmp_path):
    more = with_more_plasticity(FLP(Network((3, 6, 5, 1)), 1), 2)
    save(tmp_path, more, {})
    episode = small_episode(n=1)
    loaded = load(tmp_path).learner
    assert torch.equal(run_lifetime(loaded, episode).query_loss, run_lifetime(more, episode).query_loss)


def test_plasticity_is_not_taken_away():
    with pytest.raises(InvalidSize, match="at least the 2 that the learner has, got 1"):
        with_more_plasticity(FLP(Network((3, 6, 5, 1)), 2), 1)
    with pytest.raises(InvalidSize, match="number of layers, 3, got 4"):
        with_more_plasticity(FLP(Network((3, 6, 5, 1)), 2), 4)


def test_without_outer_steps_the_score_is_feature_reuses_own(saved):
    continued = continue_with_more_plasticity(saved, 3, outer_steps=0, episodes=4)
    assert continued.evaluated_at.tolist() == [0]
    assert continued.scores.shape == (1, 4)
    assert continued.query_losses.shape == (0,)
    np.testing.assert_allclose(continued.scores[0], continued.before, rtol=1e-5)
    assert saved.learner.settings["plastic_layers"] == 1


def test_initial_weights_stay_to_the_bit_while_everything_else_moves(saved):
    before = weights(saved.learner)
    seen = []
    continued = continue_with_more_plasticity(
        saved, 3, outer_steps=5, evaluate_every=2, episodes=4, seed=1, on_step=lambda step: seen.append(step.step)
    )
    assert seen == [1, 2, 3, 4, 5]
    assert continued.evaluated_at.tolist() == [0, 2, 4, 5]
    assert continued.scores.shape == (4, 4)
    assert continued.query_losses.shape == (5,)
    assert np.isfinite(continued.query_losses).all()
    assert continued.metric == "mse"
    for mine, its in zip(weights(continued.learner), before, strict=True):
        assert torch.equal(mine, its)
    begun = with_more_plasticity(saved.learner, 3, seed=1)
    for name, group in continued.learner.parameter_groups().items():
        moved = [not torch.equal(a, b) for a, b in zip(group, begun.parameter_groups()[name], strict=True)]
        assert any(moved) is (name != "weights"), name
    assert all(parameter.requires_grad for parameter in continued.learner.parameters())
    assert (continued.scores[-1] != continued.scores[0]).any()


def test_the_control_goes_on_with_the_output_layer_alone(saved):
    continued = continue_with_more_plasticity(saved, 1, outer_steps=2, episodes=3)
    np.testing.assert_array_equal(continued.scores[0], continued.before)
    assert not np.array_equal(continued.scores[1], continued.before)


def test_settings_of_the_outer_loop_can_be_changed(saved):
    still = {f"rate_{name}": 0.0 for name in ("feedback", "coefficients")} | {"rate_strengths": 1e-12}
    continued = continue_with_more_plasticity(saved, 2, outer_steps=2, episodes=3, settings={**still, "meta_batch": 2})
    np.testing.assert_allclose(continued.scores[-1], continued.before, rtol=1e-4)
    with pytest.raises(InvalidChoice, match="meta_batch"):
        continue_with_more_plasticity(saved, 2, outer_steps=1, settings={"meta_batches": 2})
    for field in ("rectified", "coefficient_unit", "rate_weights", "outer_steps"):
        with pytest.raises(InvalidChoice, match=f"unknown preset field of the outer loop '{field}'"):
            continue_with_more_plasticity(saved, 2, outer_steps=1, settings={field: 1})


@needs_bfloat16
def test_whatever_the_precision_of_training_scores_are_of_float32(saved):
    how = {"outer_steps": 2, "evaluate_every": 1, "episodes": 3}
    continued = continue_with_more_plasticity(saved, 1, **how, settings={"precision": "bfloat16"})
    np.testing.assert_array_equal(continued.scores[0], continued.before)
    assert continued.learner.layers.precision == "float32"
    exact = continue_with_more_plasticity(saved, 1, **how)
    assert (continued.query_losses != exact.query_losses).all()


def test_only_flp_is_continued(saved):
    other = copy.copy(saved)
    object.__setattr__(other, "learner", GradientBased(Network((3, 6, 5, 1)), 1))
    with pytest.raises(CheckpointError, match="expected a checkpoint of FLP or Feature Reuse, got GradientBased"):
        continue_with_more_plasticity(other, 2, outer_steps=1)
    with pytest.raises(CheckpointError, match="lacks what resuming needs"):
        continue_with_more_plasticity(Checkpoint(saved.learner, {}, None, {}), 2, outer_steps=1)


def same(a, b):
    assert a.evaluated_at.tolist() == b.evaluated_at.tolist()
    for name in ("before", "scores", "query_losses"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert parameters_digest(a.learner) == parameters_digest(b.learner)


def test_stopped_anywhere_it_goes_on_to_the_bit(saved, tmp_path):
    how = {"outer_steps": 6, "evaluate_every": 2, "episodes": 3}
    whole = continue_with_more_plasticity(saved, 2, **how)
    assert whole.finished

    def stop(step):
        # As a kill would, but for the checkpoint of the step before.
        if step.step in (3, 5):
            raise RuntimeError("stopped")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="stopped"):
            continue_with_more_plasticity(saved, 2, **how, folder=tmp_path, save_every_seconds=0, on_step=stop)
        paused = continue_with_more_plasticity(saved, 2, **how, folder=tmp_path, stop_after_seconds=0)
        assert not paused.finished
        assert paused.evaluated_at[-1] <= len(paused.query_losses) < 6
    resumed = continue_with_more_plasticity(saved, 2, **how, folder=tmp_path)
    same(resumed, whole)
    assert resumed.finished
    for mine, its in zip(weights(resumed.learner), weights(saved.learner), strict=True):
        assert torch.equal(mine, its)
    # Nothing is done twice.
    same(continue_with_more_plasticity(saved, 2, **how, folder=tmp_path, on_step=pytest.fail), whole)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from flp_agents.experiments.analysis import continue_with_more_plasticity
from flp_agents.training.checkpoint import load

start, folder, threads, name, time = sys.argv[1:]
torch.set_num_threads(int(threads))
replace, left = os.replace, int(time)

def kill(of, by):
    global left
    left -= Path(by).name == name
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(of, by)

os.replace = kill
how = {"outer_steps": 6, "evaluate_every": 2, "episodes": 3, "save_every_seconds": 0.0}
continue_with_more_plasticity(load(Path(start)), 2, **how, folder=Path(folder))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_it_goes_on_to_the_bit(feature_reuse, saved, tmp_path):
    """``kill -9`` as the scores of step 2 are written; then between those of step 4 and the checkpoint of step 4."""
    for name, time in ((judged.FILE, 3), (DESCRIPTION, 3)):
        arguments = [feature_reuse, tmp_path, torch.get_num_threads(), name, time]
        killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)])
        assert killed.returncode == -signal.SIGKILL
        assert list(tmp_path.glob(f".{name}.*.tmp"))
    assert last_step(tmp_path) == 4
    how, told = {"outer_steps": 6, "evaluate_every": 2, "episodes": 3}, []
    resumed = continue_with_more_plasticity(
        saved, 2, **how, folder=tmp_path, on_step=lambda step: told.append(step.step)
    )
    assert told == [4, 5, 6]
    same(resumed, continue_with_more_plasticity(saved, 2, **how))
    for mine, its in zip(weights(resumed.learner), weights(saved.learner), strict=True):
        assert torch.equal(mine, its)
    assert not list(tmp_path.glob(".*"))


def test_stopped_before_the_first_outer_step_it_keeps_what_was_judged(saved, tmp_path, monkeypatch):
    how = {"outer_steps": 2, "episodes": 2, "folder": tmp_path}
    evaluate, judged_learners = judged.evaluate, []

    def stop(learner, *of, **more):
        judged_learners.append(learner)
        if len(judged_learners) == 2:
            raise RuntimeError("stopped")
        return evaluate(learner, *of, **more)

    monkeypatch.setattr(judged, "evaluate", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        continue_with_more_plasticity(saved, 2, **how)
    with pytest.raises(CheckpointError, match="with other settings"):
        continue_with_more_plasticity(saved, 2, **{**how, "outer_steps": 3})
    resumed = continue_with_more_plasticity(saved, 2, **how)
    assert len(judged_learners) == 4
    assert saved.learner not in judged_learners[1:]
    same(resumed, continue_with_more_plasticity(saved, 2, outer_steps=2, episodes=2))


def test_without_outer_steps_it_is_kept_as_well(saved, tmp_path, monkeypatch):
    found = continue_with_more_plasticity(saved, 2, outer_steps=0, episodes=2, folder=tmp_path)
    monkeypatch.setattr(judged, "evaluate", pytest.fail)
    again = continue_with_more_plasticity(saved, 2, outer_steps=0, episodes=2, folder=tmp_path)
    same(again, found)
    assert again.finished


def test_what_a_full_disk_kept_from_being_written_is_made_up_for(saved, tmp_path, monkeypatch):
    how = {"outer_steps": 4, "evaluate_every": 2, "episodes": 2}
    write = RunMetrics.write

    def full(self, result, seconds):
        if result.step in (2, 4):
            raise FLPError("no space left")
        write(self, result, seconds)

    with monkeypatch.context() as patched:
        patched.setattr(RunMetrics, "write", full)
        for _ in range(2):
            with pytest.raises(FLPError, match="no space left"):
                continue_with_more_plasticity(saved, 2, **how, folder=tmp_path)
    resumed, whole = (continue_with_more_plasticity(saved, 2, **how, folder=of) for of in (tmp_path, None))
    assert np.isnan(resumed.query_losses).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(resumed.query_losses[::2], whole.query_losses[::2])
    same(dataclasses.replace(resumed, query_losses=whole.query_losses), whole)


def test_another_run_in_the_folder_is_refused(saved, tmp_path):
    continue_with_more_plasticity(saved, 2, outer_steps=1, episodes=2, folder=tmp_path)
    for changes in ({"outer_steps": 2}, {"episodes": 3}, {"seed": 1}, {"settings": {"rate_coefficients": 0.5}}):
        how = {"outer_steps": 1, "episodes": 2, **changes}
        with pytest.raises(CheckpointError, match="with other settings, or from another start"):
            continue_with_more_plasticity(saved, 2, **how, folder=tmp_path)
    other = copy.deepcopy(saved)
    with torch.no_grad():
        other.learner.coefficients[0].add_(1.0)
    with pytest.raises(CheckpointError, match="from another start"):
        continue_with_more_plasticity(other, 2, outer_steps=1, episodes=2, folder=tmp_path)
    (tmp_path / "judged.json").unlink()
    with pytest.raises(CheckpointError, match="a run of another kind"):
        continue_with_more_plasticity(saved, 2, outer_steps=1, episodes=2, folder=tmp_path)


def test_a_place_that_is_no_folder_is_refused(saved, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write scores to .*file: "):
        continue_with_more_plasticity(saved, 2, outer_steps=1, episodes=2, folder=tmp_path / "file")
