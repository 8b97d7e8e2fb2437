"""What one outer step did."""

from __future__ import annotations

from dataclasses import dataclass

from flp_base.errors import FLPError


def loss_name(outer_objective: str) -> str:
    """What the outer loss of a registered outer objective is called."""
    return "query loss" if outer_objective == "query" else "outer loss"


class MetaTrainingDiverged(FLPError, RuntimeError):
    """Loss or gradient stayed non-finite for too many outer steps in a row."""


def diverged(skipped: int, step: int) -> MetaTrainingDiverged:
    """What is said of so many skipped outer steps in a row, the last of them ``step``."""
    return MetaTrainingDiverged(
        f"the outer loss or its gradient was not finite in {skipped} outer steps in a row, the last of them step "
        f"{step}: lower the initial plasticity coefficient or inner learning rate, or the outer learning rates"
    )


@dataclass(frozen=True)
class OuterStep:
    """What one outer step did.

    Attributes:
        step: how many outer steps are done, this one included.
        outer_loss: what the outer objective makes of the lifetimes, mean over the meta-batch.
        gradient_norm: of all meta-parameters together, before clipping.
        skipped: whether the step was skipped because loss or gradient was not finite.
        skipped_total: how many were skipped so far.
    """

    step: int
    outer_loss: float
    gradient_norm: float
    skipped: bool
    skipped_total: int

    @property
    def query_loss(self) -> float:
        """The outer loss as it is called where it is the query's, with :class:`QueryLoss`, the default."""
        return self.outer_loss
