"""A command prints into any terminal or pipe: what that cannot show costs neither its work nor a traceback."""

import io
import sys
from pathlib import Path

import pytest

from flp_agents.cli import main as cli

PLUGIN = Path(__file__).parent / "plugin_learners.py"
SHORT = ["--env-option", "num_functions=2", "--env-option", "steps_per_function=2"]
# A name that ASCII lacks, and one that is no text in UTF-8, as a folder from another system may have.
NAMES = {"ascii": "Zähler-λ±", "utf-8": "folder-\udcff"}
LEARNER = ["--learners", "mean", "--envs", "FLPSine-Continual-v0", "--seeds", "2", "--episodes", "2", "--jobs", "1"]


def run(monkeypatch, encoding, *arguments):
    """What ``flp`` prints, as bytes, and its exit code, where both streams are strict."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    monkeypatch.setattr(sys, "argv", ["flp", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    for stream in streams:
        stream.flush()
    printed, errors = (stream.buffer.getvalue() for stream in streams)
    assert b"Traceback" not in errors
    return ended.value.code, printed, errors


@pytest.mark.parametrize("encoding", NAMES)
def test_what_a_command_wrote_is_there_whatever_its_output_can_show(tmp_path, monkeypatch, encoding):
    monkeypatch.chdir(tmp_path)
    name = NAMES[encoding]

    def succeeds(*arguments):
        code, printed, errors = run(monkeypatch, encoding, *arguments)
        assert code == 0, errors
        return printed

    succeeds("list", "--plugin", PLUGIN)
    succeeds("train", "--outer-steps", 1, "--test-episodes", 2, "--output", f"run-{name}", *SHORT)
    exported = succeeds("export", "--checkpoint", f"run-{name}", "--output", f"exported-{name}")
    assert exported.startswith(b"exported-")
    succeeds("evaluate", "--checkpoint", f"exported-{name}", "--episodes", 2, *SHORT)
    succeeds("evaluate", "--checkpoint", f"exported-{name}", "--episodes", 2, "--json", *SHORT)
    succeeds("render", "--checkpoint", f"exported-{name}", "--output", f"{name}.png", "--every", 100, *SHORT)
    succeeds("analyse", f"exported-{name}", "--episodes", 2, "--output", f"analysis-{name}", *SHORT)
    learners = [*LEARNER, "--plugin", PLUGIN, *SHORT, "--output", f"results-{name}"]
    if encoding == "utf-8":
        # Results name their learners; this one could not be read again.
        code, _, errors = run(monkeypatch, encoding, "benchmark", *learners, "--learners", f"exported-{name}")
        assert code == 1
        assert errors == b"flp: error: the learner's name exported-folder-\\udcff is not UTF-8: rename its folder\n"
    else:
        learners.insert(1, f"exported-{name}")
    assert b"mean" in succeeds("benchmark", *learners)
    succeeds("benchmark", *learners, "--json")
    succeeds("report", f"results-{name}")
    succeeds("check-learner", "mean", "--plugin", PLUGIN, "--envs", "FLPSine-Continual-v0")
    succeeds("data", "list")
    written = [f"exported-{name}/checkpoint.json", f"{name}.png", f"analysis-{name}", f"results-{name}/report.html"]
    assert [path for path in written if not (tmp_path / path).exists()] == []


@pytest.mark.parametrize("encoding", NAMES)
def test_errors_are_one_line_whatever_their_output_can_show(tmp_path, monkeypatch, encoding):
    monkeypatch.chdir(tmp_path)
    name = NAMES[encoding]
    for arguments in (
        ["evaluate", "--checkpoint", name],
        ["benchmark", name],
        ["report", name],
        ["list", "--plugin", name],
        ["train", "--env", name],
        ["data", "show", name],
        [name],
    ):
        code, _, errors = run(monkeypatch, encoding, *arguments)
        assert code != 0
        assert errors.startswith(b"flp: error: ")
        assert errors.count(b"\n") == 1
