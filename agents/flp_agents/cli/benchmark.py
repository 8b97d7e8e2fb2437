"""What ``flp benchmark``, ``flp report`` and ``flp check-learner`` do."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from flp_agents.benchmark.learner_checker import check_learner as check
from flp_agents.benchmark.plan import BenchmarkPlan, read_plan
from flp_agents.benchmark.reading import read_results
from flp_agents.benchmark.report.leaderboard import make_leaderboards
from flp_agents.benchmark.report.page import write_report
from flp_agents.benchmark.report.tables import FEW, summary_rows
from flp_agents.benchmark.results import CellResult
from flp_agents.benchmark.running import run_benchmark
from flp_agents.cli.given import env_options, typed_command
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import Summary
from flp_agents.support.printed_tables import print_table
from flp_agents.support.processes import usable_cores


def benchmark(options: argparse.Namespace) -> int:
    """``flp benchmark``."""
    plan = read_plan(Path(options.plan)) if options.plan else BenchmarkPlan()
    given: dict[str, Any] = {
        "learners": options.learners,
        "envs": options.envs,
        "seeds": options.seeds,
        "episodes": options.episodes,
        "split": options.split,
        "env_options": env_options(options),
        "plugins": options.plugin,
        "cell_minutes": options.cell_minutes,
    }
    # What is empty was not typed: an option that takes several has at least one.
    plan = replace(plan, **{key: value for key, value in given.items() if value not in (None, [], {})})
    folder, jobs = Path(options.output), usable_cores() if options.jobs is None else options.jobs
    plan.check()
    with _show_cells(plan.size) as on_cell:
        results = run_benchmark(
            plan,
            folder,
            jobs=jobs,
            backend=options.backend,
            retry_failed=options.retry_failed,
            rerun=options.rerun,
            command=typed_command(options.arguments),
            on_cell=on_cell,
        )
    _, left_out = read_results(folder)
    if options.json:
        print(json.dumps({"rows": summary_rows(results), "left_out": left_out}, allow_nan=False))
    else:
        _print_tables(results)
        for line in left_out:
            print(f"left out: {line}")
        print(f"results: {folder / 'results.csv'}, {folder / 'summary.json'}; a page of them: flp report {folder}")
    return 1 if all(result.failure is not None for result in results) else 0


def report(options: argparse.Namespace) -> int:
    """``flp report``."""
    path = write_report(Path(options.results), None if options.output is None else Path(options.output))
    print(f"report: {path}")
    return 0


def check_learner(options: argparse.Namespace) -> int:
    """``flp check-learner``."""
    findings = check(options.learner, options.envs or None)
    if options.json:
        rows = [{"check": f.check, "env": f.env, "passed": f.passed, "words": f.words} for f in findings]
        print(json.dumps({"learner": options.learner, "findings": rows}))
    else:
        console = Console(soft_wrap=True)
        for finding in findings:
            mark = "[green]right[/green]" if finding.passed else "[red]WRONG[/red]"
            console.print(f"{mark}  {escape(f'{finding.env}  {finding.check}')}", highlight=False)
            if not finding.passed:
                console.print(f"       {finding.words}", highlight=False, markup=False)
        wrong = sum(not finding.passed for finding in findings)
        print(f"{options.learner}: {len(findings) - wrong} checks right, {wrong} wrong")
    return 0 if all(finding.passed for finding in findings) else 1


@contextmanager
def _show_cells(total: int) -> Iterator[Callable[[CellResult], None]]:
    """A bar on a terminal, a line for each cell elsewhere; on standard error, as standard output is for results."""
    console = Console(stderr=True, soft_wrap=True)
    done = 0

    def line(result: CellResult) -> str:
        cell = result.cell
        score = f"{sum(values) / len(values):.4g}" if (values := result.scores.get("query_score")) else ""
        outcome = f"failed: {result.failure}" if result.failure is not None else f"{result.metric} {score}"
        return f"{cell.env} {cell.learner} seed {cell.seed}: {outcome}"

    if not console.is_terminal:

        def print_line(result: CellResult) -> None:
            nonlocal done
            done += 1
            console.print(f"{done}/{total}  {line(result)}", markup=False, highlight=False)

        yield print_line
        return
    columns = (
        TextColumn("cells"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, last="")

        def advance(result: CellResult) -> None:
            progress.update(task, advance=1, last=escape(line(result)))
            if result.failure is not None:
                progress.console.print(line(result), markup=False)

        yield advance


def _print_tables(results: Sequence[CellResult]) -> None:
    """For each setting, its learners with the most important metrics, best first."""
    shown = ("query_score", "prequential_score", "forgetting", "backward_transfer", "forward_transfer")
    console = Console(soft_wrap=True)
    for leaderboard in make_leaderboards(results):
        title = ", ".join(filter(None, (leaderboard.setting.env, leaderboard.setting.split, leaderboard.metric)))
        table = Table(title=Text(title), box=None, padding=(0, 2, 0, 0), title_justify="left")
        table.add_column("learner", overflow="fold")
        table.add_column("replicates", justify="right", no_wrap=True)
        for name in shown:
            table.add_column(METRICS[name].title, justify="right")
        for entry in leaderboard.ranked:
            figures = (_figure(entry.summaries.get(name)) for name in shown)
            table.add_row(Text(entry.name), entry.replicates, *figures)
        if leaderboard.ranked:
            print_table(table)
            _print_line(console, "In brackets: standard errors over episodes, with these networks and seeds.")
        else:
            _print_line(console, title)
        if any(entry.has_few_replicates for entry in leaderboard.ranked):
            _print_line(console, FEW)
        for entry in leaderboard.rows:
            for result in entry.failures:
                _print_line(console, f"{entry.name} failed (seed {result.cell.seed}): {result.failure}")
        console.print()


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


def _figure(summary: Summary | None) -> str:
    """``0.0123 (0.0004)``: mean, and its standard error over episodes."""
    if summary is None:
        return ""
    error = summary.standard_error_over_episodes
    return f"{summary.mean:.3g}" + ("" if math.isnan(error) else f" ({error:.2g})")
