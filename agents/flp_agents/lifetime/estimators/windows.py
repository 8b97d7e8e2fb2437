"""Truncated back-propagation with carried state: an outer step for every window of a lifetime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from flp_agents.learners.learner import Learner
from flp_agents.lifetime.estimators.backpropagation import backpropagate
from flp_agents.lifetime.estimators.estimator import Estimate, Estimator, UnsupportedEstimator, register_estimator
from flp_agents.lifetime.outer_objectives.outer_objective import OuterObjective, UnsupportedObjective
from flp_agents.lifetime.running import EpisodeTensors
from flp_agents.lifetime.strategies.store_all import Full
from flp_agents.lifetime.strategies.strategy import MetaGradient
from flp_agents.support.settings import Section, option, register_settings
from flp_base.errors import check_at_least


@register_settings("windows")
@dataclass(frozen=True)
class WindowsSettings(Section):
    """Of back-propagation through windows of lifetimes."""

    window: int = option(0, "windows: inner steps of each outer step, the state carried to the next")


@register_estimator("windows")
@dataclass(frozen=True)
class Windows(Estimator):
    """Splits a lifetime into windows, each an outer step; the learner's state is carried from window to window.

    The carried state has no graph, so an outer step takes the memory and the time of one window, however long the
    lifetime is, and the gradient leaves out what an earlier window does to a later one. Initial weights of plastic
    layers get a gradient in the first window only, and are not moved in the others. The outer objective is applied
    within the window: ``OnlineLoss`` to its own predictions, ``QueryLoss`` to the query after it, see
    :meth:`flp_agents.lifetime.in_progress.LifetimesInProgress.tensors`.

    Source: Williams & Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
    Trajectories", for truncation; with state carried over as in training of recurrent networks on long texts.

    Attributes:
        steps: inner steps of a window. The last one of a lifetime may be shorter; a lifetime that is no longer than a
            window is one window, and the gradient is that of :class:`Backpropagation`.
        strategy: what is kept of a window.

    Raises:
        InvalidSize: for fewer steps than 1.
    """

    steps: int
    strategy: MetaGradient = Full()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", check_at_least("steps of Windows", self.steps, 1))

    @property
    def window(self) -> int:
        return self.steps

    def check(self, learner: Learner[Any], steps: int) -> None:
        """Makes sure that the strategy fits every window, the last one included, and that the state can be carried."""
        for window in {min(self.steps, steps), steps % self.steps} - {0}:
            self.strategy.check(learner, window)

    def init(self, learner: Learner[Any], n: int) -> Any:
        state = learner.init(n)
        for leaf in pytree.tree_leaves(state):
            if not isinstance(leaf, Tensor) or leaf.shape[:1] != (n,):
                held = f"one of shape {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__
                raise UnsupportedEstimator(
                    f"Windows carries the state of {type(learner).__name__} from window to window: expected a nest of "
                    f"tensors with the {n} lifetimes first, got {held} in it: use Backpropagation"
                )
        return state

    def differentiate(
        self, learner: Learner[Any], episodes: EpisodeTensors, state: Any, outer_objective: OuterObjective
    ) -> Estimate:
        try:
            loss, after = backpropagate(self.strategy, learner, episodes, state, outer_objective)
        except UnsupportedObjective:
            if any(leaf.requires_grad for leaf in pytree.tree_leaves(state)):
                raise
            raise UnsupportedEstimator(
                f"{outer_objective} of {type(learner).__name__} depends on its meta-parameters through its initial "
                "state at most, which gets a gradient in the first window only: use Backpropagation, or freeze a layer"
            ) from None
        # Cloned: a view would keep all that the window kept.
        return Estimate(loss, pytree.tree_map(lambda leaf: leaf.detach().clone(), after))
