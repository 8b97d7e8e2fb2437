"""Pictures of a lifetime on images: everything that they tell shows in their pixels."""

import numpy as np
import pytest

from flp_envs import Episode
from flp_envs.image_rendering import MOST_CLASSES, QUERIED, RIGHT, WRONG, ImageRenderer

CLASSES = 3


def shade(number, channels=1):
    """The one colour of the image of step ``number``, ``(channels,)``: no other step has it, and no ink."""
    return np.array([30 + 4 * number, 240 - 4 * number, 60 + 3 * number][:channels], np.uint8)


def make_episode(num_classes=CLASSES, shots=2, channels=1):
    """Class after class, ``shots`` images each, then one query image of each; all images in their step's colour."""
    labels = np.concatenate([np.repeat(np.arange(num_classes), shots), np.arange(num_classes)])
    shades = np.array([shade(step, channels) for step in range(len(labels))])
    images = np.broadcast_to(shades[:, :, None, None], (len(labels), channels, 6, 6))
    parts = []
    for part in (slice(None, num_classes * shots), slice(num_classes * shots, None)):
        parts += [images[part][None, :, None], labels[part][None, :, None], labels[part][None]]
    return Episode(*parts)


def draw(answers=(), *, predict=None, num_classes=CLASSES, episode=None):
    """The picture after these answers."""
    renderer = ImageRenderer(num_classes)
    renderer.begin(make_episode(num_classes) if episode is None else episode)
    for step, answer in enumerate(answers):
        renderer.record(step, np.array(answer))
    renderer.predict = predict
    picture = renderer.draw(len(answers))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    return picture


def pixels_of(picture, colour):
    """How many pixels have a colour, "#rrggbb" or the one of an image, but for what matplotlib rounds off."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if isinstance(colour, str) else colour.astype(int)
    return int((abs(picture.astype(int) - wanted) <= 1).all(axis=-1).sum())


def steps_shown(picture, episode):
    """The steps whose images a picture shows."""
    images = np.concatenate([episode.support_x[0, :, 0], episode.query_x[0, :, 0]])[:, :, 0, 0]
    return {step for step, colour in enumerate(images) if pixels_of(picture[::3, ::3], colour) > 100}


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_a_picture_shows_what_is_asked_what_was_asked_and_the_latest_of_every_class(channels):
    episode = make_episode(channels=channels)
    # Support steps 0 to 5, two of each class; query steps 6 to 8.
    assert steps_shown(draw([], episode=episode), episode) == {0}
    assert steps_shown(draw([0, 0, 0], episode=episode), episode) == {3, 2, 1}
    assert steps_shown(draw([0] * 7, episode=episode), episode) == {7, 6, 1, 3, 5}
    # Once all is answered, nothing is asked.
    assert steps_shown(draw([0] * 9, episode=episode), episode) == {8, 1, 3, 5}


def test_right_and_wrong_answers_look_different():
    # Step 2 asks for class 1.
    right, wrong, wrong_too = draw([0, 0, 1]), draw([0, 0, 0]), draw([0, 0, 2])
    assert pixels_of(right, WRONG) == 0
    assert pixels_of(wrong, WRONG) > 100
    assert pixels_of(right, RIGHT) > pixels_of(wrong, RIGHT) + 100
    assert (wrong != wrong_too).any()


def test_earlier_answers_stay_in_the_running_accuracy():
    pictures = [
        draw(answers) for answers in ([0, 0, 1, 1, 2, 2, 0, 1], [1, 0, 1, 1, 2, 2, 0, 1], [0, 0, 1, 1, 2, 2, 1, 1])
    ]
    assert (pictures[0] != pictures[1]).any()
    assert (pictures[0] != pictures[2]).any()
    assert (pictures[1] != pictures[2]).any()


def test_before_the_first_answer_nothing_is_judged():
    picture = draw()
    assert pixels_of(picture, RIGHT) == pixels_of(picture, WRONG) == 0
    assert pixels_of(picture, QUERIED) > 100


def test_after_the_end_nothing_is_asked():
    asked = []
    picture = draw([0, 0, 1, 1, 2, 2, 0, 1, 2], predict=asked.append)
    assert asked == []
    assert pixels_of(picture, QUERIED) == 0
    assert pixels_of(picture, RIGHT) > 100


def test_the_learner_is_asked_what_it_would_answer_now():
    asked = []

    def predict(answer):
        return lambda images: asked.append(images) or np.array([answer])

    # Step 2 asks for class 1; both answers before were right.
    silent, right, wrong = draw([0, 0]), draw([0, 0], predict=predict(1)), draw([0, 0], predict=predict(2))
    assert len(asked) == 2
    for images in asked:
        np.testing.assert_array_equal(images, make_episode().support_x[0, 2])
    assert pixels_of(right, RIGHT) > pixels_of(silent, RIGHT)
    assert pixels_of(silent, WRONG) == pixels_of(right, WRONG) == 0
    assert pixels_of(wrong, WRONG) > 0


def test_a_picture_after_a_new_beginning_knows_nothing_of_the_episode_before():
    renderer = ImageRenderer(CLASSES)
    renderer.begin(make_episode())
    for step in range(3):
        renderer.record(step, np.array(1))
    renderer.begin(make_episode())
    np.testing.assert_array_equal(renderer.draw(0), draw())


def test_what_a_learner_writes_on_its_images_does_not_show():
    episode = make_episode()
    own = Episode(*(np.array(getattr(episode, name)) for name in Episode.__dataclass_fields__))
    renderer = ImageRenderer(CLASSES)
    renderer.begin(own)
    own.support_x[...] = own.query_x[...] = 0
    np.testing.assert_array_equal(renderer.draw(0), draw())


@pytest.mark.parametrize("num_classes", [2, 13, 25])
def test_up_to_twenty_classes_are_drawn(num_classes):
    episode = make_episode(num_classes, shots=1, channels=3)
    picture = draw(range(num_classes), num_classes=num_classes, episode=episode)
    latest = set(range(min(num_classes, MOST_CLASSES)))
    # Besides them the image asked, the first query, and the one answered last.
    assert steps_shown(picture, episode) == latest | {num_classes - 1, num_classes}
    assert MOST_CLASSES == 20
