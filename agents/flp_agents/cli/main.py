"""The ``flp`` command: parses, runs, and says in one line what went wrong."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from flp_agents.cli.parser import make_parser
from flp_base.errors import FLPError, FLPWarning
from flp_datasets.roots import expand_home


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 for an error, 2 for bad usage, 130 after Ctrl-C."""
    # torch's profiler module warns of what it cannot find on machines without a GPU; nothing that a user can mend.
    warnings.filterwarnings("ignore", category=FutureWarning)
    # The commands say themselves how the meta-gradient is found.
    warnings.filterwarnings("ignore", message="the meta-gradient is found by autograd", category=UserWarning)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parsed(arguments)
        try:
            return int(options.run(options))
        except SystemExit as error:
            # No command ends Python by itself: a user's environment or learner does.
            print(f"flp: error: a plug-in ended Python: SystemExit: {error.code}", file=sys.stderr)
            return 1
    except FLPError as error:
        print(f"flp: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("flp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except MemoryError:
        print("flp: error: out of memory: use smaller sizes", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        print(
            "flp: error: out of memory: use --meta-gradient checkpointed, a narrower network or fewer lifetimes",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"flp: error: {error.strerror or error}{where}", file=sys.stderr)
        return 1


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line."""
    trains = "train" in arguments[:1]
    if trains:
        # What a plug-in registers may have settings of its own, which are options then.
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        first.add_argument("--plugin", action="append", default=[])
        with contextlib.suppress(argparse.ArgumentError):  # which the parser of all options says
            plugins = first.parse_known_args(arguments)[0].plugin
            if plugins:
                importlib.import_module("flp_agents.support.plugins").load_plugins(_expanded(plugins))
    parser = make_parser(settings=trains)
    for argument in arguments:
        # argparse would make an empty list of it.
        if argument.startswith("--") and argument.endswith("=--"):
            parser.error(f"argument {argument.removesuffix('=--')}: expected a value, got '--'")
    options = vars(parser.parse_args(arguments))
    return argparse.Namespace(**{name: _expanded(value) for name, value in options.items()}, arguments=arguments)


def _expanded(value: Any) -> Any:
    """An option's value, its home folder written out; no other text of any option begins with a tilde."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return expand_home(value) if isinstance(value, str) and value.startswith("~") else value


def _in_one_line(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
    """What the user should know, as errors are said; of other warnings also where in the code they arose."""
    if issubclass(category, FLPWarning):
        return f"flp: warning: {' '.join(str(message).split())}\n"
    return _WITH_PLACE(message, category, *place, **line)


_WITH_PLACE = warnings.formatwarning


def run() -> NoReturn:
    """The command line's entry: :func:`main`, and the end of the process."""
    codecs.register_error("flp-print", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="flp-print")
    warnings.formatwarning = _in_one_line
    code = main()
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        # torch's communication threads may still hold Python objects. An orderly end would race with them, and
        # abort the process now and then, or wait for processes that are gone. All that matters is written by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Prints what the terminal's encoding lacks in another way: the command that prints it has done its work.

    File names that are no text in that encoding are printed byte for byte, and other characters by their numbers.
    """
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
