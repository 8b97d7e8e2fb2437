"""What ``flp list`` prints."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import flp_envs
from flp_agents.benchmark import entries
from flp_agents.benchmark.report.formats import ERROR_DIGITS, plain
from flp_agents.benchmark.report.leaderboard import UNITS
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.learners.pathways.pathway import PATHWAYS
from flp_agents.learners.plasticity.rule import RULES
from flp_agents.learners.registered import LEARNERS
from flp_agents.lifetime.estimators.estimator import ESTIMATORS
from flp_agents.lifetime.outer_objectives.outer_objective import OUTER_OBJECTIVES
from flp_agents.lifetime.strategies.strategy import STRATEGIES
from flp_agents.training import bundled, presets
from flp_agents.training.lifetime_schedules.lifetime_schedule import LIFETIME_SCHEDULES

WIDTH = 79


def list_everything(options: argparse.Namespace) -> int:
    """``flp list``."""
    others = {*LEARNERS, *bundled.bundled_checkpoints()}
    names = {
        "environments": flp_envs.known_ids(),
        "learners": list(LEARNERS),
        "baselines": [name for name in entries.learner_names() if name not in others],
        "presets": list(presets.PRESETS),
        "plasticity rules": list(RULES),
        "feedback pathways": list(PATHWAYS),
        "outer objectives": list(OUTER_OBJECTIVES),
        "lifetime schedules": list(LIFETIME_SCHEDULES),
        "estimators": list(ESTIMATORS),
        "memory strategies": list(STRATEGIES),
        "metrics": list(METRICS),
    }
    checkpoints = bundled.describe_bundled()
    if options.json:
        print(json.dumps({**names, "checkpoints": checkpoints}, allow_nan=False))
        return 0
    for kind, valid in names.items():
        print(_filled(kind, valid))
    print("\nbundled checkpoints by environment: name, preset, score (standard error)")
    width, preset_width = (max((len(row[key] or "") for row in checkpoints), default=0) for key in ("name", "preset"))
    for env in sorted({str(row["env"]) for row in checkpoints}):
        of_env = [row for row in checkpoints if row["env"] == env]
        # Of one environment, so that all scores of a column are in one unit.
        results = [row["result"] for row in of_env if row["result"]]
        about = {(result.get("split", ""), UNITS.get(result["metric"], result["metric"])) for result in results}
        print("\n" + ", ".join(filter(None, [env, *itertools.chain(*sorted(about))])))
        for row in of_env:
            print(f"  {row['name']:{width}}  {row['preset'] or '':{preset_width}}  {_listed(row['result'])}".rstrip())
    return 0


def _listed(result: Mapping[str, Any] | None) -> str:
    """``0.000370 (7.1e-06)``."""
    if not result:
        return ""
    mean, error = (math.nan if result[key] is None else result[key] for key in ("mean", "standard_error"))
    return f"{plain(mean)} ({plain(error, ERROR_DIGITS)})"


def _filled(kind: str, names: Sequence[str]) -> str:
    """Names on lines of at most 79 characters, broken between names only."""
    line = f"{kind}: {', '.join(names)}"
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
