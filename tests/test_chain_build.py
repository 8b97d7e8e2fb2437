"""The C++ engine: compiled once, checked before it is loaded, and done without where it cannot be had."""

import os
import shutil
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from flp_agents import FLP, Network, run_lifetime
from flp_agents.closed_form import build, gradient
from flp_agents.closed_form.build import NativeRequired, NotBuilt, load_library
from flp_agents.closed_form.torch_engine import TorchEngine
from flp_envs import SineTask

COMPILER = shutil.which("g++") or shutil.which("clang++")
with_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (g++, clang++)")
# Large enough that what is missing of half of it is more than a page.
TINY = """
extern "C" { extern const char bulk[1 << 18] = {1}; int tiny() { return 7; } int flp_self_test() { return 0; } }
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of its own, and a source that compiles in no time."""
    monkeypatch.setenv("FLP_CACHE", str(tmp_path / "cache"))
    for name in ("FLP_REQUIRE_NATIVE", "FLP_NATIVE", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(build, "SOURCE", tmp_path / "tiny.cpp")
    build.SOURCE.write_text(TINY, encoding="utf-8")
    build.look_for.cache_clear()
    yield tmp_path / "cache"
    build.look_for.cache_clear()


def live_through_a_lifetime():
    episode = SineTask(num_functions=2, steps_per_function=2).sample(np.random.default_rng(0), 1)
    run_lifetime(FLP(Network((episode.support_x.shape[-1], 9, 8, 1)), 2), episode)


def compiler_that(tmp_path, does):
    """A compiler that notes each call, and a function that says how often it was called."""
    script = tmp_path / "compiler"
    script.write_text(f"#!/bin/sh\necho call >> {tmp_path}/calls\n{does}\n", encoding="utf-8")
    script.chmod(0o755)

    def calls():
        return (tmp_path / "calls").read_text(encoding="utf-8").count("call")

    return str(script), calls


def found():
    """The library in the cache, and the description beside it."""
    folder = build._cache_folder()
    (library,), (beside,) = folder.glob("*.so"), folder.glob("*.sha256")
    return library, beside


def not_whole():
    """What is in the cache without belonging there."""
    return [p.name for p in build._cache_folder().iterdir() if p.suffix not in (".so", ".sha256", ".lock")]


# Where there is no engine.


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CXX", "no-such-compiler", "no-such-compiler, which CXX names, is not there"),
        ("CXX", "false", "false failed"),
        ("CXX", "'", "CXX cannot be read"),
        ("FLP_NATIVE", "0", "FLP_NATIVE is 0"),
    ],
)
def test_without_an_engine_torch_does_it(monkeypatch, name, value, reason):
    monkeypatch.setenv(name, value)
    with pytest.raises(NotBuilt, match=reason):
        load_library(torch.float32)
    assert reason in gradient.engine_name(torch.device("cpu"), torch.float32)
    learner = FLP(Network((11, 9, 8, 1)), 2)
    form, tensors = learner.plastic_chain(learner.init(2))
    features, targets = torch.rand(2, 3, 4, 9), torch.rand(2, 3, 4, 1)
    assert isinstance(gradient.make_engine(form, tensors, features, targets), TorchEngine)
    if build._cache_folder().exists():
        assert not not_whole()


@pytest.mark.parametrize("kind", ["no permission", "no program", "folder"])
def test_a_compiler_that_cannot_be_executed(monkeypatch, tmp_path, kind):
    path = tmp_path / "compiler"
    path.mkdir() if kind == "folder" else path.write_bytes(b"\0\1\2")
    path.chmod(0o644 if kind == "no permission" else 0o755)
    monkeypatch.setenv("CXX", str(path))
    with pytest.raises(NotBuilt, match="cannot be executed"):
        load_library(torch.float32)


def test_a_compiler_that_fails_is_run_once_in_a_process(monkeypatch, tmp_path):
    compiler, calls = compiler_that(tmp_path, "echo this: error: that >&2; exit 1")
    monkeypatch.setenv("CXX", compiler)
    for _ in range(3):
        live_through_a_lifetime()
    with pytest.raises(NotBuilt, match=r"compiler failed: this: error: that"):
        load_library(torch.float32)
    assert calls() == 1 + len(build.TUNINGS)  # its version, and every tuning
    assert not not_whole()
    monkeypatch.setenv("CXX", f"{compiler} again")  # who mends it need not start anew
    with pytest.raises(NotBuilt):
        load_library(torch.float32)
    assert calls() == 2 * (1 + len(build.TUNINGS))


def test_a_compiler_that_hangs_is_ended(monkeypatch, tmp_path):
    compiler, _ = compiler_that(tmp_path, '[ "$1" = --version ] || exec sleep 60')
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(build, "_SECONDS", 0.5)
    with pytest.raises(NotBuilt, match=r"took longer than 0\.5 s"):
        load_library(torch.float32)


def test_the_engine_can_be_required(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("FLP_REQUIRE_NATIVE", "1")
    with pytest.raises(NativeRequired, match=r"is set and there is no C\+\+ engine: false failed: no mess"):
        load_library(torch.float32)
    with pytest.raises(NativeRequired, match="unset FLP_REQUIRE_NATIVE"):
        live_through_a_lifetime()
    with pytest.raises(NotBuilt, match="there is none for"):  # nowhere, so it cannot be missing here
        load_library(torch.float16)
    for value in ("0", ""):
        monkeypatch.setenv("FLP_REQUIRE_NATIVE", value)
        live_through_a_lifetime()


# The cache.


@with_compiler
def test_the_engine_is_kept(monkeypatch):
    assert load_library(torch.float32).tiny() == 7
    library, beside = found()
    made = library.stat().st_mtime_ns, beside.stat().st_mtime_ns
    build.look_for.cache_clear()
    monkeypatch.setenv("CXX", COMPILER)
    assert load_library(torch.float32).tiny() == 7
    assert (library.stat().st_mtime_ns, beside.stat().st_mtime_ns) == made
    assert not not_whole()


def test_the_key_holds_what_the_library_depends_on(monkeypatch):
    def key():
        return build._key("float", "compiler 1.0")

    before = key()
    monkeypatch.setattr("platform.node", lambda: "another-container")
    monkeypatch.setattr("socket.gethostname", lambda: "another-container")
    assert key() == before
    others = [build._key("double", "compiler 1.0"), build._key("float", "compiler 1.1")]
    for name, value in [("FLAGS", ("-O2",)), ("TUNINGS", ((),)), ("_processor", lambda: "another")]:
        with monkeypatch.context() as patch:
            patch.setattr(build, name, value)
            others.append(key())
    with monkeypatch.context() as patch:
        patch.setattr("platform.machine", lambda: "riscv64")
        others.append(key())
    build.SOURCE.write_text(TINY + "\n", encoding="utf-8")
    others.append(key())
    # Of what the source includes too: by content, and by name.
    header = build.SOURCE.with_name("included.h")
    header.write_text("int more();", encoding="utf-8")
    others.append(key())
    header.write_text("int less();", encoding="utf-8")
    others.append(key())
    header.rename(build.SOURCE.with_name("other.h"))
    others.append(key())
    assert len({before, *others}) == 11


@with_compiler
def test_the_key_is_of_all_files_that_the_real_source_includes(monkeypatch):
    monkeypatch.undo()
    command = [COMPILER, "-std=c++17", "-MM", "-DFLP_VALUE=float", str(build.SOURCE)]
    listed = (
        subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        .stdout.replace("\\\n", " ")
        .split()[1:]
    )
    included = {os.path.realpath(name) for name in listed}
    assert included == {os.path.realpath(path) for path in build.source_files()}
    assert len(included) > 10


def foreign(content):
    """The same library, for a processor of another kind: bytes 18 and 19 of an ELF file."""
    return content[:18] + b"\xb7\x00" + content[20:]


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "zeros at its end": lambda content: content[:4096] + bytes(len(content) - 4096),
    "of another kind of processor": foreign,
    "garbage": lambda content: b"half a library",
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
}


@with_compiler
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_library_is_built_anew_and_not_loaded(damage):
    load_library(torch.float32)
    library, _ = found()
    whole = library.read_bytes()
    build.look_for.cache_clear()
    library.unlink()  # to write into a library in use would end this process
    library.write_bytes(DAMAGES[damage](whole))
    assert load_library(torch.float32).tiny() == 7
    assert build._is_whole(library)
    assert not not_whole()
    # What this process loaded before it would not load again; another one does.
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).tiny())"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code, library]).returncode == 7


@with_compiler
@pytest.mark.parametrize("content", [None, b"", b"15 bytes, SHA-256 0"])
def test_a_library_without_its_description_is_built_anew(content):
    load_library(torch.float32)
    library, beside = found()
    made = library.stat().st_ino
    build.look_for.cache_clear()
    beside.unlink() if content is None else beside.write_bytes(content)
    assert load_library(torch.float32).tiny() == 7
    assert build._is_whole(library)
    assert library.stat().st_ino != made or beside.read_bytes() != content


@with_compiler
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("__builtin_trap(); return 0;", "ends a process with SIG(ILL|TRAP)"),
        ("return *(volatile int*)8;", "ends a process with SIGSEGV"),
        ("return 1;", "does not work: a wrong result"),
    ],
)
def test_a_fresh_library_is_tried_in_another_process_first(body, reason):
    build.SOURCE.write_text(f'extern "C" int flp_self_test() {{ {body} }}', encoding="utf-8")
    with pytest.raises(NotBuilt, match=reason):
        load_library(torch.float32)
    assert not list(build._cache_folder().glob("*.so"))
    assert not not_whole()


@with_compiler
def test_what_this_processor_cannot_run_is_compiled_without_tuning(monkeypatch):
    source = '#if TUNED\nextern "C" int flp_self_test() { __builtin_trap(); }\n#else\n' + TINY + "\n#endif"
    build.SOURCE.write_text(source, encoding="utf-8")
    monkeypatch.setattr(build, "TUNINGS", (("-DTUNED=1",), ()))
    assert load_library(torch.float32).tiny() == 7


@with_compiler
def test_of_several_at_once_one_compiles(monkeypatch, tmp_path):
    compiler, calls = compiler_that(tmp_path, f'[ "$1" = --version ] || sleep 1; exec {COMPILER} "$@"')
    results = []

    def look():
        # As other processes do: without what this one remembers.
        results.append(build.look_for.__wrapped__("float", None, compiler))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [library.tiny() for library in results] == [7] * 4
    assert calls() == 4 + 1  # the version is asked by each


@with_compiler
def test_a_cache_that_cannot_be_written_is_replaced_by_one_for_this_process(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path))
    assert load_library(torch.float32).tiny() == 7
    assert (tmp_path / "cache").read_text(encoding="utf-8") == "a file"


@with_compiler
def test_the_cache_honours_the_umask():
    load_library(torch.float32)
    umask = os.umask(0)
    os.umask(umask)
    for path in found():
        assert stat.S_IMODE(path.stat().st_mode) & 0o666 == 0o666 & ~umask


@with_compiler
@pytest.mark.parametrize("dtype", build.VALUES)
def test_the_real_engine_passes_its_trial(monkeypatch, dtype):
    monkeypatch.undo()  # the user's cache: compiling takes half a minute
    build.look_for.cache_clear()
    assert load_library(dtype).flp_self_test() == 0
