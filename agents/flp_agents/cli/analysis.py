"""What ``flp analyse`` does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flp_agents.cli.evaluating import env_for, env_of, load_for_use
from flp_agents.cli.given import prepare_torch
from flp_agents.experiments.analysis import analyse as analyse_learner
from flp_agents.experiments.analysis.figures import draw_analyses, png_of
from flp_agents.experiments.analysis.tables import Analysed, csv_of, summary_of, tables_of
from flp_agents.learners.learner import Learner
from flp_agents.support.printed_tables import print_table
from flp_agents.training import bundled
from flp_base.errors import FLPError, check_at_least
from flp_base.files import write_atomically
from flp_envs.rendering import require_matplotlib

FIGURE = "analysis.png"


class DifferentEpisodes(FLPError, ValueError):
    """Checkpoints that would be compared on different episodes."""


def analyse(options: argparse.Namespace) -> int:
    """``flp analyse``."""
    check_at_least("episodes", options.episodes, 1)
    require_matplotlib()
    device, seed, folder = prepare_torch(options.device, options.threads), options.seed or 0, Path(options.output)
    # All that can be refused is, before the first lifetime.
    loaded = [(name, *load_for_use(name, device)) for name in dict.fromkeys(options.checkpoints)]
    env_id, envs = _envs(loaded, options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FLPError(f"cannot create {folder}: {error.strerror}: choose another --output") from None
    analysed = []
    console = Console(stderr=True)
    with console.status("") as status:
        for (name, learner, about), env in zip(loaded, envs, strict=True):
            status.update(f"{name}: {options.episodes} episodes")
            analysis = analyse_learner(learner, env, episodes=options.episodes, seed=seed)
            shown = Path(name).name if Path(name).exists() else name
            analysed.append(Analysed(shown, str(about["learner"]), bundled.title(about), analysis))
    files = _write(folder, analysed)
    summaries = [summary_of(of) for of in analysed]
    about_run = {"env": env_id, "split": options.split, "episodes": options.episodes, "seed": seed}
    if options.json:
        print(json.dumps({**about_run, "checkpoints": summaries, "files": files}, allow_nan=False))
    else:
        _print_table(summaries, f"{env_id}, {options.split}, {options.episodes} episodes, seed {seed}")
        print("layers are counted from the output; cosines are those of updates and the negative loss gradient")
        print(f"{folder}: {', '.join(Path(file).name for file in files)}")
    return 0


def _envs(
    loaded: Sequence[tuple[str, Learner[Any], dict[str, Any]]], options: argparse.Namespace
) -> tuple[str, list[gym.Env[Any, Any]]]:
    """One env for each checkpoint, alike but for their random state, and their id.

    Raises:
        DifferentEpisodes: if the checkpoints' env options differ.
    """
    options.env = options.env or env_of(loaded[0][2])
    made = [env_for(learner, about, options, split=options.split) for _, learner, about in loaded]
    wanted = [env.spec.kwargs if env.spec else {} for _, env in made]
    for (name, _, _), kwargs in zip(loaded, wanted, strict=True):
        differing = sorted(key for key in {*kwargs, *wanted[0]} if kwargs.get(key) != wanted[0].get(key))
        if differing:
            raise DifferentEpisodes(
                f"{loaded[0][0]} and {name} were meta-trained with different env options: give "
                + " and ".join(f"--env-option {key}=..." for key in differing)
            )
    return made[0][0], [env for _, env in made]


def _write(folder: Path, analysed: Sequence[Analysed]) -> list[str]:
    """A CSV file for each analysis, and the picture; their paths."""
    contents = {f"{name}.csv": csv_of(rows) for name, rows in tables_of(analysed).items()}
    contents[FIGURE] = png_of(draw_analyses(analysed))
    for name, content in contents.items():
        try:
            write_atomically(folder / name, content)
        except OSError as error:
            raise FLPError(f"cannot write {folder / name}: {error.strerror or error}") from None
    return [str(folder / name) for name in contents]


def _print_table(summaries: Sequence[dict[str, Any]], title: str) -> None:
    table = Table(title=title, box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("learner", overflow="fold")
    for heading in ("score", "initial readout", "interference", "layer", "cosine", "norm of updates"):
        table.add_column(heading, justify="right")
    for row in summaries:
        singles = (_figure(row[name]) for name in ("score", "readout_score", "interference"))
        numbers = (str(layer) for layer in range(1, row["plastic_layers"] + 1))
        columns = (numbers, *(map(_figure, row[f"{name}_by_layer"]) for name in ("cosine", "magnitude")))
        table.add_row(Text(row["title"]), *singles, *("\n".join(column) for column in columns))
    print_table(table)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
