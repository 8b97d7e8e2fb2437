"""Learners whose weights change at every step, and what meta-trains and judges them."""

from flp_agents.adapters.gym_agent import GymAgent
from flp_agents.adapters.plain_learner import PlainLearner, as_learner
from flp_agents.adapters.policies import Policy, PolicyLearner
from flp_agents.benchmark.entries import learner_names, register_learner
from flp_agents.benchmark.learner_checker import check_learner
from flp_agents.benchmark.plan import BenchmarkPlan, read_plan
from flp_agents.benchmark.report.page import write_report
from flp_agents.benchmark.running import run_benchmark
from flp_agents.evaluation.scoring import Evaluation, evaluate
from flp_agents.learners.feedback import Feedback
from flp_agents.learners.flp import FLP
from flp_agents.learners.gradient_based import GradientBased
from flp_agents.learners.learner import Learner
from flp_agents.learners.network import FastWeights, Network
from flp_agents.learners.oml import OML
from flp_agents.learners.plasticity import Hebb, NormalisedOja, Oja, register_rule
from flp_agents.learners.plugins import load_plugins, register_class
from flp_agents.lifetime.meta_gradient import (
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
from flp_agents.lifetime.running import Lifetime, run_lifetime
from flp_agents.training.bundled import bundled_checkpoints, load_bundled
from flp_agents.training.checkpoint import Checkpoint, CheckpointError
from flp_agents.training.checkpoint import load as load_checkpoint
from flp_agents.training.factory import LEARNERS, build_learner
from flp_agents.training.meta_trainer import MetaTrainer, MetaTrainingDiverged, OuterStep
from flp_agents.training.presets import PRESETS, Preset, get_preset
from flp_agents.training.saved_learners import save_checkpoint

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
    "Network",
    "NormalisedOja",
    "Oja",
    "OuterStep",
    "PlainLearner",
    "Policy",
    "PolicyLearner",
    "Preset",
    "Reversible",
    "Truncated",
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
