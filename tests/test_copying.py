"""Copies: of all that this package makes they are whole; of what users bring they are refused with what to do."""

import copy
import pickle
import threading

import gymnasium as gym
import numpy as np
import pytest
import torch
import user_envs  # noqa: F401 (registers ids)
from conftest import SMALL_IMAGES, SMALL_SINE

import flp_envs
from flp_agents import LEARNERS, GymAgent, as_learner, build_learner, evaluate, get_preset, run_lifetime
from flp_agents.adapters.plain_learner import ManyPlainLearners
from flp_agents.adapters.policies import PolicyLearner
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.support.copying import CannotCopy
from flp_base.errors import FLPError
from flp_envs import OnlineLearningVectorEnv

ENVS = {
    "FLPSine-IID-v0": SMALL_SINE,
    "FLPGlyph-IID-v0": SMALL_IMAGES,
    "FLPOmniglot-Continual-v0": SMALL_IMAGES,
    "user_envs:UserLines-v0": {},
    "user_envs:UserCorners-v0": {},
}
WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing))}
every_way = pytest.mark.parametrize("way", WAYS)
every_env = pytest.mark.parametrize("env_id", ENVS)


def make(env_id, **more):
    return flp_envs.make(env_id, **ENVS[env_id], **more)


def zero(env):
    return np.zeros(env.action_space.shape, env.action_space.dtype) if env.action_space.shape else 0


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


@every_way
@every_env
def test_a_copy_of_an_env_goes_on_as_the_original_does(env_id, way):
    env = make(env_id)
    untouched = WAYS[way](env)
    assert_same(untouched.reset(seed=1)[0], make(env_id).reset(seed=1)[0])
    env.reset(seed=0)
    env.step(zero(env))
    other = WAYS[way](env)
    for _ in range(2):
        done = False
        while not done:
            (shown, reward, done, _, _), (expected, right, _, _, _) = (one.step(zero(env)) for one in (other, env))
            assert_same(shown, expected)
            assert reward == right
        assert_same(other.reset()[0], env.reset()[0])


@every_way
@every_env
def test_tasks_and_vector_envs_and_episodes_are_copied_whole(env_id, way):
    task = make(env_id).unwrapped.task
    episode = task.sample(np.random.default_rng(0), 2)
    again = WAYS[way](task).sample(np.random.default_rng(0), 2)
    for name in ("support_x", "support_y", "support_task", "query_x", "query_y", "query_task"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(again, name))
        np.testing.assert_array_equal(getattr(episode, name), getattr(WAYS[way](episode), name))
    vector = OnlineLearningVectorEnv(task, 2)
    vector.reset(seed=0)
    answers = np.zeros(vector.action_space.shape, vector.action_space.dtype)
    vector.step(answers)
    other = WAYS[way](vector)
    for _ in range(20):
        assert_same(other.step(answers)[0], vector.step(answers)[0])


@pytest.mark.parametrize("env_id", ["FLPSine-IID-v0", "user_envs:UserLines-v0"])
def test_a_copy_of_an_env_that_draws_asks_no_learner(env_id):
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(zero(env))
    before = env.render()
    asked = []
    # A function of this place: nothing that could be pickled.
    env.unwrapped.show_predictions(lambda x: asked.append(x) or np.zeros((len(x), *np.shape(zero(env))[1:]), np.int64))
    env.render()
    number = len(asked)
    assert number
    for way in WAYS.values():
        other = way(env)
        assert other.render().shape == before.shape
        assert len(asked) == number
    env.render()
    assert len(asked) > number


def build(name, kind):
    env = make("FLPSine-IID-v0" if kind == "numbers" else "FLPGlyph-IID-v0")
    if name in LEARNERS:
        settings = {"hidden_widths": (8,), "channels": 4, "plastic_layers": 1}
        return build_learner(name, env, get_preset("cpu", name, settings, kind=kind)), env
    return build_baseline(name, env), env


@every_way
@pytest.mark.parametrize("name", [*LEARNERS.built_in(), *(name for name in BASELINES if "meta-trained" not in name)])
def test_learners_and_agents_are_copied_whole(name, way):
    for kind in ("numbers", "images"):
        learner, env = build(name, kind)
        if name in LEARNERS:  # after a gradient too, which leaves more behind
            run_lifetime(learner, env.unwrapped.task.sample(np.random.default_rng(0))).query_loss.mean().backward()
        expected = evaluate(learner, env, episodes=1).scores
        np.testing.assert_array_equal(evaluate(WAYS[way](learner), env, episodes=1).scores, expected)
        agent, observation = GymAgent(learner, env), env.reset(seed=0)[0]
        np.testing.assert_array_equal(WAYS[way](agent).predict(observation)[0], agent.predict(observation)[0])


class Mean:
    """Answers the mean of all targets."""

    def reset(self):
        self.seen = []

    def predict(self, x):
        return np.full((len(x), 1), np.mean(self.seen) if self.seen else 0.0)

    def update(self, x, y):
        self.seen.extend(y.ravel().tolist())


class WithALock(Mean):
    def __init__(self):
        self.lock = threading.Lock()


class WithANonLeaf(Mean):
    def __init__(self):
        self.weight = torch.ones(2, requires_grad=True) * 2


class WithAFile(Mean):
    def __init__(self):
        self.file = open(__file__, encoding="utf-8")  # noqa: SIM115


class RefusesCopies(Mean):
    def __deepcopy__(self, memo):
        raise ValueError("no\nthanks")


class LeavesTheLockOut(WithALock):
    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "lock"}


CANNOT = (WithALock, WithANonLeaf, WithAFile, RefusesCopies)


@pytest.mark.parametrize("kind", CANNOT)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_plain_learner_that_cannot_be_copied_says_what_to_do(kind):
    env, learner = make("FLPSine-IID-v0"), kind()
    message = (
        rf"^{kind.__name__} cannot be copied, and every lifetime has a copy of its own \(.*\): define __deepcopy__, or"
    )
    agent = GymAgent(learner, env)
    for use in (
        lambda: evaluate(learner, env, episodes=1),
        lambda: agent.predict(env.reset(seed=0)[0]),
        lambda: as_learner(learner, env).init(2),
    ):
        with pytest.raises(CannotCopy, match=message) as refusal:
            use()
        assert f"make it in reset(), or give a factory that makes the learner: lambda: {kind.__name__}()" in str(
            refusal.value
        )
        assert "\n" not in str(refusal.value)
    if kind is WithAFile:
        learner.file.close()


def test_what_it_says_works():
    env = make("FLPSine-IID-v0")
    expected = evaluate(Mean(), env, episodes=3).scores
    for learner in (LeavesTheLockOut(), lambda: WithALock(), WithALock, lambda: WithANonLeaf()):
        np.testing.assert_array_equal(evaluate(learner, env, episodes=3).scores, expected)
        agent = GymAgent(learner, env)
        assert agent.predict(env.reset(seed=0)[0])[0].shape == (4, 1)


def test_every_lifetime_has_a_learner_of_its_own():
    env, given, made = make("FLPSine-IID-v0"), Mean(), []
    lives = as_learner(given, env).init(3)
    assert len({id(learner) for learner, _ in lives} | {id(given)}) == 4
    assert not hasattr(given, "seen")
    lives = as_learner(lambda: made.append(Mean()) or made[-1], env).init(3)
    assert [id(learner) for learner, _ in lives] == [id(learner) for learner in made[1:]]
    fitted = as_learner(lambda: Mean(), env).adapt_to(make("FLPGlyph-IID-v0"))
    assert isinstance(fitted, ManyPlainLearners)
    assert fitted.factory is not None


def test_a_factory_that_needs_arguments_is_told_so():
    class Named(Mean):
        def __init__(self, name):
            self.name = name

    class Broken(Mean):
        def __init__(self):
            len(5)

    env = make("FLPSine-IID-v0")
    with pytest.raises(
        FLPError, match=r"^Named is called without arguments for every lifetime, and cannot be \(.*name"
    ):
        evaluate(Named, env, episodes=1)
    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        evaluate(Broken, env, episodes=1)
    with pytest.raises(FLPError, match="expected a learner with reset, predict and update"):
        evaluate(lambda: 5, env, episodes=1)
    assert evaluate(lambda: build("oml", "numbers")[0], env, episodes=1).metric == "mse"


def test_what_a_policy_remembers_and_cannot_be_copied_is_named():
    class Remembers:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((1, 4, 1), np.float32), threading.Lock()

    env = make("FLPSine-IID-v0")
    with pytest.raises(CannotCopy, match=r"^what Remembers remembers cannot be copied, and it is queried in the"):
        evaluate(PolicyLearner(Remembers(), env), env, episodes=1)


def test_wrapped_envs_are_copied_too():
    env = gym.wrappers.RecordEpisodeStatistics(make("FLPSine-IID-v0"))
    env.reset(seed=0)
    assert_same(copy.deepcopy(env).step(zero(env))[0], env.step(zero(env))[0])
