"""A memory strategy of your own: the gradient goes through the second half of a lifetime.

flp train --plugin examples/plugins/strategy.py --meta-gradient second-half --output runs/second-half
"""

from dataclasses import dataclass

from flp_agents import MemoryStrategy, Truncated, register_strategy


@register_strategy("second-half")
@dataclass(frozen=True)
class SecondHalf(MemoryStrategy):
    """As ``Truncated``, to half of the inner steps, however many a lifetime has."""

    def rollout(self, learner, state, features, targets, *, online):
        """Runs through features and targets ``(E, T, B, ...)``, from the state before the first of the T steps."""
        truncated = Truncated(features.shape[1] // 2)
        return truncated.rollout(learner, state, features, targets, online=online)
