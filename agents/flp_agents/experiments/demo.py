"""``flp demo``: the whole project in a few minutes, on this machine, with nothing but what is installed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

import flp_envs
from flp_agents.evaluation.scoring import evaluate
from flp_agents.experiments.analysis import (
    change_on_earlier_tasks,
    moments_of,
    predictions_over_lifetime,
    query_loss_over_lifetime,
)
from flp_agents.experiments.analysis.figures import Curve, draw_curves, png_of, styles_of
from flp_agents.learners.learner import Learner
from flp_agents.support.printed_tables import print_table
from flp_agents.training import bundled, checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.presets import get_preset
from flp_agents.training.progress import show_progress
from flp_agents.training.run import TrainingRun
from flp_base.errors import FLPError
from flp_base.files import write_atomically
from flp_envs.recording import draw_episodes, seed_env
from flp_envs.rendering import require_matplotlib

ENV = "FLPSine-Continual-v0"
# Learners of one, used on the other.
GLYPH_LEARNERS_ENV, GLYPH_ENV = "FLPOmniglot-Continual-v0", "FLPGlyph-Continual-v0"
# Lifetimes that curves are averaged over.
CURVE_EPISODES = 16
# The live run takes shorter lifetimes on fewer functions, so that a minute shows the breakthrough.
LIVE_OPTIONS = {"num_functions": 3, "steps_per_function": 8}
LIVE_SETTINGS = {
    "hidden_widths": (64, 64, 64, 64),
    "coefficient_unit": 3e-5,
    "meta_batch": 8,
    "warm_up": 50,
    "schedule": "constant",
    "short_outer_steps": 0,
    "outer_steps": 100_000,
}

# Learner, mean, standard error and median.
Row = tuple[str, float, float, float]


def run_demo(folder: Path, *, episodes: int, train_seconds: float, seed: int) -> None:
    """Evaluates the bundled learners, meta-trains FLP live, and leaves a table and a picture in ``folder``.

    Raises:
        FLPError: if matplotlib is missing, or the folder cannot be written.
    """
    require_matplotlib()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FLPError(f"cannot create {folder}: {error.strerror}: choose another --output") from None
    console = Console(soft_wrap=True)
    console.print(f"[bold]1. Bundled meta-trained learners[/bold] on {ENV}")
    env = flp_envs.make(ENV, split="meta-test")
    rows, curves = [], []
    for saved in _bundled_for(ENV):
        result = evaluate(saved.learner, env, episodes=episodes, seed=seed)
        rows.append((bundled.title(saved.about), result.mean, result.standard_error, float(np.median(result.scores))))
        console.print(f"   {rows[-1][0]}: {result.mean:.5f}")
        curves.append((saved.about, *_curves(saved.learner, env, seed)))
    _show_table(rows, episodes)
    _draw(folder / "lifetime.png", curves)
    glyphs = _glyphs(console, episodes, seed)
    _write_table(folder, rows, glyphs, episodes, seed)

    if train_seconds > 0:
        functions, minibatches = LIVE_OPTIONS["num_functions"], LIVE_OPTIONS["steps_per_function"]
        console.print(f"[bold]3. FLP meta-trained here and now[/bold], for {train_seconds:.0f} s")
        console.print(f"   on {functions} functions of {minibatches} minibatches each, and a smaller network")
        before, after, steps = _train_live(train_seconds, seed)
        console.print(f"   meta-test error before {before:.4f}, after {steps} outer steps {after:.4f}")
    print(f"table: {folder / 'results.md'}, {folder / 'results.json'}; picture: {folder / 'lifetime.png'}")


def _glyphs(console: Console, episodes: int, seed: int) -> list[Row]:
    """What learners that were meta-trained on Omniglot make of characters that nobody has written, drawn on the fly."""
    console.print(f"[bold]2. Characters drawn on the fly[/bold]: {GLYPH_ENV}, five new ones, five drawings each")
    env = flp_envs.make(GLYPH_ENV, split="meta-test")
    rows = []
    for saved in _bundled_for(GLYPH_LEARNERS_ENV):
        result = evaluate(saved.learner, env, episodes=episodes, seed=seed)
        rows.append((bundled.title(saved.about), result.mean, result.standard_error, float(np.median(result.scores))))
        console.print(f"   {rows[-1][0]}, meta-trained on Omniglot: {result.mean:.1f} % wrong (chance: 80 %)")
    return rows


def _bundled_for(env: str) -> list[checkpoint.Checkpoint]:
    """In the order of the paper's tables."""
    names = [name for learner in bundled.TITLES for name in bundled.bundled_for(env, learner)]
    return [checkpoint.load(bundled.find_checkpoint(name)) for name in names]


def _curves(learner: Learner[Any], env: gym.Env[Any, Any], seed: int) -> tuple[list[int], Any, Any]:
    """Support steps done, query loss at each, and the change on earlier functions, over ``CURVE_EPISODES``."""
    seed_env(env, seed)
    episode = draw_episodes(env, CURVE_EPISODES)
    steps = moments_of(episode.support_steps)
    loss = query_loss_over_lifetime(predictions_over_lifetime(learner, episode, steps), episode)
    return steps, loss.mean(1), change_on_earlier_tasks(learner, episode).mean(0)


def _show_table(rows: list[Row], episodes: int) -> None:
    table = Table("learner", "mean squared error", "standard error", "median", title=f"meta-test, {episodes} episodes")
    for name, *values in rows:
        table.add_row(name, *(f"{value:.5f}" for value in values))
    print_table(table)


def _write_table(folder: Path, rows: list[Row], glyphs: list[Row], episodes: int, seed: int) -> None:
    head = ["", "| learner | mean | standard error | median |", "| --- | --- | --- | --- |"]
    lines = [
        f"Query mean squared error on {ENV}, {episodes} meta-test episodes, seed {seed}:",
        *head,
        *(f"| {name} | {mean:.5f} | {error:.5f} | {median:.5f} |" for name, mean, error, median in rows),
        "",
        f"Per cent error on {GLYPH_ENV} after meta-training on Omniglot, as many episodes:",
        *head,
        *(f"| {name} | {mean:.2f} | {error:.2f} | {median:.2f} |" for name, mean, error, median in glyphs),
    ]
    write_atomically(folder / "results.md", ("\n".join(lines) + "\n").encode())
    keys = ("learner", "mean", "standard_error", "median")
    content = {"env": ENV, "episodes": episodes, "seed": seed, "rows": [dict(zip(keys, r, strict=True)) for r in rows]}
    content["glyphs"] = [dict(zip(keys, row, strict=True)) for row in glyphs]
    write_atomically(folder / "results.json", (json.dumps(content, indent=2) + "\n").encode())


def _draw(path: Path, curves: list[tuple[dict[str, Any], list[int], Any, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    kinds = [about["learner"] for about, *_ in curves]
    named = [(bundled.title(about), style) for (about, *_), style in zip(curves, styles_of(kinds), strict=True)]
    draw_curves(
        left,
        [Curve(steps, loss, style, title) for (title, style), (_, steps, loss, _) in zip(named, curves, strict=True)],
        title="Learning ten functions, one after another",
        xlabel="inner steps (40 for each function)",
        ylabel="query mean squared error, all ten functions",
    )
    draw_curves(
        right,
        [
            Curve(np.arange(2, len(change) + 2), change, style, title)
            for (title, style), (*_, change) in zip(named, curves, strict=True)
        ],
        title="Forgetting: what one function does to the earlier",
        xlabel="functions met so far",
        ylabel="mean squared change of earlier predictions",
        marked=True,
    )
    left.legend(frameon=False)
    write_atomically(path, png_of(figure))


def _train_live(seconds: float, seed: int) -> tuple[float, float, int]:
    """Meta-test error of a new FLP before and after ``seconds`` of meta-training, and the outer steps it had."""
    plan = Plan(
        env=ENV,
        env_options=dict(LIVE_OPTIONS),
        learner="flp",
        preset="cpu",
        settings=get_preset("cpu", "flp", LIVE_SETTINGS),
        seed=seed,
        command="flp demo",
    )
    test = plan.make_env("meta-test")
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(plan, Path(folder))
        before = evaluate(run.learner, test, episodes=100, seed=seed).mean
        with show_progress(None) as on_step:
            if run.run(stop_after_seconds=seconds, save_every_seconds=seconds, on_step=on_step):
                raise KeyboardInterrupt
        return before, evaluate(run.learner, test, episodes=100, seed=seed).mean, run.trainer.step_count
