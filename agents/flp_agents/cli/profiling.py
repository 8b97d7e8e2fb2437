"""What ``flp bench`` does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from flp_agents.cli.given import prepare_torch, typed_command
from flp_agents.experiments.profiling.report import table, write_report
from flp_agents.experiments.profiling.run import CONFIGURATIONS, QUICK_SECONDS, strategies
from flp_agents.experiments.profiling.run import bench as run_bench
from flp_base.errors import check_number


def bench(options: argparse.Namespace) -> int:
    """``flp bench``."""
    check_number("seconds", options.seconds, least=0)
    device = prepare_torch(options.device, options.threads, large=True)
    with _show_rounds() as on_round:
        on_round("preparing")
        results = run_bench(
            seconds=QUICK_SECONDS if options.quick else options.seconds,
            device=device,
            whole_round=options.quick,
            on_round=on_round,
        )
    timed = sum(name != "jax" for of_configuration in results.values() for name in of_configuration)
    there_are = sum(len(strategies(learner)) for learner, _ in CONFIGURATIONS.values())
    if timed < there_are:
        missing = f"{options.seconds:g} s were enough for {timed} of {there_are} strategies"
        print(f"{missing}: a larger --seconds, or --quick, times all of them", file=sys.stderr)
    if options.output:
        write_report(results, Path(options.output), typed_command(options.arguments))
    print(json.dumps(results, allow_nan=False) if options.json else table(results))
    return 0


@contextmanager
def _show_rounds() -> Iterator[Callable[[str], None]]:
    """What is being timed: one line that changes on a terminal, elsewhere a line for each, on standard error."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        yield lambda text: print(text, file=sys.stderr, flush=True)
