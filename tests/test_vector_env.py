"""The native vector env is Gymnasium's ``SyncVectorEnv`` over single envs, whatever is reset; seeds; answers."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import SMALL_IMAGES, SMALL_SINE
from gymnasium.vector import AutoresetMode
from hypothesis import example, given, settings
from hypothesis import strategies as st

import flp_envs
from flp_agents import FLP, OML, GradientBased, MetaTrainer, evaluate
from flp_agents.baselines.building import BASELINES
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.learners.network import Network
from flp_agents.training.plan import make_plan
from flp_envs import (
    InvalidAction,
    InvalidChoice,
    InvalidSize,
    OnlineLearningVectorEnv,
    SineTask,
    draw_episodes,
    seed_env,
)

ENVS = 3
FAMILIES = {"FLPSine-Continual-v0": {**SMALL_SINE, "query_size": 4}, "FLPGlyph-IID-v0": SMALL_IMAGES}
MODES = list(AutoresetMode)


def make_both(env_id, mode):
    options = FAMILIES[env_id]
    native = gym.make_vec(env_id, num_envs=ENVS, autoreset_mode=mode, **options)
    sync = gym.make_vec(
        env_id, num_envs=ENVS, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    return native, sync


def assert_same(one, other, where=""):
    """Two nests of dicts, tuples, arrays and objects are equal, sizes of numbers apart."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, tuple):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}/{number}")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert (mine is None) == (theirs is None), where
            if mine is not None:
                assert_same(mine, theirs, where)
    else:
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-6, err_msg=where)
        assert np.asarray(one).dtype.kind == np.asarray(other).dtype.kind, where


masks = st.lists(st.booleans(), min_size=ENVS, max_size=ENVS).filter(any)
seeds = st.none() | st.integers(0, 5) | st.lists(st.none() | st.integers(0, 5), min_size=ENVS, max_size=ENVS)
resets = st.tuples(st.none() | masks, seeds)


@settings(max_examples=25, deadline=None)
@given(
    env_id=st.sampled_from(sorted(FAMILIES)),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 5),
    acts=st.lists(st.integers(1, 9) | resets, max_size=8),
)
@example(env_id="FLPGlyph-IID-v0", mode=AutoresetMode.SAME_STEP, seed=0, acts=[7, ([False, True, False], 3), 25])
@example(env_id="FLPSine-Continual-v0", mode=AutoresetMode.NEXT_STEP, seed=0, acts=[2, ([True, False, True], None), 9])
def test_it_is_a_sync_vector_env(env_id, mode, seed, acts):
    both = make_both(env_id, mode)
    both[0].action_space.seed(0)
    assert_same(*(env.reset(seed=seed) for env in both))
    for act in acts:
        if isinstance(act, int):
            for _ in range(act):
                action = both[0].action_space.sample()
                results = [env.step(action) for env in both]
                for part, (one, other) in enumerate(zip(*results, strict=True)):
                    assert_same(one, other, f"part {part}")
                ended = results[0][2]
                if mode is AutoresetMode.DISABLED and ended.any():
                    assert_same(*(env.reset(options={"reset_mask": ended.copy()}) for env in both))
        else:
            mask, of_envs = act
            options = [None if mask is None else {"reset_mask": np.array(mask)} for _ in both]
            assert_same(*(env.reset(seed=of_envs, options=o) for env, o in zip(both, options, strict=True)))
            if of_envs is not None:
                assert both[0].unwrapped.np_random_seed == tuple(both[1].unwrapped.np_random_seed)
    episode = both[0].unwrapped.episode
    for i, env in enumerate(both[1].unwrapped.envs):
        np.testing.assert_array_equal(episode.support_x[i], env.unwrapped.episode.support_x[0])
        np.testing.assert_array_equal(episode.query_y[i], env.unwrapped.episode.query_y[0])
    for env in both:
        env.close()


def test_a_masked_reset_leaves_the_others_where_they_are():
    env = gym.make_vec("FLPGlyph-IID-v0", num_envs=ENVS, **SMALL_IMAGES)
    shown = env.reset(seed=0)[0]
    for _ in range(4):
        shown = env.step(np.zeros(ENVS, np.int64))[0]
    begun = env.reset(options={"reset_mask": np.array([False, True, False])})[0]
    assert begun["has_target"].tolist() == [1, 0, 1]
    for i in (0, 2):
        np.testing.assert_array_equal(begun["x"][i], shown["x"][i])
    assert not np.array_equal(begun["x"][1], shown["x"][1])


def test_an_episode_that_is_over_must_be_reset_where_autoreset_is_disabled():
    env = gym.make_vec("FLPGlyph-IID-v0", num_envs=ENVS, autoreset_mode="Disabled", **SMALL_IMAGES)
    answers = np.zeros(ENVS, np.int64)
    env.reset(seed=0)
    env.step(answers)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    for _ in range(11):
        ended = env.step(answers)[2]
    assert ended.tolist() == [True, False, True]
    with pytest.raises(gym.error.ResetNeeded, match=r"the episode of env 0, 2 is over: call reset\(options="):
        env.step(answers)


def test_answers_of_envs_that_begin_anew_do_not_matter():
    for env_id, nonsense in (("FLPGlyph-IID-v0", 99), ("FLPSine-Continual-v0", np.nan)):
        env = gym.make_vec(env_id, num_envs=ENVS, **FAMILIES[env_id])
        answers = np.zeros(env.action_space.shape, env.action_space.dtype)
        env.reset(seed=0)
        env.step(answers)
        env.reset(options={"reset_mask": np.array([False, True, False])})
        while not (ended := env.step(answers)[2]).any():
            pass
        wrong = answers.copy()
        wrong[~ended] = nonsense
        with pytest.raises(InvalidAction):
            env.step(wrong)
        ignored = answers.copy()
        ignored[ended] = nonsense
        _, rewards, terminated, _, info = env.step(ignored)
        assert info["_loss"].tolist() == [False, True, False]
        assert terminated.tolist() == [False, True, False]
        assert not rewards[ended].any()


@pytest.mark.parametrize(
    "mask",
    [np.zeros(ENVS, bool), np.ones(ENVS - 1, bool), np.ones(ENVS), np.ones((ENVS, 1), bool), True, "all", [1, 0, 1]],
    ids=str,
)
def test_a_mask_of_another_kind_is_refused(mask):
    env = gym.make_vec("FLPGlyph-IID-v0", num_envs=ENVS, **SMALL_IMAGES)
    shown = env.reset(seed=0)[0]
    with pytest.raises(InvalidSize, match="reset_mask must hold 3 truth values, one for each env") as refusal:
        env.reset(seed=1, options={"reset_mask": mask})
    assert len(str(refusal.value).splitlines()) == 1
    assert env.unwrapped.np_random_seed == (0, 1, 2)
    np.testing.assert_array_equal(env.unwrapped.episode.support_x[:, 0, 0], shown["x"])


def test_a_part_cannot_be_reset_before_all_were():
    env = gym.make_vec("FLPGlyph-IID-v0", num_envs=ENVS, **SMALL_IMAGES)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(options={"reset_mask": np.ones(ENVS, bool)})


def test_an_unknown_autoreset_mode_is_refused():
    with pytest.raises(InvalidChoice, match=r"unknown autoreset_mode 'NEXT': .*valid: Disabled, NextStep, SameStep"):
        gym.make_vec("FLPGlyph-IID-v0", num_envs=ENVS, autoreset_mode="NEXT", **SMALL_IMAGES)


def test_seeds_and_generators_are_told_before_a_reset_too():
    env = OnlineLearningVectorEnv(SineTask(**SMALL_SINE), ENVS)
    chosen = env.np_random_seed
    assert len(set(chosen)) == ENVS
    streamed = env.reset()[0]
    assert env.np_random_seed == chosen
    again = OnlineLearningVectorEnv(SineTask(**SMALL_SINE), ENVS)
    np.testing.assert_array_equal(again.reset(seed=list(chosen))[0]["x"], streamed["x"])
    assert len(env.np_random) == ENVS


@pytest.mark.parametrize("mode", MODES)
def test_a_copy_goes_on_as_the_original_does(mode):
    env = make_both("FLPSine-Continual-v0", mode)[0].unwrapped
    answers = np.ones(env.action_space.shape, np.float32)
    env.reset(seed=0)
    env.step(answers)
    env.reset(options={"reset_mask": np.array([True, False, False])})
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    steps = 8 if mode is AutoresetMode.DISABLED else 25
    for _ in range(steps):
        expected = env.step(answers)
        for other in copies:
            for one, theirs in zip(expected, other.step(answers), strict=True):
                assert_same(one, theirs)


# Seeds: whole numbers of Python and of NumPy, everywhere.

WHOLE = [3, np.int64(3), np.uint8(3), np.int32(3), np.array(3)]
NO_SEEDS = [1.0, np.float64(1.0), True, np.True_, -1, np.int64(-1), "1", [1], 1 + 0j, np.array([1, 2])]
NETWORK = Network((4, 5, 1))


def single(seed):
    return gym.make("FLPSine-IID-v0", **SMALL_SINE).reset(seed=seed)[0]["x"]


def vector(seed):
    return gym.make_vec("FLPSine-IID-v0", num_envs=2, **SMALL_SINE).reset(seed=seed)[0]["x"]


def listed(seed):
    return gym.make_vec("FLPSine-IID-v0", num_envs=2, **SMALL_SINE).reset(seed=[None, seed])[0]["x"][1]


def drawn(seed):
    env = flp_envs.make("FLPSine-IID-v0", **SMALL_SINE)
    seed_env(env, seed)
    return draw_episodes(env, 1).support_x


def evaluated(seed):
    return evaluate(FLP(NETWORK), flp_envs.make("FLPSine-IID-v0", **SMALL_SINE), episodes=2, seed=seed).scores


def trained(seed):
    learner = FLP(NETWORK)
    env = flp_envs.make("FLPSine-IID-v0", **SMALL_SINE)
    rates = {**dict.fromkeys(learner.parameter_groups(), 0.0), "weights": 1e-3}
    trainer = MetaTrainer(learner, env, rates=rates, seed=seed, device_data=True)
    return np.array([trainer.step().query_loss])


def weights(make):
    def of_seed(seed):
        learner = make(seed)
        assert type(learner.settings.get("seed", 0)) is int  # fit for a checkpoint's JSON
        return torch.cat([p.detach().flatten() for p in learner.parameters()] or [torch.zeros(1)]).numpy()

    return of_seed


def planned(seed):
    plan = make_plan("FLPSine-IID-v0", "flp", seed=seed)
    assert type(plan.seed) is int
    return np.array([plan.seed])


def baseline(name):
    return lambda seed: build_baseline(name, flp_envs.make("FLPSine-IID-v0", **SMALL_SINE), seed)


TAKERS = {
    "reset": single,
    "reset of many": vector,
    "reset of a list": listed,
    "seed_env": drawn,
    "evaluate": evaluated,
    "trainer": trained,
    "plan": planned,
    **{
        learner.__name__: weights(lambda seed, of=learner: of(NETWORK, 1, seed=seed))
        for learner in (FLP, GradientBased, OML)
    },
    **{name: weights(baseline(name)) for name in BASELINES if "meta-trained" not in name},
}


@pytest.mark.parametrize("taker", TAKERS)
def test_seeds_are_whole_numbers_of_python_or_numpy(taker):
    take = TAKERS[taker]
    expected = take(3)
    for seed in WHOLE[1:3]:
        np.testing.assert_array_equal(take(seed), expected)
    for wrong in NO_SEEDS:
        if isinstance(wrong, list | np.ndarray) and taker == "reset of many":
            continue
        with pytest.raises(InvalidSize, match="seed must be a whole number of at least 0, got ") as refusal:
            take(wrong)
        assert len(str(refusal.value).splitlines()) == 1


def test_every_whole_number_will_do():
    for seed in WHOLE:
        np.testing.assert_array_equal(single(seed), single(3))
        np.testing.assert_array_equal(vector(seed), vector(3))
    np.testing.assert_array_equal(vector(np.array([3, 4])), vector(3))
    np.testing.assert_array_equal(vector((3, np.int16(4))), vector(3))
    huge = 2**100
    assert gym.make_vec("FLPSine-IID-v0", num_envs=2, **SMALL_SINE).reset(seed=huge)[0]["x"].shape[0] == 2
    with pytest.raises(InvalidSize, match="seed must be a whole number of at most"):
        FLP(NETWORK, seed=huge)


def test_a_sampler_takes_generators_alone():
    task = SineTask(**SMALL_SINE)
    for wrong in (0, np.random.RandomState(0), [], [0, 1], None):
        with pytest.raises(
            InvalidSize, match=r"expected a NumPy generator, or several, such as numpy\.random\.default_rng"
        ):
            task.sample(wrong)
    with pytest.raises(InvalidSize, match="n must be a whole number of at least 1"):
        task.sample(np.random.default_rng(0), 0)


# Answers: plain numbers.

NO_NUMBERS = {
    "dates": (np.full((4, 1), "2020-01-01", "datetime64[D]"), r"ndarray of datetime64\[D\]"),
    "spans": (np.ones((4, 1), "timedelta64[s]"), r"ndarray of timedelta64\[s\]"),
    "complex": (np.full((4, 1), 1 + 1j), "ndarray of complex128"),
    "masked": (np.ma.masked_greater(np.arange(4.0).reshape(4, 1), 2), "a masked array"),
    "texts": (np.full((4, 1), "1.5"), "ndarray of <U3"),
    "objects": (np.full((4, 1), None), "ndarray of object"),
    "records": (np.zeros((4, 1), [("a", "f4")]), "ndarray of "),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_number_is_no_answer(kind):
    action, found = NO_NUMBERS[kind]
    for make, shape in ((gym.make, action), (lambda *a, **o: gym.make_vec(*a, num_envs=2, **o), [action] * 2)):
        env = make("FLPSine-IID-v0", **SMALL_SINE).unwrapped
        env.reset(seed=0)
        stacked = (
            shape if isinstance(shape, np.ndarray) else np.ma.stack(shape) if kind == "masked" else np.stack(shape)
        )
        with pytest.raises(InvalidAction, match=f"finite numbers, got {found}") as refusal:
            env.step(stacked)
        assert len(str(refusal.value).splitlines()) == 1
    labels = gym.make("FLPGlyph-IID-v0", **SMALL_IMAGES).unwrapped
    labels.reset(seed=0)
    for label in (action.ravel()[0], np.ma.masked_equal(1, 1), np.ma.array(1)):
        with pytest.raises(InvalidAction, match="expected a label"):
            labels.step(label)


@pytest.mark.parametrize("kind", sorted(NO_NUMBERS.keys() - {"records"}))
def test_what_is_no_number_is_no_answer_of_a_plain_learner_or_policy(kind):
    action, found = NO_NUMBERS[kind]

    class Plain:
        def reset(self):
            pass

        def predict(self, x):
            return action

        def update(self, x, y):
            pass

    class Policy:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return action[None], state

    env = flp_envs.make("FLPSine-IID-v0", **SMALL_SINE)
    for learner in (Plain(), Policy()):
        with pytest.raises(flp_envs.FLPError, match=rf"predict: expected .*numbers.*, got .*{found.split(' of ')[-1]}"):
            evaluate(learner, env, episodes=1)


def test_numbers_beyond_float32_are_refused_without_a_warning():
    env = gym.make("FLPSine-IID-v0", **SMALL_SINE).unwrapped
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="finite numbers, got one that float32 cannot hold"):
        env.step(np.full((4, 1), 1e300))
