"""Compiles the C++ engine for this machine, once, and keeps it in the user's cache folder."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch

from flp_base.errors import FLPError
from flp_base.files import remove_leftovers, replacing, write_atomically
from flp_base.locking import file_lock
from flp_datasets.roots import cache_root

# What is compiled; it includes the other files of its folder.
SOURCE = Path(__file__).with_name("plastic_chain") / "plastic_chain.cpp"
VALUES = {torch.float32: "float", torch.float64: "double"}
REQUIRED = "FLP_REQUIRE_NATIVE"
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread")
# For this very processor where the compiler knows how, and if what it makes runs here.
TUNINGS = (("-march=native",), ("-mcpu=native",), ())
_SECONDS = 180
# In a process of its own, which may die of it: 0 if the library can be loaded and takes small chains forward and back.
_TRIAL = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).flp_self_test())"


class NotBuilt(Exception):
    """Why there is no C++ engine; the torch engine does the same, more slowly."""


class NativeRequired(FLPError, RuntimeError):
    """There is no C++ engine, and ``FLP_REQUIRE_NATIVE`` says that there must be."""


def load_library(dtype: torch.dtype) -> ctypes.CDLL:
    """The compiled engine for one type of values.

    The environment variable ``FLP_NATIVE=0`` does without it; ``CXX`` names the compiler; ``FLP_REQUIRE_NATIVE=1``
    makes it an error if there is no engine. A process looks for it once for each setting of these variables.

    Raises:
        NotBuilt: if there is no compiler, or if it fails.
        NativeRequired: in place of it, if the engine is required.
    """
    if dtype not in VALUES:
        raise NotBuilt(f"there is none for {dtype}")
    with _LOOKING:
        found = look_for(VALUES[dtype], *map(os.environ.get, ("FLP_NATIVE", "CXX", "FLP_CACHE", "XDG_CACHE_HOME")))
    if isinstance(found, ctypes.CDLL):
        return found
    if os.environ.get(REQUIRED, "0") not in ("", "0"):
        raise NativeRequired(
            f"{REQUIRED} is set and there is no C++ engine: {found}: mend this (a C++17 compiler is needed, CXX names "
            f"one), or unset {REQUIRED} to go on in torch operations, more slowly"
        )
    raise NotBuilt(found)


# Of the threads of a process, one looks for the engine, and the others wait for what it finds.
_LOOKING = threading.Lock()


@functools.cache
def look_for(value: str, native: str | None, named: str | None, *folders: str | None) -> ctypes.CDLL | str:
    """The engine, from the cache or compiled now, or why there is none.

    Args:
        value: "float" or "double".
        native: what ``FLP_NATIVE`` says.
        named: what ``CXX`` says.
        folders: what the variables say that name the cache.
    """
    if native == "0":
        return "FLP_NATIVE is 0"
    try:
        compiler = _compiler(named)
        version = _run([*compiler, "--version"]).stdout
        library = _cache_folder() / f"plastic_chain-{value}-{_key(value, version)}.so"
        if not _is_whole(library):
            # Other processes wait: which engine computes decides the last bits of every result.
            with file_lock(library.with_suffix(".lock"), on_wait=lambda: None, needed=False) as held:
                if held:
                    remove_leftovers(library)
                if not _is_whole(library):
                    _build(compiler, value, library)
        return ctypes.CDLL(str(library))
    except NotBuilt as reason:
        return str(reason)
    except OSError as error:
        return f"the compiled engine cannot be used: {error}"


def _compiler(named: str | None) -> list[str]:
    """The command that starts the compiler; ``CXX`` may hold more than one word, such as "ccache g++"."""
    try:
        words = shlex.split(named or "")
    except ValueError as error:
        raise NotBuilt(f"CXX cannot be read ({error}): {named}") from None
    if words:
        if shutil.which(words[0]) is None:
            raise NotBuilt(f"no C++ compiler: {words[0]}, which CXX names, is not there or cannot be executed")
        return words
    found = next(filter(None, map(shutil.which, ["g++", "clang++", "c++"])), None)
    if found is None:
        raise NotBuilt("no C++ compiler (g++, clang++) is there")
    return [found]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{command[0]} took longer than {_SECONDS} s") from None
    except OSError as error:
        raise NotBuilt(f"{command[0]} cannot be executed: {error.strerror or error}") from None


def source_files() -> list[Path]:
    """The file that is compiled and those that it includes, by name."""
    return sorted(path for path in SOURCE.parent.iterdir() if path.suffix in (".cpp", ".h"))


def _key(value: str, version: str) -> str:
    """Of all that the library depends on: unlike machines may share a cache, and containers change their names."""
    texts = [f"{path.name}\0{path.read_text(encoding='utf-8')}" for path in source_files()]
    parts = [*texts, value, version, repr((FLAGS, TUNINGS))]
    return hashlib.sha256("\0".join([*parts, platform.machine(), _processor()]).encode()).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do, which decides the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _build(compiler: list[str], value: str, library: Path) -> None:
    """Compiles, tries out, and keeps the library, and beside it what :func:`_is_whole` compares it with."""
    failures = []
    for tuning in TUNINGS:
        try:
            with replacing(library) as (unfinished, handle):
                os.close(handle)
                done = _run([*compiler, *FLAGS, *tuning, f"-DFLP_VALUE={value}", str(SOURCE), "-o", str(unfinished)])
                if done.returncode != 0:
                    raise NotBuilt(f"{compiler[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
                _try_out(unfinished)
                _write_through(unfinished)
                description = _describe(unfinished)
            write_atomically(_beside(library), description)
            return
        except NotBuilt as failure:
            failures.append(str(failure))
    raise NotBuilt(failures[-1])


def _try_out(library: Path) -> None:
    """Raises :class:`NotBuilt` if a process that uses the library dies or fails: not this one."""
    done = _run([sys.executable, "-I", "-S", "-c", _TRIAL, str(library)])
    if done.returncode < 0:
        raise NotBuilt(f"what was compiled ends a process with {signal.Signals(-done.returncode).name}")
    if done.returncode > 0:
        said = (done.stderr.strip().splitlines() or ["a wrong result"])[-1]
        raise NotBuilt(f"what was compiled does not work: {said}")


def _write_through(path: Path) -> None:
    """To the disk itself: after a power cut, a file may otherwise have its name and length and no content."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _is_whole(library: Path) -> bool:
    """Whether the library is what was written. To load another may end this process without a word."""
    try:
        return _beside(library).read_bytes() == _describe(library)
    except OSError:
        return False


def _describe(library: Path) -> bytes:
    content = library.read_bytes()
    return f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}\n".encode()


def _beside(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _cache_folder() -> Path:
    """Of the user; one for this process where that cannot be written."""
    folder = cache_root().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        own = tempfile.mkdtemp(prefix="flp-envs-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return Path(own)
