"""The few-shot episodes: their classes, drawings and labels, their order, their exact seeding."""

import dataclasses
import hashlib
import itertools

import gymnasium as gym
import numpy as np
import pytest
from conftest import assert_equally_often
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_datasets.catalogue import open_classes
from flp_datasets.glyphs import Glyphs
from flp_datasets.packed.dataset import DATASETS
from flp_envs import Episode, FewShotTask, InvalidChoice, InvalidSize
from flp_envs.few_shot import QUERY_FROM


def rng(seed=0):
    return np.random.default_rng(seed)


class NumberedImages:
    """Classes in memory, whose images say which they are: see :func:`read`."""

    image_shape = (3, 1, 2)

    def __init__(self, num_classes=8, drawings=12):
        self.num_classes = num_classes
        self.drawings = np.array(drawings) if isinstance(drawings, list) else drawings

    def take(self, classes, drawings):
        assert classes.shape == drawings.shape == (len(classes),)
        assert (classes >= 0).all()
        assert (classes < self.num_classes).all()
        assert (drawings >= 0).all()
        assert (drawings < (self.drawings[classes] if isinstance(self.drawings, np.ndarray) else self.drawings)).all()
        spare = np.zeros_like(classes)
        pixels = (classes // 256, classes % 256, drawings // 256, drawings % 256, spare, spare)
        return np.stack(pixels, axis=1).astype(np.uint8).reshape(-1, *self.image_shape)

    def name(self, number):
        return f"number {number}"


def read(images):
    """The class and the drawing that every image shows, ``(..., C, H, W)`` to two of ``(...)``."""
    pixels = images.reshape(*images.shape[:-3], 6).astype(np.int64)
    return pixels[..., 0] * 256 + pixels[..., 1], pixels[..., 2] * 256 + pixels[..., 3]


@dataclasses.dataclass
class Steps:
    """What one part of ``E`` episodes shows at each step, every field ``(E, steps)``."""

    classes: np.ndarray
    drawings: np.ndarray
    labels: np.ndarray
    tasks: np.ndarray


def parts(episode):
    """Support and query."""
    support, query = (
        (episode.support_x, episode.support_y, episode.support_task),
        (episode.query_x, episode.query_y, episode.query_task),
    )
    return tuple(Steps(*(part[..., 0] for part in read(x)), y[..., 0], task) for x, y, task in (support, query))


def drawn(seed=0, n=1, classes=None, **options):
    """Support and query of ``n`` episodes."""
    return parts(FewShotTask(classes or NumberedImages(), "meta-train", **options).sample(rng(seed), n))


def equal(a: Episode, b: Episode) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Episode))


@st.composite
def options(draw, among=QUERY_FROM):
    """Options of a task on :class:`NumberedImages`, 8 classes of 12 drawings; ``among`` which ``query_from``."""
    chosen = draw(st.sampled_from(among))
    shots = draw(st.integers(1, 11 if chosen == "unseen" else 12))
    most = {"unseen": 12 - shots, "seen": shots, "all": 12}[chosen]
    return {
        "num_classes": draw(st.integers(2, 8)),
        "shots": shots,
        "query_shots": draw(st.integers(1, most)),
        "interleaving": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "query_from": chosen,
    }


seeds = st.integers(0, 2**31)


def test_shapes_and_types():
    task = FewShotTask(NumberedImages(), "meta-train", num_classes=4, shots=3, query_shots=2)
    assert (task.support_steps, task.query_steps, task.split) == (12, 8, "meta-train")
    episode = task.sample(rng(), 5)
    assert episode.support_x.shape == (5, 12, 1, 3, 1, 2)
    assert episode.query_x.shape == (5, 8, 1, 3, 1, 2)
    assert episode.support_y.shape == (5, 12, 1)
    assert episode.query_y.shape == (5, 8, 1)
    assert episode.support_task.shape == (5, 12)
    assert episode.query_task.shape == (5, 8)
    assert episode.support_x.dtype == episode.query_x.dtype == np.uint8
    assert {getattr(episode, f"{part}_{kind}").dtype for part in ("support", "query") for kind in ("y", "task")} == {
        np.dtype(np.int64)
    }
    assert len(episode) == 5


def test_the_standard_episode_is_five_classes_of_five_images():
    task = FewShotTask(Glyphs(), "meta-train")
    assert (task.support_steps, task.query_steps, task.num_classes) == (25, 25, 5)
    assert (task.query_from, task.interleaving) == ("unseen", 0.0)
    assert task.scoring.metric == "error_percent"


@settings(max_examples=100, deadline=None)
@given(options(), seeds)
def test_a_class_has_one_label_and_one_sub_task_in_support_and_query(options, seed):
    support, query = drawn(seed, 2, **options)
    for i in range(2):
        of_class = {}
        for part in (support, query):
            for class_, label, task in zip(part.classes[i], part.labels[i], part.tasks[i], strict=True):
                assert of_class.setdefault(class_, (label, task)) == (label, task)
        labels, tasks = zip(*of_class.values(), strict=True)
        assert sorted(labels) == sorted(tasks) == list(range(options["num_classes"]))


@settings(max_examples=100, deadline=None)
@given(options(), seeds)
def test_every_class_has_its_images_and_none_comes_twice(options, seed):
    for part, shots in zip(drawn(seed, **options), (options["shots"], options["query_shots"]), strict=True):
        pairs = list(zip(part.classes[0].tolist(), part.drawings[0].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs) == options["num_classes"] * shots
        assert (np.bincount(part.labels[0], minlength=options["num_classes"]) == shots).all()


@settings(max_examples=100, deadline=None)
@given(options(["unseen"]), seeds)
def test_unseen_drawings_are_not_in_the_support(options, seed):
    support, query = (
        set(zip(p.classes[0].tolist(), p.drawings[0].tolist(), strict=True)) for p in drawn(seed, **options)
    )
    assert not support & query


@settings(max_examples=100, deadline=None)
@given(options(["seen"]), seeds)
def test_seen_drawings_are_all_in_the_support(options, seed):
    support, query = (
        set(zip(p.classes[0].tolist(), p.drawings[0].tolist(), strict=True)) for p in drawn(seed, **options)
    )
    assert query <= support


def test_seen_drawings_lie_anywhere_in_a_fully_mixed_support():
    """Not always those that were taught first, or last."""
    support, query = drawn(1, 1500, num_classes=2, shots=4, query_shots=1, query_from="seen", interleaving=1.0)
    is_asked = (support.classes == query.classes[:, :1]) & (support.drawings == query.drawings[:, :1])
    assert (is_asked.sum(axis=1) == 1).all()
    assert_equally_often(is_asked.argmax(axis=1).tolist(), range(8))


@pytest.mark.parametrize(
    ("shots", "query_shots", "drawings"), [(2, 3, 6), (5, 5, 10), (1, 1, 12), (4, 2, 5), (3, 3, 3)]
)
def test_of_all_drawings_some_are_in_the_support_by_chance(shots, query_shots, drawings):
    episodes = 1200
    sizes = {"num_classes": 2, "shots": shots, "query_shots": query_shots, "query_from": "all"}
    support, query = drawn(2, episodes, NumberedImages(8, drawings), **sizes)
    taught = support.classes * drawings + support.drawings
    asked = query.classes * drawings + query.drawings
    known = (asked[:, :, None] == taught[:, None]).any(axis=2)
    chance = shots / drawings
    assert known.mean() == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / known.size) + 1e-12)


@pytest.mark.parametrize("query_from", QUERY_FROM)
def test_every_class_and_every_drawing_is_drawn_equally_often(query_from):
    sizes = {"num_classes": 2, "shots": 2, "query_shots": 2, "query_from": query_from}
    for part in drawn(3, 2000, NumberedImages(5, 6), **sizes):
        # One image of an episode: those of one episode do not come independently.
        first = zip(part.classes[:, 0].tolist(), part.drawings[:, 0].tolist(), strict=True)
        assert_equally_often(first, itertools.product(range(5), range(6)))
        last = zip(part.classes[:, -1].tolist(), part.drawings[:, -1].tolist(), strict=True)
        assert_equally_often(last, itertools.product(range(5), range(6)))


def test_a_class_with_few_drawings_gives_those_and_one_with_many_gives_all():
    counts = [4, 9, 6]
    support, query = drawn(4, 300, NumberedImages(3, counts), num_classes=3, shots=2, query_shots=2)
    for number, count in enumerate(counts):
        met = {int(d) for part in (support, query) for d in part.drawings[part.classes == number]}
        assert met == set(range(count))


@pytest.mark.parametrize("interleaving", [0.0, 1.0])
def test_labels_are_dealt_afresh_and_tell_nothing_of_class_or_order(interleaving):
    """Every label is equally often first, whichever class is; and so in every order of both."""
    sizes = {"num_classes": 3, "shots": 1, "query_shots": 1, "interleaving": interleaving}
    support, _ = drawn(5, 3600, NumberedImages(3, 2), **sizes)
    orders = list(itertools.permutations(range(3)))
    met = zip(map(tuple, support.classes.tolist()), map(tuple, support.labels.tolist()), strict=True)
    assert_equally_often(met, itertools.product(orders, orders))


def test_labels_of_one_episode_tell_nothing_of_the_next():
    support, _ = drawn(6, 3601, NumberedImages(3, 2), num_classes=3, shots=1, query_shots=1)
    first = support.labels[:, 0].tolist()
    assert_equally_often(itertools.pairwise(first), itertools.product(range(3), repeat=2))


def test_continual_teaches_class_after_class():
    support, query = drawn(7, 4, num_classes=5, shots=6, query_shots=3)
    np.testing.assert_array_equal(support.tasks, np.tile(np.repeat(np.arange(5), 6), (4, 1)))
    np.testing.assert_array_equal(query.tasks, np.tile(np.repeat(np.arange(5), 3), (4, 1)))
    assert (np.diff(support.classes, axis=1).reshape(-1) != 0).sum() == 4 * 4


def test_iid_mixes_all_images():
    support, query = drawn(8, 400, num_classes=5, shots=6, interleaving=1.0)
    # The mean place of a class's images is the middle, whichever class it is.
    places = np.array([[np.flatnonzero(row == i).mean() for i in range(5)] for row in support.tasks])
    assert np.abs(places.mean(axis=0) - 14.5).max() < 4 * places.std() / np.sqrt(400)
    assert (np.diff(support.tasks, axis=1) != 0).mean() == pytest.approx(24 / 29, abs=0.02)
    np.testing.assert_array_equal(query.tasks, np.tile(np.repeat(np.arange(5), 5), (400, 1)))


def test_interleaving_grows_disorder():
    switches = []
    for interleaving in (0.0, 0.2, 0.5, 1.0):
        support, _ = drawn(9, 50, num_classes=8, shots=6, interleaving=interleaving)
        switches.append((np.diff(support.tasks, axis=1) != 0).mean())
    assert switches == sorted(set(switches))
    assert switches[0] == pytest.approx(7 / 47)


@pytest.mark.parametrize("query_from", QUERY_FROM)
@pytest.mark.parametrize("interleaving", [0.0, 0.5, 1.0])
def test_sampling_n_is_sampling_one_n_times(query_from, interleaving):
    task = FewShotTask(NumberedImages(), "meta-train", query_from=query_from, interleaving=interleaving)
    generator = rng(7)
    assert equal(task.sample(rng(7), 3), Episode.stack([task.sample(generator) for _ in range(3)]))


def test_each_of_several_generators_draws_one_episode():
    task = FewShotTask(NumberedImages(), "meta-train", interleaving=1.0)
    together, alone = [rng(i) for i in (3, 1, 2)], [rng(i) for i in (3, 1, 2)]
    for _ in range(2):
        assert equal(task.sample(together), Episode.stack([task.sample(generator) for generator in alone]))
    assert equal(task.sample([rng(), rng(1)], 2), task.sample([rng(), rng(1)]))
    with pytest.raises(InvalidSize, match="each of 3 generators draws one episode: leave n out, got 2"):
        task.sample(together, 2)


def test_an_episode_is_a_copy_of_its_images():
    """What a learner does to them changes no other episode, on a disk's images neither."""
    for name, size in (("omniglot", 28), ("mini_imagenet", 84)):
        task = FewShotTask(open_classes(name, "meta-train", image_size=size), "meta-train", query_from="seen")
        first = task.sample(rng(1))
        query = first.query_x.copy()
        first.support_x[...] = 0
        np.testing.assert_array_equal(first.query_x, query)
        assert task.sample(rng(1)).support_x.any()


def test_six_hundred_classes_of_fifteen_images():
    """As many images as a long continual stream of characters has, 9000."""
    support, query = drawn(10, classes=NumberedImages(964, 20), num_classes=600, shots=15)
    assert support.classes.shape == (1, 9000)
    assert query.classes.shape == (1, 3000)
    assert len(np.unique(support.classes)) == len(np.unique(support.labels)) == 600
    label_of = dict(zip(support.classes[0].tolist(), support.labels[0].tolist(), strict=True))
    assert [label_of[class_] for class_ in query.classes[0].tolist()] == query.labels[0].tolist()
    np.testing.assert_array_equal(support.tasks[0], np.repeat(np.arange(600), 15))


@pytest.mark.parametrize("query_from", QUERY_FROM)
def test_glyphs_are_the_drawings_that_were_chosen(query_from):
    """On classes and drawings without end: no two images of an episode are the same, unless they are asked again."""
    sizes = {"num_classes": 4, "shots": 3, "query_shots": 2, "query_from": query_from}
    episode = FewShotTask(Glyphs("meta-test"), "meta-test", **sizes).sample(rng(11))
    assert episode.support_x.shape == (1, 12, 1, 1, 28, 28)
    support, query = ([image.tobytes() for image in x[0]] for x in (episode.support_x, episode.query_x))
    assert (len(set(support)), len(set(query))) == (12, 8)
    assert len(set(support) & set(query)) == (8 if query_from == "seen" else 0)
    label_of = dict(zip(support, episode.support_y[0, :, 0].tolist(), strict=True))
    for image, label in zip(query, episode.query_y[0, :, 0].tolist(), strict=True):
        assert label_of.get(image, label) == label


def test_the_stream_of_a_seed_never_changes():
    """The same bits on every machine and in every version: a change here changes every published number."""
    digest = hashlib.sha256()
    for query_from, interleaving in (("unseen", 0.0), ("seen", 0.5), ("all", 1.0)):
        task = FewShotTask(Glyphs("meta-test"), "meta-test", interleaving=interleaving, query_from=query_from)
        episode = task.sample(rng(2020), 2)
        for name in ("support_x", "support_y", "support_task", "query_x", "query_y", "query_task"):
            array = np.ascontiguousarray(getattr(episode, name))
            digest.update(array.astype(array.dtype.newbyteorder("<")))
    assert digest.hexdigest() == "c80c9d1de26236da508aa848c76df511e738f1e160d3ac26dca4650e67f64591"


@pytest.mark.parametrize("dataset", sorted(DATASETS))
def test_the_splits_of_a_pack_share_no_class_and_no_image(dataset):
    of_split = {}
    for split in DATASETS[dataset].splits:
        classes = open_classes(dataset, split, image_size=DATASETS[dataset].image_size)
        names = [classes.name(number) for number in range(classes.num_classes)]
        numbers = [(c, d) for c in range(classes.num_classes) for d in range(classes.drawings[c])]
        images = classes.take(*np.array(numbers).T)
        of_split[split] = {*names, *(image.tobytes() for image in images)}
        assert len(of_split[split]) == len(names) + len(images)
    assert len(of_split) >= 2
    for one, other in itertools.combinations(of_split.values(), 2):
        assert not one & other


@pytest.mark.parametrize("family", ["FLPGlyph", "FLPOmniglot", "FLPMiniImageNet"])
def test_an_environments_splits_share_no_image(family):
    met = {}
    for split in ("meta-train", "meta-test"):
        task = gym.make(f"{family}-IID-v0", split=split, num_classes=8, shots=6).unwrapped.task
        episode = task.sample(rng(12))
        met[split] = {image.tobytes() for x in (episode.support_x, episode.query_x) for image in x[0]}
        assert len(met[split]) == 8 * 11
    assert not met["meta-train"] & met["meta-test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes must be a whole number of at least 2, got 1"),
        ({"num_classes": 2.5}, "num_classes must be a whole number of at least 2, got 2.5"),
        ({"num_classes": True}, "num_classes must be a whole number of at least 2, got True"),
        ({"shots": 0}, "shots must be a whole number of at least 1, got 0"),
        ({"query_shots": 0}, "query_shots must be a whole number of at least 1, got 0"),
        ({"query_shots": "5"}, "query_shots must be a whole number of at least 1, got '5'"),
        ({"num_classes": 9}, "num_classes must be at most 8, the number of classes in meta-test, got 9"),
        ({"interleaving": -0.1}, "interleaving must lie between 0 (continual) and 1 (i.i.d.), got -0.1"),
        ({"interleaving": 1.1}, "interleaving must lie between 0 (continual) and 1 (i.i.d.), got 1.1"),
        ({"interleaving": float("nan")}, "interleaving must lie between 0 (continual) and 1 (i.i.d.), got nan"),
        ({"interleaving": "half"}, "interleaving must lie between 0 (continual) and 1 (i.i.d.), got 'half'"),
        (
            {"query_from": "seen", "shots": 3, "query_shots": 4},
            'query_shots must be at most shots, 3, with query_from="seen", got 4',
        ),
        (
            {"shots": 8, "query_shots": 5},
            "shots + query_shots must be at most 12, the number of images of number 0 in meta-test, got 8 and 5",
        ),
        (
            {"query_from": "all", "shots": 13, "query_shots": 5},
            "shots and query_shots must be at most 12, the number of images of number 0 in meta-test, got 13 and 5",
        ),
        (
            {"query_from": "all", "shots": 5, "query_shots": 13},
            "shots and query_shots must be at most 12, the number of images of number 0 in meta-test, got 5 and 13",
        ),
        (
            {"query_from": "seen", "shots": 13, "query_shots": 13},
            "shots and query_shots must be at most 12, the number of images of number 0 in meta-test, got 13 and 13",
        ),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InvalidSize) as refusal:
        FewShotTask(NumberedImages(8, 12), "meta-test", **options)
    assert str(refusal.value) == message


def test_the_largest_possible_sizes_are_not_refused():
    for options in (
        {"num_classes": 8, "shots": 7, "query_shots": 5},
        {"query_from": "seen", "shots": 12, "query_shots": 12},
        {"query_from": "all", "shots": 12, "query_shots": 12},
    ):
        support, query = drawn(13, **options)
        of_one_class = [part.drawings[part.labels == 0] for part in (support, query)]
        assert set(np.concatenate(of_one_class).tolist()) == set(range(12))


def test_too_few_images_name_the_class_that_has_them():
    classes = NumberedImages(4, [9, 8, 6, 7])
    message = r"shots \+ query_shots must be at most 6, the number of images of number 2 in meta-train, got 4 and 3"
    with pytest.raises(InvalidSize, match=message):
        FewShotTask(classes, "meta-train", num_classes=2, shots=4, query_shots=3)
    FewShotTask(classes, "meta-train", num_classes=2, shots=3, query_shots=3)


def test_an_unknown_choice_suggests_the_nearest():
    message = r"^unknown query_from 'unsean': did you mean 'unseen' or 'seen'\? valid: all, seen, unseen$"
    with pytest.raises(InvalidChoice, match=message):
        FewShotTask(NumberedImages(), "meta-train", query_from="unsean")
