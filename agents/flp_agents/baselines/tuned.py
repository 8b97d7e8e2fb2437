"""The hyperparameters of baselines: the best of nine trials each, in every kind of environment.

Tuned on meta-train episodes only, by ``python benchmarks/tune_baselines.py``, which writes
``results/tuning_of_baselines.csv`` and prints what stands here.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from flp_agents.training.factory import kind_of

# By learner, then by environment id without its version. A learner that is not listed for an environment takes what was
# tuned on the same schedule in the family that stands for its kind, or else on any.
TUNED: dict[str, dict[str, dict[str, Any]]] = {
    "sgd": {
        "FLPSine-IID": {"clip": 3.0, "rate": 0.1},
        "FLPSine-Continual": {"clip": 3.0, "rate": 0.1},
        "FLPGlyph-IID": {"clip": 1.0, "rate": 0.1},
        "FLPGlyph-Continual": {"clip": 10.0, "rate": 0.01},
    },
    "adam": {
        "FLPSine-IID": {"rate": 0.003},
        "FLPSine-Continual": {"rate": 0.0003},
        "FLPGlyph-IID": {"rate": 0.003},
        "FLPGlyph-Continual": {"rate": 0.001},
    },
    "sgd-meta-trained": {
        "FLPSine-IID": {"clip": 100.0, "rate": 0.001},
        "FLPSine-Continual": {"clip": 100.0, "rate": 0.001},
        "FLPOmniglot-IID": {"clip": 100.0, "rate": 0.01},
        "FLPOmniglot-Continual": {"clip": 100.0, "rate": 0.003},
    },
    "adam-meta-trained": {
        "FLPSine-IID": {"rate": 0.0001},
        "FLPSine-Continual": {"rate": 0.0001},
        "FLPOmniglot-IID": {"rate": 0.001},
        "FLPOmniglot-Continual": {"rate": 0.0003},
    },
    "direct-feedback-alignment": {
        "FLPSine-IID": {"rate": 0.005},
        "FLPSine-Continual": {"rate": 0.001},
        "FLPGlyph-IID": {"rate": 0.003},
        "FLPGlyph-Continual": {"rate": 0.002},
    },
    "feedback-alignment": {
        "FLPSine-IID": {"rate": 0.005},
        "FLPSine-Continual": {"rate": 0.001},
        "FLPGlyph-IID": {"rate": 0.005},
        "FLPGlyph-Continual": {"rate": 0.005},
    },
    "experience-replay": {
        "FLPSine-IID": {"memory_size": 500, "rate": 0.005},
        "FLPSine-Continual": {"memory_size": 500, "rate": 0.01},
        "FLPGlyph-IID": {"memory_size": 10, "rate": 0.005, "replayed": 10},
        "FLPGlyph-Continual": {"memory_size": 10, "rate": 0.002, "replayed": 10},
    },
    "ewc": {
        "FLPSine-IID": {"every": 25, "rate": 0.01, "strength": 100.0},
        "FLPSine-Continual": {"every": 25, "rate": 0.03, "strength": 1000.0},
        "FLPGlyph-IID": {"every": 4, "rate": 0.003, "strength": 1000.0},
        "FLPGlyph-Continual": {"every": 4, "rate": 0.003, "strength": 10000.0},
    },
    "joint-training": {
        "FLPSine-IID": {"batch": 128, "passes": 5, "rate": 0.02},
        "FLPSine-Continual": {"batch": 128, "passes": 5, "rate": 0.02},
        "FLPGlyph-IID": {"batch": 5, "passes": 10, "rate": 0.005},
        "FLPGlyph-Continual": {"batch": 5, "passes": 10, "rate": 0.01},
    },
    "nearest-neighbour": {
        "FLPSine-IID": {"neighbours": 2},
        "FLPSine-Continual": {"neighbours": 2},
        "FLPGlyph-IID": {"neighbours": 1},
        "FLPGlyph-Continual": {"neighbours": 1},
    },
    "kernel": {
        "FLPSine-IID": {"bandwidth": 0.002},
        "FLPSine-Continual": {"bandwidth": 0.002},
        "FLPGlyph-IID": {"bandwidth": 0.1},
        "FLPGlyph-Continual": {"bandwidth": 1.0},
    },
    "ridge": {
        "FLPSine-IID": {"bandwidth": 0.2, "features": 128, "penalty": 1e-06},
        "FLPSine-Continual": {"bandwidth": 0.2, "features": 128, "penalty": 1e-06},
        "FLPGlyph-IID": {"bandwidth": 20.0, "features": 128, "penalty": 0.1},
        "FLPGlyph-Continual": {"bandwidth": 20.0, "features": 128, "penalty": 0.1},
    },
}
_STANDS_FOR = {"numbers": "FLPSine", "images": "FLPGlyph"}


def tuned_for(name: str, env: gym.Env[Any, Any]) -> dict[str, Any]:
    """A learner's settings in an environment, by the environment's id and its spaces; none of one that is not tuned."""
    return dict(TUNED[name][tuned_on(name, env)]) if name in TUNED else {}


def tuned_on(name: str, env: gym.Env[Any, Any]) -> str:
    """Where a learner's settings in an environment were chosen: an id without its version; empty if they were not."""
    known = TUNED.get(name)
    if known is None:
        return ""
    env_id = env.spec.id.rpartition(":")[2] if env.spec is not None else ""
    schedule = "IID" if "-IID-" in env_id else "Continual"
    wanted = (env_id.removesuffix("-v0"), f"{_STANDS_FOR[kind_of(env)]}-{schedule}", next(iter(known)))
    return next(key for key in wanted if key in known)
