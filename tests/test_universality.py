"""Networks built by hand answer as any algorithm that they were built for, after every history of a finite domain."""

import itertools
import random
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flp_agents import Hebb, Oja, run_lifetime
from flp_agents.experiments.universality import construct_learner
from flp_agents.lifetime.inner_loop import inner_loop
from flp_base.errors import FLPError, InvalidChoice, InvalidSize
from flp_envs import Episode

INPUTS, TARGETS, STEPS = (-1.0, 0.3, 2.0), (-0.5, 0.7), 3
RULES = [Hebb(), Oja()]


def nearest_neighbour(history, x):
    """The target of the nearest input, of the latest among equals."""
    return min(reversed(history), key=lambda pair: abs(pair[0][0] - x[0]))[1] if history else 0.0


def contrarian(history, x):
    """The most frequent target, whatever the input; its negative if the first input was positive."""
    if not history:
        return 1.5
    [((most,), _)] = Counter(y for _, y in sorted(history)).most_common(1)
    return -most if history[0][0][0] > 0 else most


def forgetful(history, x):
    """The last target, and the input where the last two pairs are equal."""
    return x if history[-1:] == history[-2:-1] else history[-1][1] if history else 9.0


def gradient_descent(history, x):
    """Least mean squares, online: what a backpropagating linear unit answers."""
    slope = intercept = 0.0
    for (seen,), (y,) in history:
        error = y - slope * seen - intercept
        slope, intercept = slope + 0.1 * error * seen, intercept + 0.1 * error
    return slope * x[0] + intercept


def lookup_table(seed, size):
    """An algorithm without any structure: a random answer for every history and input."""
    return lambda history, x: [random.Random(repr((seed, history, x, i))).gauss(0.0, 1.0) for i in range(size)]


def vectors(points):
    return [tuple(np.atleast_1d(point).astype(float).tolist()) for point in points]


def answer_of(algorithm, history, x):
    return np.atleast_1d(np.asarray(algorithm(history, x), np.float32))


def every_history(inputs, targets, steps):
    return list(itertools.product(itertools.product(vectors(inputs), vectors(targets)), repeat=steps))


def episode_of(algorithm, inputs, histories):
    """One lifetime for every history, with every input as query and the algorithm's answer as its target."""
    support_x = np.array([[[x] for x, _ in history] for history in histories])
    support_y = np.array([[[y] for _, y in history] for history in histories])
    queries = vectors(inputs)
    query_x = np.tile(np.array(queries)[:, None], (len(histories), 1, 1, 1))
    query_y = np.array([[[answer_of(algorithm, history, x)] for x in queries] for history in histories])
    no_task = np.zeros((len(histories), 1), np.int64)
    return Episode(
        support_x, support_y, no_task.repeat(support_x.shape[1], 1), query_x, query_y, no_task.repeat(len(queries), 1)
    )


def wrong_answers(learner, algorithm, inputs=INPUTS, targets=TARGETS, steps=STEPS):
    """How many answers differ, by however little, after all histories of a length."""
    episode = episode_of(algorithm, inputs, every_history(inputs, targets, steps))
    with torch.no_grad():
        answers = run_lifetime(learner, episode).query_predictions.numpy()
    return int((answers != episode.query_y).any(-1).sum())


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("algorithm", [nearest_neighbour, contrarian, forgetful, gradient_descent])
def test_answers_as_the_algorithm_after_every_history(algorithm, rule):
    learner = construct_learner(algorithm, INPUTS, TARGETS, STEPS, rule=rule)
    for steps in range(1, STEPS + 1):
        assert wrong_answers(learner, algorithm, steps=steps) == 0


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_answers_as_the_algorithm_at_every_step_on_the_way(rule):
    learner = construct_learner(nearest_neighbour, INPUTS, TARGETS, STEPS, rule=rule)
    histories = every_history(INPUTS, TARGETS, STEPS)
    episode = episode_of(nearest_neighbour, INPUTS, histories)
    answers = []
    with torch.no_grad():
        features = learner.encode(learner.tensor(episode.support_x))
        targets = learner.targets(episode.support_y)
        inner_loop(learner, learner.init(len(histories)), features, targets, answers.append)
    for k, answer in enumerate(answers):
        expected = [answer_of(nearest_neighbour, history[:k], history[k][0]) for history in histories]
        assert np.array_equal(answer[:, 0].numpy(), np.array(expected))


@settings(deadline=None, max_examples=40)
@given(data=st.data(), rule=st.sampled_from(RULES), seed=st.integers(0, 10**6))
def test_answers_as_any_lookup_table(data, rule, seed):
    sizes = [(1, 2, 1), (1, 2, 6), (1, 3, 4), (2, 2, 4), (3, 2, 2), (2, 5, 2), (5, 3, 1)]
    m, p, steps = data.draw(st.sampled_from(sizes), label="inputs, targets and steps")
    in_size, out_size = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), label="sizes of x and y")

    def points(n, size):
        point = st.tuples(*[st.integers(-50, 50).map(lambda i: i / 7)] * size)
        return data.draw(st.lists(point, min_size=n, max_size=n, unique=True))

    inputs, targets = points(m, in_size), points(p, out_size)
    algorithm = lookup_table(seed, out_size)
    learner = construct_learner(algorithm, inputs, targets, steps, rule=rule)
    assert wrong_answers(learner, algorithm, inputs, targets, steps) == 0


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_inputs_and_targets_may_be_arrays(rule):
    """Small images, and labels as one-hot vectors; the algorithm stores pairs by heart."""
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8))
    labels = np.eye(2)

    def memorise(history, x):
        return dict(history).get(x, (0.5, 0.5))

    learner = construct_learner(memorise, images, labels, 3, rule=rule)
    assert wrong_answers(learner, memorise, images.reshape(3, -1), labels) == 0


def test_layers_have_the_sizes_that_the_docs_state():
    learner = construct_learner(nearest_neighbour, INPUTS, TARGETS, STEPS)
    assert learner.layers.network.widths == (1, 6, 4, 4, 11, 16, 16, 25, 3 * (1 + 6 + 36 + 216), 1)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("removed", ["feedback", "hidden feedback", "clock", "memory", "strength"])
def test_needs_every_part(removed, rule):
    learner = construct_learner(nearest_neighbour, INPUTS, TARGETS, STEPS, rule=rule)
    part = {
        "feedback": learner.pathways[4].weights[1],
        "hidden feedback": learner.pathways[4].weights[0],
        "clock": learner.coefficients[0],
        "memory": learner.coefficients[4],
        "strength": learner.strengths[4],
    }[removed]
    with torch.no_grad():
        part.zero_()
    assert wrong_answers(learner, nearest_neighbour) > 100


def test_only_two_layers_change_and_they_do():
    learner = construct_learner(nearest_neighbour, INPUTS, TARGETS, STEPS)
    episode = episode_of(nearest_neighbour, INPUTS, every_history(INPUTS, TARGETS, STEPS))
    with torch.no_grad():
        lived = run_lifetime(learner, episode).state.weights
    born = learner.init(len(episode)).weights
    assert [not torch.equal(a, b) for a, b in zip(born, lived, strict=True)] == [True, *[False] * 3, True, *[False] * 2]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"steps": 6}, InvalidSize, "3 inputs, 2 targets and 6 steps take more than 20000 neurons"),
        ({"steps": 10**6}, InvalidSize, "3 inputs, 2 targets and 1000000 steps take more than 20000 neurons"),
        ({"steps": 0}, InvalidSize, "steps must be a whole number of at least 1, got 0"),
        ({"inputs": []}, InvalidSize, "the number of inputs must be a whole number of at least 1, got 0"),
        ({"targets": [1.0]}, InvalidSize, "the number of targets must be a whole number of at least 2, got 1"),
        ({"inputs": [0.0, 1.0, 0.0]}, FLPError, "inputs must differ"),
        ({"inputs": [0.0, 0.0]}, FLPError, "inputs must differ"),
        ({"targets": [1e6, 1e6 + 1]}, FLPError, "targets must differ by at least 1e-05 of the largest number"),
        ({"inputs": [0.0, float("nan")]}, FLPError, "inputs must be numbers up to 1e+30"),
        ({"inputs": [0.0, 1e300]}, FLPError, "inputs must be numbers up to 1e+30"),
        ({"inputs": [0.0, 1e-40]}, FLPError, "inputs must differ"),
        ({"inputs": [[], []]}, FLPError, "inputs must be numbers up to 1e+30"),
        ({"inputs": [(0.0,), (1.0, 2.0)]}, FLPError, "inputs must be numbers, or vectors of equal length"),
        (
            {"algorithm": lambda history, x: (1.0, 2.0)},
            FLPError,
            "the algorithm must return 1 numbers up to 1e+30",
        ),
        (
            {"algorithm": lambda history, x: float("inf")},
            FLPError,
            "the algorithm must return 1 numbers up to 1e+30",
        ),
        ({"rule": lambda *arguments: None}, InvalidChoice, "unknown plasticity rule for the construction 'function'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else str(value),
)
def test_bad_input_gets_one_clear_line(change, error, words):
    arguments = {"algorithm": nearest_neighbour, "inputs": INPUTS, "targets": TARGETS, "steps": 2, **change}
    with pytest.raises(error, match=re.escape(words)) as raised:
        construct_learner(**arguments)
    assert "\n" not in str(raised.value)
