"""Learners whose weights change at every step, and what meta-trains and judges them."""

from flp_agents.benchmark.plan import BenchmarkPlan, read_plan
from flp_agents.benchmark.running import run_benchmark
from flp_agents.bundled import bundled_checkpoints, load_bundled
from flp_agents.checkpoint import Checkpoint, CheckpointError
from flp_agents.checkpoint import load as load_checkpoint
from flp_agents.conformance import check_learner
from flp_agents.evaluation import Evaluation, evaluate
from flp_agents.factory import LEARNERS, build_learner
from flp_agents.feedback import Feedback
from flp_agents.flp import FLP
from flp_agents.gradient_based import GradientBased
from flp_agents.gym_agent import GymAgent
from flp_agents.learner import Learner
from flp_agents.lifetime import Lifetime, run_lifetime
from flp_agents.meta_gradient import (
    STRATEGIES,
    Autograd,
    ByAutograd,
    Checkpointed,
    Full,
    MetaGradient,
    Reversible,
    Truncated,
    UnsupportedStrategy,
)
from flp_agents.meta_trainer import MetaTrainer, MetaTrainingDiverged, OuterStep
from flp_agents.network import FastWeights, Network
from flp_agents.oml import OML
from flp_agents.outer_objectives import Mixed, OnlineLoss, OuterObjective, QueryLoss, UnsupportedObjective
from flp_agents.plain_learner import PlainLearner, as_learner
from flp_agents.plasticity import Hebb, NormalisedOja, Oja, register_rule
from flp_agents.plugins import load_plugins, register_class
from flp_agents.policies import Policy, PolicyLearner
from flp_agents.presets import PRESETS, Preset, get_preset
from flp_agents.registry import learner_names, register_learner
from flp_agents.report.page import write_report
from flp_agents.saved_trainers import save_checkpoint

__all__ = [
    "FLP",
    "LEARNERS",
    "OML",
    "PRESETS",
    "STRATEGIES",
    "Autograd",
    "BenchmarkPlan",
    "ByAutograd",
    "Checkpoint",
    "CheckpointError",
    "Checkpointed",
    "Evaluation",
    "FastWeights",
    "Feedback",
    "Full",
    "GradientBased",
    "GymAgent",
    "Hebb",
    "Learner",
    "Lifetime",
    "MetaGradient",
    "MetaTrainer",
    "MetaTrainingDiverged",
    "Mixed",
    "Network",
    "NormalisedOja",
    "Oja",
    "OnlineLoss",
    "OuterObjective",
    "OuterStep",
    "PlainLearner",
    "Policy",
    "PolicyLearner",
    "Preset",
    "QueryLoss",
    "Reversible",
    "Truncated",
    "UnsupportedObjective",
    "UnsupportedStrategy",
    "as_learner",
    "build_learner",
    "bundled_checkpoints",
    "check_learner",
    "evaluate",
    "get_preset",
    "learner_names",
    "load_bundled",
    "load_checkpoint",
    "load_plugins",
    "read_plan",
    "register_class",
    "register_learner",
    "register_rule",
    "run_benchmark",
    "run_lifetime",
    "save_checkpoint",
    "write_report",
]
