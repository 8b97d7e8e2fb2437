"""The settings of the outer loop, which are the same for all learners."""

from __future__ import annotations

from dataclasses import dataclass

from flp_agents.lifetime.estimators.estimator import ESTIMATORS
from flp_agents.lifetime.outer_objectives.outer_objective import OUTER_OBJECTIVES
from flp_agents.support.precision import PRECISIONS
from flp_agents.support.settings import Section, option, register_settings
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES
from flp_agents.training.schedules import SCHEDULES


@register_settings("outer-loop")
@dataclass(frozen=True)
class OuterLoopSettings(Section):
    """Of the outer loop, with an outer learning rate for each kind of meta-parameter; the defaults are the paper's."""

    outer_steps: int = option(20_000, "outer steps", least=1)
    meta_batch: int = option(1, "lifetimes for each outer step", least=1)
    gradient_clip: float = option(0.0, "largest norm of the meta-gradient; 0: no clipping", least=0)
    schedule: str = option("constant", "of the outer learning rates", choices=SCHEDULES)
    warm_up: int = option(0, "outer steps over which the outer learning rates rise from 0")
    restart_adam_every: int = option(0, "outer steps after which Adam forgets its moments; 0: never")
    lifetimes: str = option("cheaper-first", "schedule of the lifetimes of each outer step", choices=LIFETIME_SCHEDULES)
    short_outer_steps: int = option(0, "outer steps on other lifetimes first: shorter ones, or ones of more classes")
    short_steps_per_function: int = option(8, "sine waves: minibatches for each function in those", least=1)
    first_classes: int = option(20, "labels: classes in those", least=2)
    first_meta_batch: int = option(0, "lifetimes for each of those outer steps; 0: as many as later")
    outer_objective: str = option(
        "query", "loss that is made small, on the query or along the way", choices=OUTER_OBJECTIVES
    )
    estimator: str = option("backpropagation", "of the outer gradient", choices=ESTIMATORS)
    precision: str = option(
        "float32", "of products; tf32: all, on a GPU; bfloat16: the trunk's", choices=(*PRECISIONS, "tf32")
    )
    device_data: bool = option(False, "draw meta-training lifetimes on the device (sine waves)")
    cuda_graph: bool = option(False, "record loss and gradient as a CUDA graph")
    rate_weights: float = option(1e-4, "outer learning rate of initial weights and biases", least=0)
    rate_feedback: float = option(1e-4, "outer learning rate of feedback weights and biases", least=0)
    rate_coefficients: float = option(1e-8, "outer learning rate of plasticity coefficients", least=0)
    rate_strengths: float = option(1e-4, "outer learning rate of feedback strengths", least=0)
    rate_inner_rates: float = option(0.01, "outer learning rate of inner learning rates", least=0)

    @property
    def rates(self) -> dict[str, float]:
        """Outer learning rates by kind of meta-parameter."""
        return {name.removeprefix("rate_"): getattr(self, name) for name in vars(self) if name.startswith("rate_")}
