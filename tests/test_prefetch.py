"""Drawing ahead changes nothing but when episodes are drawn."""

import threading

import numpy as np
import pytest
from conftest import SMALL_IMAGES

import flp_envs
from flp_agents import MetaTrainer, build_learner, get_preset
from flp_agents.training import checkpoint
from flp_agents.training.prefetch import Prefetch
from flp_envs.recording import draw_episodes, seed_env


def glyphs():
    env = flp_envs.make("FLPGlyph-IID-v0", **SMALL_IMAGES)
    seed_env(env, 5)
    return env


def test_the_same_episodes_come_in_the_same_order():
    env, plain = glyphs(), glyphs()
    ahead = Prefetch(env, 2)
    for _ in range(4):
        one, other = ahead.take(), draw_episodes(plain, 2)
        np.testing.assert_array_equal(one.support_x, other.support_x)
        np.testing.assert_array_equal(one.query_y, other.query_y)
        assert ahead.random_state() == plain.unwrapped.np_random.bit_generator.state
    ahead.stop()
    assert env.unwrapped.np_random.bit_generator.state == plain.unwrapped.np_random.bit_generator.state
    np.testing.assert_array_equal(draw_episodes(env, 1).support_x, draw_episodes(plain, 1).support_x)


def test_they_are_drawn_in_a_thread_while_the_caller_goes_on(monkeypatch):
    ahead = Prefetch(glyphs(), 1)
    ahead.take()
    drawn = threading.Event()
    threads = []
    ahead._pending.result()

    def watched(env, n):
        threads.append(threading.current_thread().name)
        drawn.set()
        return draw_episodes(env, n)

    monkeypatch.setattr("flp_agents.training.prefetch.draw_episodes", watched)
    ahead.take()
    assert drawn.wait(10)
    assert threads[0].startswith("prefetch")
    ahead.stop()


def test_what_goes_wrong_in_the_thread_is_raised_by_the_next_call(monkeypatch):
    ahead = Prefetch(glyphs(), 1)

    def fails(env, n):
        raise OSError("the disk is gone")

    ahead.take()
    ahead._pending.result()
    monkeypatch.setattr("flp_agents.training.prefetch.draw_episodes", fails)
    ahead.take()
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.take()
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
