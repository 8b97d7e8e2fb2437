"""What the pages of the documentation show: blocks of code, commands and links, and how a reader would run them."""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.process
import os
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
)
EXAMPLES = tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / "examples").glob("*.py")))
SHELLS = ("sh", "bash", "console")
# What many of them import: torch._dynamo by the first optimiser, matplotlib's by the first picture.
PRELOADED = (
    *(
        "flp_agents.cli.main",
        "flp_agents.benchmark.report.page",
        "flp_agents.experiments.analysis",
        "torch._dynamo",
        "sb3_contrib",
    ),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
)
# Where a process prints, in its folder.
_PRINTED, _ERRORS = ".printed", ".errors"
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: that it stands on, from the repository's root.
        line: of the page.
        language: as the page names it.
        code: of the block.
        output: of a block of text right below it; none: the page does not say what it prints.
    """

    page: str
    line: int
    language: str
    code: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Of a shell's block, in words, without comments; lines that end with a backslash go on in the next."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def text_of(page: str) -> str:
    """All of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """All blocks of code of a page."""
    text = text_of(page)
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2], found[3])
        for found in _FENCED.finditer(text)
    ]


def commands_in_sentences(page: str) -> list[str]:
    """``flp`` commands of a page's sentences and tables."""
    return re.findall(r"`(flp [a-z][^`\n]*)`", _FENCED.sub("", text_of(page)))


def arguments_of_flp(words: list[str]) -> list[str] | None:
    """What follows ``flp``, or ``python -m flp_agents``, in a command; none if it is another one."""
    for name in ("flp", "flp_agents"):
        if name in words[:1] or ("-m" in words and name in words[words.index("-m") :][:2]):
            return words[words.index(name) + 1 :]
    return None


def anchors_of(page: str) -> set[str]:
    """What links may name behind ``#``, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", text_of(page)), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@dataclass(frozen=True)
class Ended:
    """What came of a process.

    Attributes:
        code: that it ended with.
        printed: on standard output.
        errors: on standard error.
    """

    code: int | None
    printed: str
    errors: str


@dataclass(frozen=True)
class Started:
    """A process that :func:`start_as_a_reader` has started in a folder."""

    process: multiprocessing.process.BaseProcess
    folder: Path

    def wait(self, timeout: float = 800) -> Ended:
        """Until it has ended."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        paths = [self.folder / name for name in (_PRINTED, _ERRORS)]
        return Ended(self.process.exitcode, *(p.read_text(encoding="utf-8") if p.exists() else "" for p in paths))


def start_as_a_reader(what: str | list[str], folder: Path, **variables: str) -> Started:
    """Starts a Python program, or ``flp`` with arguments, in a process and a folder of its own.

    The processes are forked from one that has imported everything already, which takes a second instead of ten. They
    see this one's environment as it is now, with some variables more.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["documentation", *PRELOADED])
    process = context.Process(target=_run, args=(what, str(folder), {**os.environ, **variables}))
    process.start()
    return Started(process, folder)


def run_as_a_reader(what: str | list[str], folder: Path, timeout: float = 800) -> str:
    """What :func:`start_as_a_reader` starts, when it has ended well; returns what it prints."""
    ended = start_as_a_reader(what, folder).wait(timeout)
    assert ended.code == 0, f"{what}\nended with {ended.code}\n{ended.printed}\n{ended.errors}"
    return ended.printed


def as_module(arguments: list[str]) -> str:
    """A program that does what ``python -m flp_agents`` does with arguments."""
    return f"import runpy, sys\nsys.argv[1:] = {arguments!r}\nrunpy.run_module('flp_agents', run_name='__main__')\n"


def _run(what: str | list[str], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    for number, name in ((1, _PRINTED), (2, _ERRORS)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    os.environ.update(environment)
    # Threads of small networks that wait for each other on busy cores make seconds minutes.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    if isinstance(what, str):
        program = Path("block.py")
        program.write_text(what, encoding="utf-8")
        sys.argv = [str(program)]
        sys.path.insert(0, folder)  # as Python does
        runpy.run_path(str(program), run_name="__main__")
        return
    from flp_agents.cli import main as cli

    sys.argv = ["flp", *what]
    cli.run()


def options_of(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace | None:
    """What the real parser makes of arguments; none if it does not take them."""
    try:
        return parser.parse_args(arguments)
    except SystemExit:
        return None


def known_options(parser: argparse.ArgumentParser, command: str) -> set[str]:
    """The options of a command."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert command in commands.choices, f"there is no flp {command}"
    return {option for action in commands.choices[command]._actions for option in action.option_strings}


def words_like_options(arguments: list[str]) -> list[str]:
    """``--name`` of each ``--name`` and ``--name=value``."""
    return [word.partition("=")[0] for word in arguments if word.startswith("--")]
