"""``flp demo``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from flp_agents.cli.given import prepare_torch
from flp_agents.experiments.demo import run_demo
from flp_agents.support.provenance import machine
from flp_base.errors import check_at_least, check_number


def demo(options: argparse.Namespace) -> int:
    """``flp demo``."""
    check_at_least("episodes", options.episodes, 2)
    check_number("train-seconds", options.train_seconds, least=0)
    prepare_torch("cpu", options.threads)
    started = time.monotonic()
    folder = Path(options.output)
    run_demo(folder, episodes=options.episodes, train_seconds=options.train_seconds, seed=options.seed or 0)
    print(f"done in {time.monotonic() - started:.0f} s on {machine()}")
    return 0
