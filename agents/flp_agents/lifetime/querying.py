"""A lifetime that is queried along the way, step by step: what records, analyses and the learner checker share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.inner_loop import inner_loop
from flp_agents.lifetime.running import EpisodeTensors


class Queried(NamedTuple):
    """``E`` lifetimes at a moment when they are queried.

    Attributes:
        step: support steps done.
        state: after these.
        predictions: ``(E, Q, B, n_y)`` of the query, which leaves the state as it is.
        seconds: of the processor's time for the support steps since the previous query.
    """

    step: int
    state: Any
    predictions: Tensor
    seconds: float


def run_and_query(
    learner: Learner[Any],
    episode: EpisodeTensors,
    at: Iterable[int],
    on_prediction: Callable[[Tensor], None] | None = None,
) -> Iterator[Queried]:
    """Runs through ``E`` episodes, and queries the learner along the way.

    Args:
        learner: runs through them.
        episode: theirs.
        at: numbers of support steps after which the query is predicted, ascending; 0 is in the initial state.
        on_prediction: is given every support step's prediction ``(E, B, n_y)``, before its target is seen.

    Yields:
        The lifetimes at each of these moments.
    """
    support, query = learner.encode(episode.support_x), learner.encode(episode.query_x)
    state, done = learner.init(len(support)), 0
    for step in at:
        part, started = slice(done, step), time.process_time()
        state = inner_loop(learner, state, support[:, part], episode.support_y[:, part], on_prediction)
        seconds = time.process_time() - started
        yield Queried(step, state, learner.predict_all(state, query), seconds)
        done = step
