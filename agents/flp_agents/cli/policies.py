"""What ``flp train-sb3`` does."""

from __future__ import annotations

import argparse
from pathlib import Path

from flp_agents.cli.given import env_options, named_values, prepare_torch, result_in_words, typed_command
from flp_agents.support.plugins import without_module
from flp_agents.support.progress import show_steps
from flp_agents.training.plan import split_to_evaluate_on
from flp_agents.training.policy_training import PolicyPlan, PolicyTraining
from flp_agents.training.run import FINAL_SEED
from flp_base.errors import check_at_least


def train_sb3(options: argparse.Namespace) -> int:
    """``flp train-sb3``."""
    check_at_least("test-episodes", options.test_episodes, 1)
    prepare_torch("cpu", options.threads)
    named = env_options(options)
    plan = PolicyPlan(
        algorithm=options.algorithm,
        env=options.env,
        env_options=named,
        train_options=named_values("--train-option", options.train_option),
        env_steps=options.env_steps,
        seed=options.seed or 0,
        command=typed_command(options.arguments),
        evaluate_on=split_to_evaluate_on(options.env, named, options.evaluate_on),
        plugins=options.plugin,
    )
    env_name = without_module(plan.env)
    training = PolicyTraining(plan, Path(options.output or f"runs/{env_name}-{plan.algorithm}-{plan.seed}"))
    print(f"training {plan.algorithm} on {plan.env}, seed {plan.seed}, into {training.folder}")
    # Until the evaluation is written as well.
    with training.held():
        with show_steps("environment step", training.total) as show:
            interrupted = training.run(lambda step, returned: show(step, f"mean return {returned:.4f}"))
        result = None if interrupted else training.evaluate(episodes=options.test_episodes, seed=FINAL_SEED)
    if result is None:
        print(f"interrupted: {training.folder} holds the policy after {training.done} environment steps")
        return 130
    print(result_in_words(training.seconds, result))
    return 0
