"""Where lifetimes are drawn from: stage after stage, and ahead of time, which changes nothing but when."""

import threading

import numpy as np
import pytest
from conftest import SMALL_IMAGES

import flp_envs
from flp_agents import MetaTrainer, build_learner, get_preset
from flp_agents.cli.main import main
from flp_agents.training import checkpoint
from flp_agents.training.lifetime_schedules.cheaper_first import CheaperFirst, FullLifetimes
from flp_agents.training.lifetime_schedules.growing import Growing
from flp_agents.training.lifetime_schedules.random_lengths import RandomLengths
from flp_agents.training.lifetime_source import LifetimeSource
from flp_base.errors import InvalidSize
from flp_envs.recording import draw_episodes, seed_env


def glyphs():
    env = flp_envs.make("FLPGlyph-IID-v0", **SMALL_IMAGES)
    seed_env(env, 5)
    return env


def source(env=None, n=1, schedule=FullLifetimes(), *, prefetch=True):
    return LifetimeSource(env or glyphs(), n, schedule, 5, prefetch=prefetch)


def test_the_same_episodes_come_in_the_same_order():
    env, plain = glyphs(), glyphs()
    ahead = source(env, 2)
    for step in range(4):
        one, other = ahead.take(step), draw_episodes(plain, 2)
        np.testing.assert_array_equal(one.support_x, other.support_x)
        np.testing.assert_array_equal(one.query_y, other.query_y)
        assert ahead.random_state() == plain.unwrapped.np_random.bit_generator.state
    ahead.stop()
    assert env.unwrapped.np_random.bit_generator.state == plain.unwrapped.np_random.bit_generator.state
    np.testing.assert_array_equal(draw_episodes(env, 1).support_x, draw_episodes(plain, 1).support_x)


def test_they_are_drawn_in_a_thread_while_the_caller_goes_on(monkeypatch):
    ahead = source()
    ahead.take(0)
    drawn = threading.Event()
    threads = []
    ahead._pending[1].result()

    def watched(env, n):
        threads.append(threading.current_thread().name)
        drawn.set()
        return draw_episodes(env, n)

    monkeypatch.setattr("flp_agents.training.lifetime_source.draw_episodes", watched)
    ahead.take(1)
    assert drawn.wait(10)
    assert threads[0].startswith("prefetch")
    ahead.stop()


def test_what_goes_wrong_in_the_thread_is_raised_by_the_next_call(monkeypatch):
    ahead = source()

    def fails(env, n):
        raise OSError("the disk is gone")

    ahead.take(0)
    ahead._pending[1].result()
    monkeypatch.setattr("flp_agents.training.lifetime_source.draw_episodes", fails)
    ahead.take(1)
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.take(2)
    ahead.stop()


def test_meta_training_ends_at_the_same_bits():
    digests = set()
    for prefetch in (False, True):
        env = glyphs()
        settings = get_preset(
            "cpu", "flp", {"channels": 4, "hidden_widths": (8,), "short_outer_steps": 0}, kind="images"
        )
        learner = build_learner("flp", env, settings, seed=1)
        rates = {**dict.fromkeys(learner.parameter_groups(), 0.0), "weights": 1e-3}
        trainer = MetaTrainer(learner, env, rates=rates, meta_batch=2, prefetch=prefetch, seed=3)
        for _ in range(2):
            trainer.step()
        progress, tensors = trainer.progress(), trainer.optimizer_tensors()
        trainer.restore(progress, tensors)  # in the middle, as a run that is resumed
        for _ in range(2):
            trainer.step()
        trainer.pause()
        digests.add(checkpoint.parameters_digest(learner))
    assert len(digests) == 1


SCHEDULES = {
    "full": FullLifetimes(),
    "cheaper first": CheaperFirst(3, {"num_classes": 3}, 4),
    "random": RandomLengths("num_classes=2..4,shots=1..3"),
    "growing": Growing("num_classes=2..5", 4),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_stages_are_the_same_drawn_ahead_or_resumed(schedule):
    """The same lifetimes come at once, ahead of time, and from a source that goes on where another one stopped."""
    plain, ahead = (source(None, 2, schedule, prefetch=prefetch) for prefetch in (False, True))
    for of in (plain, ahead):
        of.seed()
    expected = None
    for step in range(7):
        drawn = [of.take(step) for of in (plain, ahead)]
        states = [of.random_state() for of in (plain, ahead)]
        resumed = source(None, 2, schedule)
        resumed.set_random_state(states[1], ahead.drawn_at)
        drawn.append(resumed.take(step + 1))
        resumed.stop()
        assert states[0] == states[1]
        np.testing.assert_array_equal(drawn[0].support_x, drawn[1].support_x)
        if expected is not None:
            np.testing.assert_array_equal(drawn[0].query_y, expected.query_y)
        expected = drawn[2]
        stage = plain.stage
        assert drawn[0].support_x.shape[0] == (stage.meta_batch or 2)
        assert len(np.unique(drawn[0].support_task[0])) == stage.options.get("num_classes", SMALL_IMAGES["num_classes"])
    ahead.stop()


def test_stages_of_other_lengths_follow_one_another():
    lengths = [SCHEDULES["growing"].stage(step, 0).options["num_classes"] for step in range(7)]
    assert lengths == [2, 3, 4, 4, 5, 5, 5]
    drawn = [SCHEDULES["random"].stage(step, 7).options for step in range(300)]
    assert drawn == [SCHEDULES["random"].stage(step, 7).options for step in range(300)]
    assert drawn != [SCHEDULES["random"].stage(step, 8).options for step in range(300)]
    for name, ends in (("num_classes", (2, 4)), ("shots", (1, 3))):
        assert {options[name] for options in drawn} == set(range(ends[0], ends[1] + 1))


@pytest.mark.parametrize("text", ["shots", "shots=3", "shots=3..2", "shots=1..2,shots=1..3", "shots=-1..2", "a b=1..2"])
def test_what_is_no_range_is_refused(text):
    for made in (RandomLengths, Growing):
        with pytest.raises(InvalidSize, match="must name ranges of the environment's options"):
            made(text)


def test_ranges_are_needed_when_they_are_used():
    for made in (RandomLengths, Growing):
        with pytest.raises(InvalidSize, match="must name ranges of the environment's options"):
            made().extremes()


def test_lifetimes_with_other_inputs_are_refused(capsys, tmp_path):
    """Before the first outer step, and before anything is written."""
    sine = ["--env-option=num_functions=2", "--env-option=steps_per_function=2", "--hidden-widths=8"]
    images = ["--env=FLPGlyph-IID-v0", "--env-option=image_size=16", "--channels=4", "--hidden-widths=8,8"]
    for flags, vary in ((sine, "num_functions=2..4"), (images, "image_size=16..20")):
        run = [
            "train",
            *flags,
            "--lifetimes=random",
            f"--vary={vary}",
            "--outer-steps=2",
            f"--output={tmp_path / 'run'}",
        ]
        assert main(run) == 1
        said = capsys.readouterr().err
        assert "vary options that leave the inputs as they are" in said
        assert said.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_both_ends_of_a_range_are_tried_first(capsys, tmp_path):
    run = ["train", "--lifetimes=growing", "--grow=steps_per_function=0..4", "--outer-steps=2"]
    assert main([*run, "--hidden-widths=8", f"--output={tmp_path / 'run'}"]) == 1
    assert "steps_per_function must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*run, "--hidden-widths=8", "--short-outer-steps=1", f"--output={tmp_path / 'run'}"]) == 1
    assert "--short-outer-steps makes no difference" in capsys.readouterr().err
