"""How good each network of a table is: a file for each, and the table made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from flp_agents.benchmark.report.formats import UNKNOWN
from flp_agents.evaluation.scoring import evaluate
from flp_agents.evaluation.uncertainty import standard_error
from flp_agents.experiments.reproduction.files import json_of, markdown_table, write_all
from flp_agents.experiments.reproduction.networks import plan_digest, weights_digest
from flp_agents.experiments.reproduction.published import PUBLISHED
from flp_agents.experiments.reproduction.tables import Network, Table
from flp_agents.support.provenance import stamp
from flp_agents.training import checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.run import FINAL_SEED
from flp_base.files import finite_or_none
from flp_datasets.csv_files import csv_of

# Why there is no figure.
NO_DATA, NOT_TRAINED = "data not available here", "not meta-trained"


@dataclass(frozen=True)
class NetworkResult:
    """One network on meta-test episodes.

    Attributes:
        name: of the network.
        method: its row.
        column: its column.
        seed: that it was meta-trained from.
        command: that meta-trained it.
        plan: names how it was to be meta-trained, see :func:`flp_agents.experiments.reproduction.networks.plan_digest`.
        episodes: meta-test lifetimes.
        episodes_seed: of them.
        metric: "mse" or "error_percent"; empty after a failure.
        mean: over episodes; none after a failure.
        standard_error: of the mean, over episodes; it says nothing of other networks.
        outer_steps: of its meta-training.
        cost_seconds: the same.
        threads: the same.
        weights: SHA-256 of its file of weights.
        stamp: versions, machine, time.
        failure: why there are no numbers; none if there are.
    """

    name: str
    method: str
    column: str
    seed: int
    command: str
    plan: str
    episodes: int
    episodes_seed: int = FINAL_SEED
    metric: str = ""
    mean: float | None = None
    standard_error: float | None = None
    outer_steps: int = 0
    cost_seconds: float = 0.0
    threads: int = 0
    weights: str = ""
    stamp: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None


def result_path(folder: Path, table: str, network: Network) -> Path:
    """Where a network's result lies."""
    return folder / network.scale / table / f"{network.name}.json"


def evaluate_network(network: Network, place: Path, *, episodes: int, device: str = "cpu") -> NetworkResult:
    """Runs through meta-test episodes of the environment that the network was meta-trained on.

    Args:
        network: which.
        place: its checkpoint.
        episodes: how many.
        device: where.
    """
    saved = checkpoint.load(place)
    about, env = saved.about, Plan.from_json(saved.about).make_env("meta-test")
    found = evaluate(saved.learner.to(device), env, episodes=episodes, seed=FINAL_SEED)
    return NetworkResult(
        name=network.name,
        method=network.method.title,
        column=network.column.name,
        seed=network.seed,
        command=about["command"],
        plan=plan_digest(network),
        episodes=episodes,
        **found.as_json(),
        outer_steps=about["outer_steps_done"],
        cost_seconds=about["cost_seconds"],
        threads=about["threads"],
        weights=weights_digest(place),
        stamp=stamp(),
        failure=None if np.isfinite(found.mean) else "its predictions are not finite",
    )


def failed(network: Network, reason: str, *, episodes: int, outer_steps: int) -> NetworkResult:
    """A network without numbers."""
    return NetworkResult(
        name=network.name,
        method=network.method.title,
        column=network.column.name,
        seed=network.seed,
        command=network.command,
        plan=plan_digest(network),
        episodes=episodes,
        outer_steps=outer_steps,
        stamp=stamp(),
        failure=reason,
    )


def rows_of(table: Table, results: Iterable[NetworkResult], missing_data: Iterable[str] = ()) -> list[dict[str, Any]]:
    """A row for each method: for each column mean and standard error over networks, beside the paper's.

    Args:
        table: which.
        results: of its networks, in any order.
        missing_data: names of columns whose data is not on this machine.

    Returns:
        ``{"method": ..., COLUMN: {"mean", "standard_error", "networks", "failed", "published", "note"}, ...}``. The
        standard error is over networks, and none for less than two. A column's ``note`` says why it is empty.
    """
    by_cell: dict[tuple[str, str], list[NetworkResult]] = {}
    for result in results:
        by_cell.setdefault((result.method, result.column), []).append(result)
    rows = []
    for method in table.methods:
        row: dict[str, Any] = {"method": method.title}
        for column in table.columns:
            found = by_cell.get((method.title, column.name), [])
            published = PUBLISHED.get(table.name.partition("-")[0], {}).get(method.title, {}).get(column.name)
            row[column.name] = {
                **over_networks([result.mean if result.failure is None else None for result in found]),
                "published": None if published is None else published._asdict(),
                "note": "" if found else NO_DATA if column.name in missing_data else NOT_TRAINED,
            }
        rows.append(row)
    return rows


def over_networks(found: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard error of networks' mean scores; none stands for one that failed."""
    means = np.array([mean for mean in found if mean is not None])
    return {
        "mean": float(means.mean()) if len(means) else None,
        "standard_error": finite_or_none(standard_error(means)) if len(means) else None,
        "networks": len(means),
        "failed": len(found) - len(means),
    }


def networks_as_csv(results: Iterable[NetworkResult]) -> bytes:
    """Tidy: a row for each network."""
    rows = [{**asdict(result), **result.stamp} for result in results]
    columns = [of.name for of in fields(NetworkResult) if of.name != "stamp"]
    return csv_of(rows, [*columns, *sorted({key for row in rows for key in row["stamp"]})])


def write_table(
    folder: Path,
    table: Table,
    scale: str,
    rows: Sequence[Mapping[str, Any]],
    results: Sequence[NetworkResult],
    command: str,
) -> list[Path]:
    """``TABLE.csv``, a row for each network; ``TABLE.json``, with all that is known; ``TABLE.md``, for people.

    Raises:
        ReproductionError: if one cannot be written.
    """
    content = {"title": table.title, "scale": scale, "command": command, "rows": rows, **stamp()}
    content["networks"] = [asdict(result) for result in results]
    name = table.name
    contents = {f"{name}.csv": networks_as_csv(results), f"{name}.json": json_of(content)}
    contents[f"{name}.md"] = _markdown(table, scale, rows, command).encode()
    return write_all(folder / scale, contents)


def figure(cell: Mapping[str, Any]) -> str:
    """``0.0016 (6e-05)``: what a cell of a table shows."""
    if cell["mean"] is None:
        return "diverged" if cell.get("failed") else {NO_DATA: "no data"}.get(cell["note"], UNKNOWN)
    error = cell["standard_error"]
    text = f"{cell['mean']:.3g}" + ("" if error is None else f" ({error:.1g})")
    return text + (f", {cell['failed']} diverged" if cell.get("failed") else "")


def _markdown(table: Table, scale: str, rows: Iterable[Mapping[str, Any]], command: str) -> str:
    headings = ["method", *(column.title + of for column in table.columns for of in (", here", ", published"))]
    lines = [
        [row["method"], *(show(row[column.name]) for column in table.columns for show in (figure, published_figure))]
        for row in rows
    ]
    return (
        f"# {table.title}\n\nScale `{scale}`; standard errors over networks in brackets; made with `{command}`.\n\n"
        f"{markdown_table(headings, lines)}"
    )


def published_figure(cell: Mapping[str, Any]) -> str:
    """The same of what the paper says."""
    return figure(cell["published"]) if cell["published"] else ""
