"""Compiles the C++ engine for this machine, once, and keeps it in the user's cache folder."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("plastic_chain.cpp")
VALUES = {torch.float32: "float", torch.float64: "double"}
_SECONDS = 180


class NotBuilt(Exception):
    """Why there is no C++ engine; the torch engine does the same, more slowly."""


@functools.cache
def load_library(dtype: torch.dtype) -> ctypes.CDLL:
    """The compiled engine for one type of values.

    The environment variable ``FLP_NATIVE=0`` does without it; ``CXX`` names the compiler.

    Raises:
        NotBuilt: if there is no compiler, or if it fails.
    """
    if os.environ.get("FLP_NATIVE", "1") == "0":
        raise NotBuilt("FLP_NATIVE is 0")
    if dtype not in VALUES:
        raise NotBuilt(f"there is none for {dtype}")
    named = os.environ.get("CXX")
    compiler = next(filter(None, map(shutil.which, [named] if named else ["g++", "clang++", "c++"])), None)
    if compiler is None:
        raise NotBuilt(f"no C++ compiler: {named} is not there" if named else "no C++ compiler (g++, clang++) is there")
    library = _library(compiler, VALUES[dtype])
    try:
        if library.exists():
            with contextlib.suppress(OSError):  # half a file, say
                return ctypes.CDLL(str(library))
        _build(compiler, VALUES[dtype], library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NotBuilt(f"the compiled engine cannot be used: {error}") from None


def _library(compiler: str, value: str) -> Path:
    """Where the library for this source, compiler and machine is kept."""
    # What the machine can do decides the code: a cache shared by unlike machines holds one library for each kind.
    machine = platform.machine() + platform.node() + _processor()
    version = _run([compiler, "--version"]).stdout
    source = SOURCE.read_text(encoding="utf-8")
    key = hashlib.sha256("\0".join([source, machine, version, value]).encode()).hexdigest()[:16]
    return _cache_folder() / f"plastic_chain-{value}-{key}.so"


def _build(compiler: str, value: str, library: Path) -> None:
    handle, unfinished = tempfile.mkstemp(suffix=".so", dir=library.parent)
    os.close(handle)
    command = [compiler, "-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", f"-DFLP_VALUE={value}"]
    try:
        for tuning in (["-march=native"], ["-mcpu=native"], []):
            done = _run([*command, *tuning, str(SOURCE), "-o", unfinished])
            if done.returncode == 0:
                os.replace(unfinished, library)
                return
        raise NotBuilt(f"{compiler} failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{compiler} took longer than {_SECONDS} s") from None
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Messages of compilers come in the user's language and encoding."""
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _cache_folder() -> Path:
    """``FLP_CACHE``, or the user's cache folder; a temporary one where that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(os.environ.get("FLP_CACHE") or os.path.join(base, "flp-envs"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="flp-envs-"))
