"""All options of the ``flp`` command.

What runs a command is imported when it runs, so that ``--help`` needs no torch.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from flp_agents.cli.defaults import TEST_EPISODES

_THREADS = (
    "processor threads (default: what OMP_NUM_THREADS says, else 1, to meta-train a large preset all cores; a resumed "
    "run: as many as before)"
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line. Options are written out: what was typed is recorded, and read again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"flp: error: {message} (see {self.prog} --help)\n")


def make_parser(settings: bool = True) -> argparse.ArgumentParser:
    """All commands with their options; with ``settings``, which takes seconds, ``flp train`` has one for each."""
    parser = _Parser(prog="flp", description="Online and continual meta-learning: environments, learners, results.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    command = _add(commands, "list", "all that has a name, and bundled checkpoints", "list_everything", "listing")
    command.add_argument("--json", action="store_true", help="print one JSON object")

    command = _add(commands, "train", "meta-train a learner", "train", "training")
    command.add_argument("--env", help="environment id (default: FLPSine-Continual-v0)")
    command.add_argument("--learner", help="learner's name (default: flp)")
    command.add_argument(
        "--preset", help="paper, half, paper-code, cpu or a file of your own, FILE.toml (default: cpu)"
    )
    command.add_argument("--output", help="folder for checkpoint and metrics (default: runs/ENV-LEARNER-PRESET-SEED)")
    command.add_argument("--resume", metavar="FOLDER", help="go on with the run saved there; its settings are kept")
    command.add_argument("--save-every", type=float, default=60.0, metavar="SECONDS", help="(default: %(default)s)")
    command.add_argument("--minutes", type=float, help="pause after so long; --resume goes on")
    command.add_argument("--train-on", metavar="SPLIT", help="to meta-train on (default: meta-train)")
    command.add_argument("--evaluate-on", metavar="SPLIT", help="at the end (default: meta-val, else meta-test)")
    command.add_argument("--test-episodes", type=int, default=TEST_EPISODES, help="at the end (default: %(default)s)")
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="begin anew in a folder that holds a run, which stays until the new one is saved",
    )
    _add_shared(command)
    _add_env_options(command)
    command.add_argument(
        "--rate",
        action="append",
        default=[],
        metavar="NAME=RATE",
        help="outer learning rate of a kind of meta-parameter that has no option below; may be repeated",
    )
    if settings:
        from flp_agents.cli.setting_options import add_setting_options  # which imports torch

        add_setting_options(command)

    command = _add(
        commands, "evaluate", "score a meta-trained learner on fresh meta-test episodes", "evaluate", "evaluating"
    )
    command.add_argument("--checkpoint", required=True, help="name of a bundled checkpoint, or a folder")
    command.add_argument("--env", help="environment id (default: the one it was meta-trained on)")
    command.add_argument("--transfer", action="store_true", help="allow another env than it was meta-trained on")
    command.add_argument("--split", default="meta-test", help="whose episodes (default: %(default)s)")
    command.add_argument("--episodes", type=int, default=100, help="(default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    _add_shared(command)
    _add_env_options(command)

    command = _add(
        commands, "export", "copy a checkpoint for inference only, without its trainer state", "export", "evaluating"
    )
    command.add_argument("--checkpoint", required=True, help="folder of a run, or a bundled checkpoint's name")
    command.add_argument("--output", required=True, help="folder to write")
    command.add_argument(
        "--half",
        action="store_true",
        help="in half precision, as bundled networks are, if its score on meta-training episodes stays the same",
    )

    command = _add(commands, "render", "draw one lifetime", "render", "evaluating")
    command.add_argument("--checkpoint", help="name of a bundled checkpoint, or a folder (default: a new learner)")
    command.add_argument("--env", help="environment id (default: the checkpoint's, or FLPSine-Continual-v0)")
    command.add_argument("--learner", default="flp", help="which new learner, without --checkpoint (%(default)s)")
    command.add_argument("--output", default="lifetime.gif", help="a .mp4 or .gif, or a .png of the end (%(default)s)")
    command.add_argument("--every", type=int, default=10, help="inner steps between frames (default: %(default)s)")
    command.add_argument("--transfer", action="store_true", help="allow another env than it was meta-trained on")
    _add_shared(command)
    _add_env_options(command)

    command = _add(commands, "bench", "time the meta-gradient, strategy by strategy", "bench", "profiling")
    command.add_argument("--quick", action="store_true", help="one or two rounds, in less than two minutes")
    command.add_argument("--seconds", type=float, default=600.0, help="begin nothing after so long (%(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--output", help="folder to write meta_gradient.json and meta_gradient.md to")
    command.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    command.add_argument(
        "--threads", type=int, help="processor threads (default: what OMP_NUM_THREADS says, else all cores)"
    )

    _add_analysis_command(commands)
    _add_reproduce_command(commands)
    _add_policy_command(commands)
    _add_benchmark_commands(commands)
    _add_data_commands(commands)

    text = "evaluate the bundled learners, meta-train one live, draw what happened"
    command = _add(commands, "demo", text, "demo", "demo")
    command.add_argument("--output", default="demo", help="folder for table and picture (default: %(default)s)")
    command.add_argument("--episodes", type=int, default=50, help="meta-test episodes (default: %(default)s)")
    command.add_argument("--train-seconds", type=float, default=60.0, help="of live meta-training (%(default)s)")
    _add_shared(command, device=False)
    return parser


def _add_analysis_command(commands: Any) -> None:
    text = "what meta-trained learners do within a lifetime"
    command = _add(commands, "analyse", text, "analyse", "analysis", ["analyze"])
    command.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="name of a bundled one, or a folder")
    command.add_argument("--env", help="environment id (default: the one that the first was meta-trained on)")
    command.add_argument("--transfer", action="store_true", help="allow another env than they were meta-trained on")
    command.add_argument("--split", default="meta-test", help="whose episodes (default: %(default)s)")
    command.add_argument("--episodes", type=int, default=16, help="(default: %(default)s)")
    command.add_argument("--output", default="analysis", help="folder for tables and picture (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    _add_shared(command)
    _add_env_options(command)


def _add_reproduce_command(commands: Any) -> None:
    text = "the paper's tables and figures, made anew, beside its own numbers"
    command = _add(commands, "reproduce", text, "reproduce", "reproduction")
    command.add_argument("what", metavar="WHAT", help="table1, table2, figure2, curves, section7.1 or claims")
    command.add_argument("--scale", default="cpu", help="paper, half or cpu: the preset (default: %(default)s)")
    anew = command.add_mutually_exclusive_group()
    anew.add_argument("--complete", action="store_true", help="meta-train what is neither bundled nor in OUTPUT")
    anew.add_argument("--retrain", action="store_true", help="meta-train all that is not in OUTPUT, bundled or not")
    command.add_argument("--methods", nargs="+", metavar="NAME", help="rows, such as flp-2 (default: all)")
    command.add_argument("--columns", nargs="+", metavar="NAME", help="such as continual (default: all)")
    command.add_argument("--networks", type=int, help="meta-trained for each cell (default: the paper's number)")
    command.add_argument("--episodes", type=int, help="meta-test episodes of each network (default: as documented)")
    command.add_argument("--jobs", type=int, help="processes of one thread (default: one for each core)")
    command.add_argument("--minutes", type=float, help="pause after so long; the same command goes on")
    command.add_argument("--overwrite", action="store_true", help="evaluate networks again whose results are there")
    command.add_argument("--output", default="reproduction", help="folder of results (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    _add_data_root(command)


def _add_policy_command(commands: Any) -> None:
    text = "train a policy of stable-baselines3 by reward alone"
    command = _add(commands, "train-sb3", text, "train_sb3", "policies")
    command.add_argument("--algorithm", required=True, help="ppo (without memory) or recurrent-ppo")
    command.add_argument("--env", default="FLPSine-Continual-v0", help="environment id (default: %(default)s)")
    command.add_argument("--env-steps", type=int, default=200_000, help="answers in all (default: %(default)s)")
    command.add_argument("--output", help="folder for model.zip and policy.json (default: runs/ENV-ALGORITHM-SEED)")
    command.add_argument("--evaluate-on", metavar="SPLIT", help="at the end (default: meta-val, else meta-test)")
    command.add_argument("--test-episodes", type=int, default=100, help="evaluated at the end (default: %(default)s)")
    command.add_argument(
        "--train-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="like --env-option, but while training only: short lifetimes (steps_per_function=1, shots=1) with a long "
        "query (query_size=320, query_shots=15) are rewarded more often; may be repeated",
    )
    _add_shared(command, device=False)
    _add_env_options(command)


def _add_benchmark_commands(commands: Any) -> None:
    module = "benchmark"
    command = _add(commands, "benchmark", "compare learners: learners x environments x seeds", "benchmark", module)
    command.add_argument("plan", nargs="?", metavar="PLAN.toml", help="what to compare; options here override it")
    command.add_argument("--learners", nargs="+", metavar="NAME", help="or folders of checkpoints (default: built-in)")
    command.add_argument("--envs", nargs="+", metavar="ID", help="(default: both sine environments)")
    command.add_argument("--seeds", type=int, help="how many, counted from 0 (default: 3)")
    command.add_argument("--episodes", type=int, help="lifetimes of each learner under each seed (default: 100)")
    command.add_argument("--split", help="whose episodes (default: meta-test)")
    command.add_argument("--output", default="benchmark", help="folder of results (default: %(default)s)")
    command.add_argument("--jobs", type=int, help="processes (default: one for each core)")
    command.add_argument("--backend", default="loky", help="of joblib: loky, ray or dask (default: %(default)s)")
    command.add_argument("--cell-minutes", type=float, help="after which a cell has failed (default: 60)")
    command.add_argument("--retry-failed", action="store_true", help="run cells again that have failed")
    command.add_argument("--rerun", action="store_true", help="run all cells again; earlier results are kept beside")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    _add_env_options(command)

    command = _add(commands, "report", "a benchmark's results as one HTML page", "report", module)
    command.add_argument("results", metavar="RESULTS", help="folder that flp benchmark wrote")
    command.add_argument("--output", metavar="FILE", help="(default: RESULTS/report.html)")

    command = _add(commands, "check-learner", "say what a learner gets wrong", "check_learner", module)
    command.add_argument("learner", help="name, or folder of a checkpoint")
    command.add_argument(
        "--envs", nargs="+", metavar="ID", help="(default: sine waves, or glyphs if it fits only those)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_data_commands(commands: Any) -> None:
    text = "image datasets: what is there, pack, verify, look"
    parser: argparse.ArgumentParser = commands.add_parser("data", help=text, description=text)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)

    action = _add(actions, "list", "datasets, and what of them is on this machine", "list_data", "data")
    action.add_argument("--json", action="store_true", help="print one JSON object")
    _add_data_root(action)

    action = _add(actions, "prepare", "pack a dataset into one file, once", "prepare_data", "data")
    action.add_argument("dataset", help="omniglot or mini_imagenet")
    action.add_argument("--image-size", type=int, help="of the packed images (default: 28, mini_imagenet 84)")
    action.add_argument("--source", metavar="FOLDER", help="that holds the data (default: DATA_ROOT/DATASET)")
    action.add_argument("--overwrite", action="store_true", help="pack anew")
    _add_data_root(action)

    action = _add(actions, "verify", "read packs and compare their checksums", "verify_data", "data")
    action.add_argument("dataset", nargs="?", help="(default: all)")
    _add_data_root(action)

    action = _add(actions, "show", "draw a sheet of samples", "show_data", "data")
    action.add_argument("dataset", help="omniglot, mini_imagenet or glyph")
    action.add_argument("--split", default="meta-train", help="(default: %(default)s)")
    action.add_argument("--image-size", type=int, help="(default: 28, mini_imagenet 84)")
    action.add_argument("--classes", type=int, default=12, help="a row each (default: %(default)s)")
    action.add_argument("--images", type=int, default=12, help="of each class (default: %(default)s)")
    action.add_argument("--output", default="samples.png", help="(default: %(default)s)")
    action.add_argument("--seed", type=_seed, default=0, help="(default: %(default)s)")
    _add_data_root(action)


def _add_data_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", metavar="FOLDER", help="of image data (default: FLP_DATA_ROOT, then the cache)")


def _add(
    commands: Any, name: str, text: str, function: str, module: str, aliases: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """A subcommand, which loads plug-ins first. Its function is imported when it runs, so ``--help`` comes at once."""

    def run(options: argparse.Namespace) -> int:
        if options.plugin:
            importlib.import_module("flp_agents.support.plugins").load_plugins(options.plugin)
        implementation = importlib.import_module(f"flp_agents.cli.{module}")
        run_command: Callable[[argparse.Namespace], int] = getattr(implementation, function)
        return run_command(options)

    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, aliases=list(aliases))
    parser.set_defaults(run=run)
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="Python file or module that registers what is yours, see docs/plugins.md; may be repeated",
    )
    return parser


def _add_shared(parser: argparse.ArgumentParser, *, device: bool = True) -> None:
    parser.add_argument("--seed", type=_seed, help="(default: 0)")
    if device:
        parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--threads", type=int, help=_THREADS)


def _add_env_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="keyword argument of the environment, such as steps_per_function=8; may be repeated",
    )
    _add_data_root(parser)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**31 - 1}, got {text!r}")
    return int(text)
