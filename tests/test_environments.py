"""Every id: the protocol, the checkers, and the same stream in the single env, the vector env and the task."""

import itertools
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from conftest import shows_images, small_options, steps_of
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import flp_envs
from flp_datasets.pack import PackError
from flp_datasets.sources import SPLITS
from flp_envs import ENV_IDS, InvalidAction, InvalidChoice, InvalidSize
from flp_envs.families.family import FAMILIES
from flp_envs.registration import option_names

SINE_IDS = tuple(env_id for env_id in ENV_IDS if env_id.startswith("FLPSine"))
IMAGE_IDS = tuple(env_id for env_id in ENV_IDS if shows_images(env_id))
every_id = pytest.mark.parametrize("env_id", ENV_IDS)
every_sine_id = pytest.mark.parametrize("env_id", SINE_IDS)
every_image_id = pytest.mark.parametrize("env_id", IMAGE_IDS)
one_id_of_every_family = pytest.mark.parametrize("env_id", [i for i in ENV_IDS if "Continual" in i])


def make(env_id, **options):
    """An env with short episodes: 6 support steps, then 6 query steps."""
    return gym.make(env_id, **small_options(env_id), **options)


def make_vec(env_id, num_envs):
    return gym.make_vec(env_id, num_envs=num_envs, **small_options(env_id))


def constant(env, value):
    """An action that answers every input with ``value``: a number or a label."""
    return np.full(env.action_space.shape, value, env.action_space.dtype)


def lifetime(env, action=0):
    """Observations, rewards and infos of one episode; ``action`` is one value for all steps, or a list of actions."""
    observation, _ = env.reset()
    seen, rewards, infos, done = [observation], [], [], False
    while not done:
        chosen = action[len(rewards)] if isinstance(action, list) else constant(env, action)
        observation, reward, done, truncated, info = env.step(chosen)
        assert not truncated
        seen.append(observation)
        rewards.append(reward)
        infos.append(info)
    return seen, rewards, infos


def streamed(episode, kind):
    """An episode's inputs ("x"), targets ("y") or sub-tasks ("task") in the order in which an env gives them."""
    both = np.concatenate([getattr(episode, f"support_{kind}")[0], getattr(episode, f"query_{kind}")[0]])
    # An image comes alone; a sine episode's pairs come in minibatches.
    return both[:, 0] if kind != "task" and both.shape[1] == 1 else both


def write_on(arrays):
    """Overwrites arrays that an env returned together, of which no two may share memory."""
    for one, other in itertools.combinations(arrays, 2):
        assert not np.shares_memory(one, other)
    for array in arrays:
        array[...] = 99


@every_id
def test_gymnasiums_checker_passes(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(env_id, render_mode="rgb_array").unwrapped)


@every_id
def test_stable_baselines3s_checker_passes(env_id):
    sb3_check_env(make(env_id, render_mode="rgb_array").unwrapped)


@every_id
def test_a_learner_answers_before_it_is_told(env_id):
    env = make(env_id)
    env.reset(seed=3)
    seen, rewards, infos = lifetime(env)
    episode = env.unwrapped.episode
    x, y, task = (streamed(episode, kind) for kind in ("x", "y", "task"))
    learned, queried = env.unwrapped.task.support_steps, env.unwrapped.task.query_steps
    assert len(rewards) == len(x) == learned + queried
    for step in range(steps_of(env_id)):
        np.testing.assert_array_equal(seen[step]["x"], x[step])
        np.testing.assert_array_equal(infos[step]["target"], y[step])
        assert infos[step]["task"] == task[step]
        assert seen[step + 1]["has_target"] == (step < learned)
        np.testing.assert_array_equal(seen[step + 1]["y"], y[step] if step < learned else np.zeros_like(y[step]))
    assert [o["phase"] for o in seen] == [0] * learned + [1] * (queried + 1)
    assert seen[0]["has_target"] == 0
    assert not np.any(seen[0]["y"])
    assert not seen[-1]["x"].any()
    assert all(o in env.observation_space for o in seen)


@every_sine_id
def test_the_return_is_minus_the_query_error(env_id):
    env = make(env_id)
    env.reset(seed=1)
    _, rewards, infos = lifetime(env, action=0.5)
    episode = env.unwrapped.episode
    assert rewards[:6] == [0.0] * 6
    assert sum(rewards) == pytest.approx(-np.square(episode.query_y - 0.5).mean(), rel=1e-5)
    assert infos[0]["loss"] == pytest.approx(np.square(episode.support_y[0, 0] - 0.5).mean(), rel=1e-5)
    assert type(rewards[0]) is type(rewards[-1]) is float


def with_random_labels(env, seed):
    """One lifetime: the answers, the rewards and the infos."""
    env.reset(seed=seed)
    answers = np.random.default_rng(seed).integers(0, 3, 12)
    _, rewards, infos = lifetime(env, list(answers))
    return answers, rewards, infos


@every_image_id
def test_the_return_is_the_query_accuracy(env_id):
    env = make(env_id)
    answers, rewards, _ = with_random_labels(env, 1)
    right = answers[6:] == env.unwrapped.episode.query_y[0, :, 0]
    assert 0 < right.sum() < 6
    assert rewards[:6] == [0.0] * 6
    assert rewards[6:] == pytest.approx(right / 6)
    assert sum(rewards) == pytest.approx(right.mean())
    assert type(rewards[0]) is type(rewards[-1]) is float


@every_image_id
def test_the_return_lies_between_0_and_1(env_id):
    env = make(env_id)
    flp_envs.seed_env(env, 2)
    lifetime(env)
    labels = streamed(env.unwrapped.episode, "y")
    for answers, accuracy in ((labels, 1.0), ((labels + 1) % 3, 0.0)):
        flp_envs.seed_env(env, 2)
        assert sum(lifetime(env, list(answers))[1]) == pytest.approx(accuracy)


@every_image_id
def test_every_step_tells_whether_the_label_was_right(env_id):
    env = make(env_id)
    answers, _, infos = with_random_labels(env, 4)
    right = (answers == streamed(env.unwrapped.episode, "y")).tolist()
    assert len(set(right[:6])) == len(set(right[6:])) == 2
    assert [info["correct"] for info in infos] == right
    assert [info["loss"] for info in infos] == [float(not correct) for correct in right]
    assert {type(info["correct"]) for info in infos} == {bool}


@every_sine_id
def test_answering_zero_scores_the_variance_of_the_targets(env_id):
    """E[A^2] / 2 = 4.25 for A ~ U[0.1, 5]: sin^2(x + phi) averages to a half over phi in [0, pi]."""
    env = gym.make(env_id, split="meta-test", num_functions=100, steps_per_function=1, query_size=320)
    env.reset(seed=0)
    returns = [sum(lifetime(env)[1]) for _ in range(10)]
    assert np.mean(returns) == pytest.approx(-4.25, abs=0.25)
    task = env.unwrapped.task
    exact = np.square(task.amplitudes).mean() / 2
    assert np.mean(returns) == pytest.approx(-exact, rel=0.05)


@every_id
def test_the_stream_does_not_depend_on_the_actions(env_id):
    streams = []
    for action in (0, 2):
        env = make(env_id)
        env.reset(seed=5)
        streams.append(lifetime(env, action)[0] + lifetime(env, action)[0])
    for a, b in zip(*streams, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@every_id
def test_no_array_is_returned_twice(env_id):
    """Whatever a learner writes into what it was shown, nothing that it is shown or told later changes."""
    undisturbed, written_on = make(env_id), make(env_id)
    undisturbed.reset(seed=0)
    written_on.reset(seed=0)
    for _ in range(2):
        observations = [undisturbed.reset()[0], written_on.reset()[0]]
        infos = [{}, {}]
        for step in range(steps_of(env_id) + 1):
            for key in ("x", "y"):
                np.testing.assert_array_equal(observations[1][key], observations[0][key])
            assert infos[1].keys() == infos[0].keys()
            for key in infos[0]:
                np.testing.assert_array_equal(infos[1][key], infos[0][key])
            given = (observations[1]["x"], observations[1]["y"], infos[1].get("target"))
            # A label is a number, which cannot be written on.
            write_on([array for array in given if isinstance(array, np.ndarray)])
            if step < steps_of(env_id):
                results = [env.step(constant(env, 1)) for env in (undisturbed, written_on)]
                observations, infos = ([result[place] for result in results] for place in (0, 4))


@every_id
def test_no_array_of_a_vector_env_is_returned_twice(env_id):
    undisturbed, written_on = make_vec(env_id, 2), make_vec(env_id, 2)
    observations = [env.reset(seed=0)[0] for env in (undisturbed, written_on)]
    infos = [{}, {}]
    for _ in range(2 * steps_of(env_id) + 2):  # 12 steps, one that begins a new episode, and all of it once more
        for given in (observations, infos):
            assert given[1].keys() == given[0].keys()
            for key, array in given[1].items():
                np.testing.assert_array_equal(array, given[0][key])
        write_on([*observations[1].values(), *(array for key, array in infos[1].items() if not key.startswith("_"))])
        results = [env.step(constant(env, 1)) for env in (undisturbed, written_on)]
        observations, infos = ([result[place] for result in results] for place in (0, 4))


@every_id
def test_single_vector_and_task_stream_the_same(env_id):
    task = make(env_id).unwrapped.task
    vector = make_vec(env_id, 3)
    assert isinstance(vector, flp_envs.OnlineLearningVectorEnv)
    batch, _ = vector.reset(seed=10)
    singles = [make(env_id) for _ in range(3)]
    observations = [env.reset(seed=10 + i)[0] for i, env in enumerate(singles)]
    rngs = [gym.utils.seeding.np_random(10 + i)[0] for i in range(3)]
    vector.action_space.seed(0)
    for _episode_number in range(2):  # the second episode of a seed agrees too
        sampled = [streamed(task.sample(rng), "x") for rng in rngs]
        for step in range(steps_of(env_id)):
            assert batch in vector.observation_space
            for i, observation in enumerate(observations):
                for key in observation:
                    np.testing.assert_array_equal(batch[key][i], observation[key])
                np.testing.assert_array_equal(observation["x"], sampled[i][step])
            actions = vector.action_space.sample()
            batch, rewards, terminated, truncated, info = vector.step(actions)
            results = [env.step(actions[i]) for i, env in enumerate(singles)]
            observations = [result[0] for result in results]
            np.testing.assert_allclose(rewards, [result[1] for result in results], rtol=1e-6)
            assert terminated.tolist() == [result[2] for result in results]
            assert not truncated.any()
            told = {key for key in info if not key.startswith("_")}
            for i, result in enumerate(results):
                assert told == result[4].keys()
                for key in told:
                    np.testing.assert_allclose(info[key][i], result[4][key], rtol=1e-6)
                    assert info[f"_{key}"].all()
        assert terminated.all()
        batch, rewards, terminated, _, info = vector.step(actions)  # begins the next episode
        assert not rewards.any()
        assert not terminated.any()
        assert info == {}
        observations = [env.reset()[0] for env in singles]


def assert_refused(env_id, action, message):
    """A wrong action is refused with one line, and nothing is lost: the stream goes on where it was."""
    env = make(env_id).unwrapped
    env.reset(seed=0)
    env.step(constant(env, 1))
    with pytest.raises(InvalidAction, match=message) as refusal:
        env.step(action)
    assert len(str(refusal.value).splitlines()) == 1
    observation, _, _, _, info = env.step(constant(env, 1))
    np.testing.assert_array_equal(info["target"], streamed(env.episode, "y")[1])
    np.testing.assert_array_equal(observation["x"], streamed(env.episode, "x")[2])


@every_sine_id
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((4, 2)), r"expected an action of shape \(4, 1\), got \(4, 2\)"),
        (np.zeros(4), r"expected an action of shape \(4, 1\), got \(4,\)"),
        (np.full((4, 1), np.nan), "expected .* finite numbers, got NaN"),
        (np.array([[1.0], [2.0], [np.inf], [0.0]]), "expected .* finite numbers, got NaN or infinity"),
        (None, r"expected an action"),
        ("seven", r"expected an action of \(4, 1\) finite numbers, got str"),
    ],
    ids=str,
)
def test_a_wrong_action_is_refused(env_id, action, message):
    assert_refused(env_id, action, message)


@every_image_id
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (1.0, r"got float 1\.0$"),
        (np.float32(2), r"got float32 2\.0$"),
        (float("nan"), "got float nan$"),
        (True, "got bool True$"),
        (3, "got 3$"),
        (np.int64(-1), "got -1$"),
        (None, "got NoneType None$"),
        ("one", "got str one$"),
        ([1], r"got an array of shape \(1,\)$"),
        (np.array([[0, 1]]), r"got an array of shape \(1, 2\)$"),
        ([[0], [0, 1]], r"got list \[\[0\], \[0, 1\]\]$"),
        (np.full((4, 2), 0.5), r"got ndarray \[\[0\.5 0\.5\] \[0\.5 0\.5\]"),
    ],
    ids=str,
)
def test_what_is_no_label_is_refused(env_id, action, message):
    assert_refused(env_id, action, f"^expected a label, a whole number from 0 to 2, {message}")


@every_image_id
@pytest.mark.parametrize("label", [2, np.uint8(2), np.int64(2), np.array(2)], ids=lambda label: type(label).__name__)
def test_any_whole_number_will_do_as_a_label(env_id, label):
    env = make(env_id).unwrapped
    env.reset(seed=0)
    infos = [env.step(label)[4] for _ in range(steps_of(env_id))]
    assert [info["correct"] for info in infos] == (streamed(env.episode, "y") == 2).tolist()


@every_sine_id
def test_a_wrong_vector_action_is_refused(env_id):
    env = make_vec(env_id, 2)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"shape \(2, 4, 1\), got \(4, 1\)"):
        env.step(np.zeros((4, 1), np.float32))
    info = env.step(constant(env, 1))[4]
    np.testing.assert_array_equal(info["target"], env.episode.support_y[:, 0])


@every_image_id
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (1, r"got an array of shape \(\)$"),
        ([0, 1, 2], r"got an array of shape \(3,\)$"),
        ([[0], [1]], r"got an array of shape \(2, 1\)$"),
        ([0, 3], r"got \[0, 3\]$"),
        ([-1, 0], r"got \[-1, 0\]$"),
        (np.zeros(2, np.float32), r"got ndarray \[0\. 0\.\]$"),
        (np.zeros((2, 1)), r"got ndarray \[\[0\.\] \[0\.\]\]$"),
        (None, "got NoneType None$"),
    ],
    ids=str,
)
def test_wrong_labels_for_many_envs_are_refused(env_id, action, message):
    env = make_vec(env_id, 2)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=f"whole number from 0 to 2, for each of 2 envs, {message}") as refusal:
        env.step(action)
    assert len(str(refusal.value).splitlines()) == 1
    info = env.step(constant(env, 1))[4]
    np.testing.assert_array_equal(info["target"], env.episode.support_y[:, 0, 0])


@every_sine_id
def test_large_finite_answers_are_scored(env_id):
    env = make(env_id).unwrapped
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.full((4, 1), 3e38, np.float32))
    assert info["loss"] > 1e70


@every_id
def test_stepping_out_of_turn_is_refused(env_id):
    env = make(env_id).unwrapped
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(constant(env, 0))
    with pytest.raises(gym.error.ResetNeeded, match="there is no episode yet: call reset"):
        _ = env.episode
    env.reset(seed=0)
    for _ in range(steps_of(env_id)):
        env.step(constant(env, 0))
    with pytest.raises(gym.error.ResetNeeded, match="the episode is over: call reset"):
        env.step(constant(env, 0))
    vector = make_vec(env_id, 2)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        vector.step(constant(vector, 0))
    with pytest.raises(gym.error.ResetNeeded, match="there is no episode yet: call reset"):
        _ = vector.episode


@every_id
def test_bad_arguments_are_refused(env_id):
    for make_it in (gym.make, gym.make_vec):
        with pytest.raises(InvalidChoice, match=r"unknown split.* 'train': did you mean 'meta-train'"):
            make_it(env_id, split="train")
    with pytest.raises(InvalidChoice, match="unknown render_mode 'human'"):
        gym.make(env_id, render_mode="human", disable_env_checker=True)
    with pytest.raises(InvalidSize, match="the vector env does not render"):
        gym.make_vec(env_id, num_envs=2, render_mode="rgb_array")
    with pytest.raises(InvalidSize, match="num_envs must be"):
        flp_envs.OnlineLearningVectorEnv(gym.make(env_id).unwrapped.task, 0)
    with pytest.raises(InvalidSize, match="one number or 2 of them"):
        gym.make_vec(env_id, num_envs=2).reset(seed=[1, 2, 3])


@every_id
def test_the_splits_are_those_of_the_data(env_id):
    is_packed = env_id.startswith(("FLPOmniglot", "FLPMiniImageNet"))
    for split in (*SPLITS, *["meta-trainval"] * is_packed):
        assert make(env_id, split=split).unwrapped.task.split == split
    if not is_packed:
        with pytest.raises(InvalidChoice, match=r"unknown split.* 'meta-trainval': .*valid: meta-test, meta-train, "):
            make(env_id, split="meta-trainval")


def test_a_character_that_is_meta_trained_on_is_four_classes_with_rotations_and_no_other_is():
    def classes(split: str, rotations: bool) -> int:
        return make("FLPOmniglot-IID-v0", split=split, rotations=rotations).unwrapped.task.classes.num_classes

    expected = {"meta-train": 4, "meta-val": 1, "meta-test": 1, "meta-trainval": 4}
    assert {split: classes(split, True) / classes(split, False) for split in expected} == expected


@every_id
def test_the_schedule_of_an_id_is_its_interleaving(env_id):
    options = small_options(env_id)
    assert gym.make(env_id).unwrapped.task.interleaving == (1.0 if "IID" in env_id else 0.0)
    assert gym.make(env_id, interleaving=0.5, **options).unwrapped.task.interleaving == 0.5


@every_id
def test_a_misspelt_id_suggests_the_right_one(env_id):
    family, schedule, version = env_id.split("-")
    with pytest.raises(InvalidChoice, match=f"did you mean .*'{env_id}'"):
        flp_envs.make(f"{family[:-1]}-{schedule}-{version}")


@every_id
def test_an_unknown_option_suggests_the_right_one(env_id):
    family = env_id.split("-")[0]
    right = max(option_names(family), key=len)
    wrong = right[:-1]
    message = f"^unknown option of the {family} environments '{wrong}': did you mean '{right}'"
    for make_it in (gym.make, gym.make_vec, flp_envs.make):
        with pytest.raises(InvalidChoice, match=message):
            make_it(env_id, **{wrong: 3})


@every_id
def test_an_option_of_another_family_is_refused(env_id):
    known = option_names(env_id.split("-")[0])
    foreign = next(name for name in ("image_size", "num_functions", "num_classes") if name not in known)
    with pytest.raises(InvalidChoice, match=f"unknown option of the FLP.* environments '{foreign}'.*valid: .*split"):
        gym.make(env_id, **{foreign: 28})


@pytest.mark.parametrize("image_size", [20, 28])
def test_images_have_the_size_that_was_asked_for(image_size):
    env = gym.make("FLPGlyph-IID-v0", image_size=image_size)
    assert env.observation_space["x"].shape == env.reset(seed=0)[0]["x"].shape == (1, image_size, image_size)


@pytest.mark.parametrize(
    ("env_id", "size", "title"),
    [("FLPOmniglot-IID-v0", 28, "Omniglot"), ("FLPMiniImageNet-Continual-v0", 84, "Mini-ImageNet")],
)
def test_images_that_are_not_there_are_missed_with_a_remedy(env_id, size, title, tmp_path, monkeypatch):
    monkeypatch.setenv("FLP_CACHE", str(tmp_path / "cache"))
    message = f"there is no {title} of {size} pixels: looked for .*make it with flp data prepare"
    for make_it in (gym.make, gym.make_vec, flp_envs.make):
        with pytest.raises(PackError, match=message):
            make_it(env_id, data_root=tmp_path)


def test_an_env_of_another_kind_is_refused_with_the_reason():
    with pytest.raises(flp_envs.ProtocolError, match=r"cannot make CartPole-v1 with .*: .*unexpected keyword argument"):
        flp_envs.make("CartPole-v1", split="meta-test")
    with pytest.raises(flp_envs.ProtocolError, match=r"cannot make no_module:"):
        flp_envs.make(f"no_module:{ENV_IDS[0]}")


@one_id_of_every_family
def test_make_works_without_an_import_and_without_torch(env_id):
    code = (
        f"import sys, gymnasium; env = gymnasium.make('flp_envs:{env_id}'); env.reset(seed=0); "
        "assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_listed_ids_are_the_registered_ones():
    assert {i for i, spec in gym.registry.items() if "flp_envs" in str(spec.entry_point)} == set(ENV_IDS)
    assert len(ENV_IDS) == len(set(ENV_IDS)) == 2 * len(FAMILIES.built_in())


@one_id_of_every_family
def test_render_shows_answers_given_before_it_was_first_called(env_id):
    frames = []
    for answer in (1, 2):
        env = make(env_id, render_mode="rgb_array").unwrapped
        env.reset(seed=0)
        env.step(constant(env, answer))
        frames.append(env.render())
    assert (frames[0] != frames[1]).any()


@one_id_of_every_family
def test_rendering_goes_on_after_close(env_id):
    env = make(env_id, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    env.close()
    assert env.render().shape[2] == 3
    env.step(constant(env, 1))
    silent = make(env_id).unwrapped
    silent.show_predictions(lambda x: x[:, :1])
    silent.reset(seed=0)
    silent.step(constant(silent, 1))


def drawn(env_id):
    """An env that renders, and its picture of the beginning."""
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    return env, picture


@every_sine_id
def test_render_draws_truth_and_prediction(env_id):
    env, blank = drawn(env_id)
    env.step(np.ones(env.action_space.shape, np.float32))
    answered = env.render()
    assert (answered != blank).any()
    asked = []
    env.unwrapped.show_predictions(lambda x: asked.append(x) or np.ones((len(x), 1), np.float32))
    assert (env.render() != answered).any()
    assert {tuple(row[:-1]) for x in asked for row in x} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    env.close()


@pytest.mark.parametrize("env_id", [i for i in IMAGE_IDS if "Continual" in i])
def test_render_asks_the_learner_about_the_image_to_be_answered(env_id):
    env, blank = drawn(env_id)
    observation = env.step(constant(env, 1))[0]
    answered = env.render()
    assert (answered != blank).any()
    asked = []
    env.unwrapped.show_predictions(lambda x: asked.append(x) or np.ones(len(x), np.int64))
    assert (env.render() != answered).any()
    np.testing.assert_array_equal(np.concatenate(asked), observation["x"][None])
    env.close()


@one_id_of_every_family
def test_render_before_reset_and_without_a_render_mode_is_no_picture(env_id):
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        make(env_id, render_mode="rgb_array").unwrapped.render()
    silent = make(env_id).unwrapped
    silent.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert silent.render() is None
