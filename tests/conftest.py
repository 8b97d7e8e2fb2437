"""Fixtures and helpers that several test modules share."""

import numpy as np
import pytest
import torch

from flp_envs import Episode, SineTask

torch.set_num_threads(1)


def small_episode(seed: int = 0, n: int = 1, **options: object) -> Episode:
    """A short episode in float64: 2 functions, 3 minibatches of 4 pairs each."""
    sizes = {"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4, **options}
    episode = SineTask(**sizes).sample(np.random.default_rng(seed), n)
    double = {
        name: getattr(episode, name).astype(np.float64) for name in ("support_x", "support_y", "query_x", "query_y")
    }
    return Episode(
        double["support_x"],
        double["support_y"],
        episode.support_task,
        double["query_x"],
        double["query_y"],
        episode.query_task,
    )


@pytest.fixture
def episode() -> Episode:
    """See :func:`small_episode`."""
    return small_episode()
