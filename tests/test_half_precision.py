"""Weights in half precision: what is rounded, what comes back, what is refused, and what the package carries."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import pytest
import torch

from flp_agents import FLP, CheckpointError, Network
from flp_agents.cli.main import main
from flp_agents.support.half_precision import in_half, rounded_through_half
from flp_agents.training import checkpoint, half_precision
from flp_agents.training.bundled import bundled_checkpoints

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
ROUNDED = ["coefficients.0", "layers.weights.1", "layers.weights.2"]


def learner(seed=0):
    return FLP(Network((3, 40, 40, 40, 1)), 2, seed=seed)


def entry_of(folder):
    return json.loads((folder / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))["files"]["weights"]


@pytest.fixture
def stored(tmp_path):
    """A checkpoint in half precision."""
    folder = tmp_path / "half"
    checkpoint.save(folder, learner(), {"env": "E"}, half=True)
    return folder


def test_large_tensors_are_rounded_and_small_ones_are_not(stored, tmp_path):
    exact = learner().state_dict()
    loaded = checkpoint.load(stored).learner.state_dict()
    assert {name for name in exact if not torch.equal(exact[name], loaded[name])} <= {*ROUNDED}
    assert not torch.equal(exact["layers.weights.1"], loaded["layers.weights.1"])
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    for name in ROUNDED:
        torch.testing.assert_close(loaded[name], exact[name], rtol=2**-11, atol=2**-24)
    checkpoint.save(tmp_path / "whole", learner(), {"env": "E"})
    whole, half = ((folder / entry_of(folder)["name"]).stat().st_size for folder in (tmp_path / "whole", stored))
    assert half < 0.65 * whole


def test_the_weights_that_were_meta_trained_identify_the_network(stored, tmp_path):
    checkpoint.save(tmp_path / "whole", learner(), {"env": "E"})
    digests = {checkpoint.trained_weights(checkpoint.read_description(f)) for f in (tmp_path / "whole", stored)}
    assert digests == {entry_of(tmp_path / "whole")["sha256"]} == {checkpoint.load(stored).rounded_from}
    assert entry_of(stored)["sha256"] not in digests  # what is measured anew is of other numbers
    saved = checkpoint.load(stored)
    checkpoint.save(tmp_path / "copy", saved.learner, saved.about, half=True, rounded_from=saved.rounded_from)
    assert entry_of(tmp_path / "copy") == entry_of(stored)


def test_a_learner_in_float64_comes_back_in_float64(tmp_path):
    checkpoint.save(tmp_path, learner().double(), half=True)
    assert {tensor.dtype for tensor in checkpoint.load(tmp_path).learner.state_dict().values()} == {torch.float64}


@pytest.mark.parametrize("value", [1e-7, 1e6, float("nan")])
def test_what_16_bits_cannot_hold_stays_as_it_is(value):
    tensors = {"odd": torch.full((1000,), value) * torch.linspace(1, 2, 1000), "fine": torch.linspace(-1, 2, 1000)}
    assert in_half(tensors).keys() == {"fine"}
    assert rounded_through_half(tensors)["odd"] is tensors["odd"]


def test_a_run_is_never_stored_so(tmp_path):
    with pytest.raises(CheckpointError, match="cannot save a run in half precision"):
        checkpoint.save(tmp_path, learner(), progress={}, half=True)
    with pytest.raises(CheckpointError, match="expected large tensors of one type, got no tensor of 1000 numbers"):
        checkpoint.save(tmp_path, FLP(Network((3, 4, 1)), 1), half=True)
    assert not list(tmp_path.iterdir())


def sign(folder, change):
    path = folder / checkpoint.DESCRIPTION
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    del content["digest"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(content), encoding="utf-8")


def with_half(**changes):
    return lambda content: content["files"]["weights"]["half"].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_half(type="int8"), "files.weights.half.type must be float32 or float64, got 'int8'"),
        (with_half(type=["float32"]), "files.weights.half.type must be text"),
        (with_half(sha256="../x"), "files.weights.half.sha256 must be 64 hexadecimal digits, got '../x'"),
        (with_half(tensors="strengths.0"), "files.weights.half.tensors must be a list"),
        (with_half(tensors=["nobody"]), r"'nobody' is missing, expected \(2, ...\) torch.uint8"),
        (with_half(tensors=["strengths.0"]), r"'strengths.0' is \(\) torch.float32, expected \(2, ...\) torch.uint8"),
        (with_half(tensors=[]), r"'coefficients.0' \(2, 40, 40\) uint8, expected \(40, 40\) float32"),
        (with_half(type="float64"), "expected one type of numbers, got torch.float32, torch.float64"),
        (lambda c: c["files"]["weights"].update(half=[]), "files.weights.half must be a table"),
        (lambda c: c["files"]["weights"]["half"].pop("sha256"), "files.weights.half lacks 'sha256'"),
        (
            lambda c: c.update(progress={}, files={**c["files"], "optimizer": {**c["files"]["weights"]}}),
            "never in half",
        ),
    ],
)
def test_a_description_that_is_not_true_is_refused(stored, change, message):
    sign(stored, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(stored)
    assert "\n" not in str(caught.value)


QUICK = [
    "--env",
    "FLPSine-Continual-v0",
    "--outer-steps",
    "2",
    "--hidden-widths",
    "40,40",
    "--meta-batch",
    "1",
    "--short-outer-steps",
    "0",
    "--env-option",
    "num_functions=2",
    "--env-option",
    "steps_per_function=3",
    "--test-episodes",
    "3",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small finished run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", *QUICK, f"--output={folder}"]) == 0
    return folder


def test_export_measures_what_rounding_changes(trained, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["export", f"--checkpoint={trained}", f"--output={first}", "--half"]) == 0
    assert "in half precision, which changes it by" in capsys.readouterr().out
    run, exported = checkpoint.load(trained), checkpoint.load(first)
    rounding = exported.about.pop("rounding")
    assert exported.about == run.about
    assert rounding["split"] == "meta-train"
    assert 0 < abs(rounding["change"]) < 0.1 * rounding["standard_error"]
    assert rounding["standard_error_of_change"] > 0
    assert exported.rounded_from == entry_of(trained)["sha256"]
    # A copy of it is what it is.
    assert main(["export", f"--checkpoint={first}", f"--output={second}"]) == 0
    assert (second / checkpoint.DESCRIPTION).read_bytes() == (first / checkpoint.DESCRIPTION).read_bytes()


def test_export_refuses_to_round_what_would_score_otherwise(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(half_precision, "TOLERANCE", 0.0)
    assert main(["export", f"--checkpoint={trained}", f"--output={tmp_path / 'half'}", "--half"]) == 1
    assert "half precision moves the mse on meta-train from" in capsys.readouterr().err
    assert not (tmp_path / "half").exists()


def test_export_needs_an_environment_to_compare_in(tmp_path, capsys):
    checkpoint.save(tmp_path / "new", learner(), {})
    assert main(["export", f"--checkpoint={tmp_path / 'new'}", f"--output={tmp_path / 'half'}", "--half"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "half").exists()


def test_bundled_networks_are_for_inference_only_and_score_what_they_did():
    for name, folder in bundled_checkpoints().items():
        description = checkpoint.read_description(folder)
        assert description["progress"] is None, name
        assert {path.name for path in folder.iterdir()} == {checkpoint.DESCRIPTION, entry_of(folder)["name"]}
        if "half" in description["files"]["weights"]:
            rounding = description["about"]["rounding"]
            assert rounding["split"] != "meta-test"
            assert abs(rounding["change"]) <= 0.1 * rounding["standard_error"], name


def test_the_wheel_stays_small():
    """Compressed file by file, as a wheel is, with room for its table of contents.

    The aim is 10 MB: three bundled networks, whose scores rounding moves, take 0.8 MB more than in half precision.
    """
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    files = [
        path
        for package in built["targets"]["wheel"]["packages"]
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(len(zlib.compress(path.read_bytes(), 6)) + 400 for path in files) < 10_800_000
