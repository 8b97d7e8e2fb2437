"""Whatever is written can be read by whoever the user's umask says, and by nobody else."""

import os
import stat
from pathlib import Path

import pytest
from conftest import make_pack

from flp_agents.cli.main import main
from flp_base.files import replacing, write_atomically

SHORT = ["--env-option", "num_functions=2", "--env-option", "steps_per_function=3"]


@pytest.fixture(params=[0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_that_are_replaced_honour_the_umask(tmp_path, umask):
    write_atomically(tmp_path / "new", b"1")
    assert mode(tmp_path / "new") == 0o666 & ~umask
    write_atomically(tmp_path / "new", b"2")
    assert mode(tmp_path / "new") == 0o666 & ~umask
    assert (tmp_path / "new").read_bytes() == b"2"
    assert mode(make_pack(tmp_path, "omniglot", 14, 1, ("meta-train",), 2)) == 0o666 & ~umask


def test_a_block_that_fails_leaves_the_file_and_nothing_beside_it(tmp_path):
    (tmp_path / "file").write_bytes(b"before")

    def write_half() -> None:
        with replacing(tmp_path / "file") as (new, handle):
            assert new.parent == tmp_path
            os.write(handle, b"half")
            os.close(handle)
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]


QUICK = [*SHORT, "--hidden-widths=8,8", "--short-outer-steps=0", "--outer-steps=2", "--test-episodes=2"]
COMPARED = ["--envs", "FLPSine-Continual-v0", *SHORT, "--seeds", "1", "--episodes", "2", "--jobs", "1"]
COMMANDS = {
    "run": ["train", *QUICK],
    "exported": ["export", "--checkpoint", "run"],
    "samples.png": ["data", "show", "glyph", "--classes", "2", "--images", "2"],
    "compared": ["benchmark", "--learners", "run", "ridge", *COMPARED],
}
SLOWER = {
    "report.html": ["report", "compared"],
    "lifetime.png": ["render", "--checkpoint", "run", *SHORT],
    "analysis": ["analyse", "run", *SHORT, "--episodes", "2"],
    "policy": ["train-sb3", "--algorithm", "ppo", *SHORT, "--env-steps", "8", "--test-episodes", "2"],
    "demonstration": ["demo", "--episodes", "2", "--train-seconds", "1"],
}


@pytest.mark.parametrize("umask", [0o002], indirect=True)
@pytest.mark.parametrize("commands", [COMMANDS, pytest.param({**COMMANDS, **SLOWER}, marks=pytest.mark.slow)])
def test_everything_that_commands_write_honours_the_umask(commands, tmp_path, umask, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for output, arguments in commands.items():
        assert main([*arguments, "--output", output]) == 0, arguments
    written = {path.relative_to(tmp_path): oct(mode(path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.parts[0] for path in written} == set(commands)
    # filelock makes its own.
    assert not {path: found for path, found in written.items() if found != oct(0o664) and path.parent.name != ".locks"}
