"""What ``flp reproduce`` does."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from rich.table import Table as ShownTable

from flp_agents.cli.given import prepare_torch, typed_command
from flp_agents.experiments.reproduction.analysing import AnalysedNetwork, analyse_networks
from flp_agents.experiments.reproduction.claims import claims_of
from flp_agents.experiments.reproduction.evaluating import part_of, reproduce_table
from flp_agents.experiments.reproduction.figure_2 import write_figure_2
from flp_agents.experiments.reproduction.findings import HEADINGS, Claim, read_findings, write_claims
from flp_agents.experiments.reproduction.learning_curves import keep_curves, kept_curves, write_curves
from flp_agents.experiments.reproduction.results import NO_DATA, figure, published_figure
from flp_agents.experiments.reproduction.running import How, OnProgress, missing_data
from flp_agents.experiments.reproduction.section_7_1 import PROTOCOLS, reproduce_section_7_1
from flp_agents.experiments.reproduction.section_7_1_report import rows_of, write_section_7_1
from flp_agents.experiments.reproduction.tables import SCALES, TABLE_1, TABLE_2, TABLES, Network, Table
from flp_agents.support.printed_tables import print_table
from flp_agents.support.processes import usable_cores
from flp_agents.support.progress import show_steps
from flp_base.errors import FLPError, check_at_least, check_choice, check_number
from flp_datasets.roots import VARIABLE, named_root
from flp_envs.rendering import require_matplotlib

ANALYSED_EPISODES = 16


def reproduce(options: argparse.Namespace) -> int:
    """``flp reproduce``."""
    check_choice("scale", options.scale, SCALES)
    check_choice("table or figure", options.what, WHAT)
    if options.minutes is not None:
        check_number("minutes", options.minutes, above=0)
    for name in ("jobs", "episodes", "networks"):
        if getattr(options, name) is not None:
            check_at_least(name, getattr(options, name), 1)
    if options.data_root is not None:
        os.environ[VARIABLE] = str(named_root(options.data_root))
    if Path(options.output).exists() and not Path(options.output).is_dir():
        raise FLPError(f"{options.output} is not a folder: choose another --output")
    how = How(
        folder=Path(options.output),
        retrain=options.retrain,
        complete=options.complete,
        jobs=options.jobs or (1 if options.device.startswith("cuda") else usable_cores()),
        device=prepare_torch(options.device, None),
        stop_after_seconds=None if options.minutes is None else options.minutes * 60,
    )
    return WHAT[options.what](options, how)


def _table(options: argparse.Namespace, how: How) -> int:
    table = _chosen(TABLES[options.what], options)
    with _bar(options.what) as on_progress:
        made = reproduce_table(
            TABLES[options.what],
            options.scale,
            how,
            part=table,
            overwrite=options.overwrite,
            command=typed_command(options.arguments),
            on_progress=on_progress,
        )
    if options.json:
        print(json.dumps({"table": table.name, "scale": options.scale, "rows": made.rows}, allow_nan=False))
        return 0
    _print_table(table, options.scale, made.rows)
    failures = [result for result in made.results if result.failure is not None]
    for column in table.columns:
        notes = {row[column.name]["note"] for row in made.rows}
        if NO_DATA in notes:
            print(f"{column.title}: {NO_DATA}; flp data list says what is")
    for result in failures:
        print(f"{result.name}: {result.failure}, after {result.outer_steps} outer steps")
    print(f"in brackets: standard errors over networks, {table.networks} for each figure where all are there")
    if made.missing:
        names = ", ".join(network.name for network in made.missing[:3]) + (", ..." if len(made.missing) > 3 else "")
        way = "the same command goes on" if how.meta_trains else "--complete meta-trains them"
        print(f"{len(made.missing)} networks are not meta-trained ({names}): {way}")
    print(f"{', '.join(map(str, made.files))}")
    return 0


def _figure_2(options: argparse.Namespace, how: How) -> int:
    require_matplotlib()
    table = replace(_chosen(TABLE_1, options), networks=1)
    found = _analysed(list(table.cells(options.scale)), options, how)
    by_column = {name: [of for of in found if of.network.column.name == name] for name in ("continual", "iid")}
    folder = how.folder / options.scale / "figure2"
    if not by_column["continual"]:
        raise FLPError("figure 2 needs a network that was meta-trained on the continual episodes: add --complete")
    rows, files = write_figure_2(folder, by_column["continual"], by_column["iid"], typed_command(options.arguments))
    return _say(options, rows, files)


def _curves(options: argparse.Namespace, how: How) -> int:
    require_matplotlib()
    episodes = options.episodes or ANALYSED_EPISODES
    networks = [
        network
        for table in (TABLE_1, TABLE_2)
        for network in _chosen(table, options, (TABLE_1, TABLE_2)).cells(options.scale)
        if network.column.name != "mini_imagenet"
    ]
    without_data = missing_data(networks)
    kept = [] if options.overwrite else kept_curves(how, networks, episodes=episodes, without_data=without_data)
    here = [network for network in networks if network.column.name not in without_data]
    keep_curves(how, _analysed([of for of in here if of not in [network for network, _ in kept]], options, how))
    curves = kept_curves(how, networks, episodes=episodes, without_data=without_data)
    if not curves:
        raise FLPError("learning curves need a network that is meta-trained: add --complete")
    for column in sorted(without_data):
        print(f"{column}: data not available here", file=sys.stderr)
    rows, files = write_curves(how.folder / options.scale / "curves", curves, typed_command(options.arguments))
    return _say(options, rows, files)


def _section_7_1(options: argparse.Namespace, how: How) -> int:
    if options.methods is not None:
        raise FLPError(f"section 7.1 is about {TABLE_1.methods[0].name} alone: leave out --methods")
    table = part_of(_chosen(TABLE_1, options), methods=[TABLE_1.methods[0].name])
    protocol = PROTOCOLS[options.scale]
    if options.episodes is not None:
        protocol = replace(protocol, episodes=options.episodes)
    require_matplotlib()
    with _bar(options.what) as on_progress:
        found = reproduce_section_7_1(
            list(table.cells(options.scale)), protocol, how, overwrite=options.overwrite, on_progress=on_progress
        )
    rows = rows_of(table.columns, found)
    folder, command = how.folder / options.scale, typed_command(options.arguments)
    files = write_section_7_1(folder, table.columns, rows, found, command)
    if options.json:
        print(json.dumps({"section": "7.1", "scale": options.scale, "rows": rows}, allow_nan=False))
        return 0
    print(next(file for file in files if file.suffix == ".md").read_text(encoding="utf-8"))
    for of in found:
        if of.failure is not None:
            print(f"{of.network}, {of.plastic_layers} plastic: {of.failure}, after {of.outer_steps} outer steps")
    print(", ".join(map(str, files)))
    return 0


def _claims(options: argparse.Namespace, how: How) -> int:
    folder = how.folder / options.scale
    claims = claims_of(read_findings(folder))
    files = write_claims(folder, claims, typed_command(options.arguments))
    if options.json:
        print(json.dumps({"scale": options.scale, "claims": [asdict(claim) for claim in claims]}, allow_nan=False))
        return 0
    _print_claims(claims, options.scale)
    print(", ".join(map(str, files)))
    return 0


def _analysed(networks: Sequence[Network], options: argparse.Namespace, how: How) -> list[AnalysedNetwork]:
    episodes = options.episodes or ANALYSED_EPISODES
    with _bar(options.what) as on_progress:
        return analyse_networks(networks, how, episodes=episodes, overwrite=options.overwrite, on_progress=on_progress)


def _say(options: argparse.Namespace, rows: Sequence[dict[str, Any]], files: Sequence[Path]) -> int:
    if options.json:
        print(json.dumps({"figure": options.what, "scale": options.scale, "rows": rows}, allow_nan=False))
    else:
        for file in files:
            print(file)
    return 0


def _chosen(table: Table, options: argparse.Namespace, of_which: Sequence[Table] = ()) -> Table:
    """The part of a table that was asked for, by names that it has, or that one of ``of_which`` has."""
    for name in options.methods or ():
        check_choice("method", name, [method.name for of in of_which or (table,) for method in of.methods])
    for name in options.columns or ():
        check_choice("column", name, [column.name for of in of_which or (table,) for column in of.columns])
    chosen = part_of(table, methods=options.methods or (), columns=options.columns or ())
    return replace(
        chosen,
        networks=options.networks if options.networks is not None else table.networks,
        episodes=options.episodes if options.episodes is not None else table.episodes,
    )


@contextmanager
def _bar(name: str) -> Iterator[OnProgress]:
    """One bar over everything, on standard error, as standard output is for results."""
    with ExitStack() as stack:
        show: list[Callable[[int, str], None]] = []

        def on_progress(steps: int, total: int, status: str) -> None:
            if not show:
                what = f"{name}, outer steps" if total else name
                show.append(stack.enter_context(show_steps(what, total or None, steps, sys.stderr)))
            show[0](steps, status)

        yield on_progress


def _print_claims(claims: Sequence[Claim], scale: str) -> None:
    shown = ShownTable(title=f"The paper's claims, scale {scale}", box=None, padding=(0, 2, 0, 0), title_justify="left")
    for heading in HEADINGS:
        shown.add_column(heading)
    for claim in claims:
        shown.add_row(*astuple(claim))
    print_table(shown)


def _print_table(table: Table, scale: str, rows: Sequence[dict[str, Any]]) -> None:
    shown = ShownTable(title=f"{table.title}, scale {scale}", box=None, padding=(0, 2, 0, 0), title_justify="left")
    shown.add_column("method", overflow="fold")
    for column in table.columns:
        shown.add_column(column.title, justify="right")
    # Published figures stand below ours: side by side they are wider than a terminal.
    for row in rows:
        cells = [row[column.name] for column in table.columns]
        shown.add_row(row["method"], *map(figure, cells))
        if any(published := [published_figure(cell) for cell in cells]):
            shown.add_row("  published", *published, style="dim")
    print_table(shown)


WHAT: dict[str, Callable[[argparse.Namespace, How], int]] = {
    "table1": _table,
    "table2": _table,
    "figure2": _figure_2,
    "curves": _curves,
    "section7.1": _section_7_1,
    "claims": _claims,
}
