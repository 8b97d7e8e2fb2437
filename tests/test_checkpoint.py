"""Saving, rebuilding, and everything that can be wrong with a checkpoint."""

import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from conftest import needs_complex

import flp_envs
from flp_agents import FLP, OML, CheckpointError, Feedback, GradientBased, Hebb, Network, evaluate
from flp_agents.learners.convolutions import Convolutions
from flp_agents.learners.objective import CrossEntropy, SquaredError
from flp_agents.training import checkpoint
from flp_agents.training.bundled import bundled_checkpoints

IMAGES = Convolutions((1, 14, 14), 3, (2, 2), 1, mean=(1.0,), deviation=(-1.0,))
OF_IMAGES = Network((IMAGES.features, 8, 6), convolutions=IMAGES)

LEARNERS = [
    FLP(
        Network((3, 5, 4, 1), (1.0, 1.0, 0.2)),
        2,
        rule=Hebb(),
        feedback=Feedback(signal="target", rectified=False, hidden_layers=1, output="clamped"),
        granularity="neuron",
        presynaptic="after",
        initial_coefficient=0.1,
        coefficient_unit=0.01,
        hidden_multiplier=10.0,
        seed=4,
    ),
    FLP(Network((3, 4, 1)), 1),
    GradientBased(Network((3, 5, 4, 1)), 3, order="first", rate_unit=0.5),
    OML(Network((3, 5, 1)), 1, inner_rate=0.01),
    FLP(
        OF_IMAGES,
        2,
        feedback=Feedback("target", output="clamped"),
        initial_coefficient=0.001,
        initial_strength=1.0,
        hidden_multiplier=100.0,
        objective=CrossEntropy(4, 6),
    ),
    GradientBased(OF_IMAGES, 2, objective=CrossEntropy(4, 6), seed=1),
    OML(OF_IMAGES, 1, objective=CrossEntropy(4, 6), seed=2),
]


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    checkpoint.save(folder, LEARNERS[0], {"env": "E"}, progress={"step": 3}, optimizer={"a/b": torch.ones(2)})
    return folder


def edit(folder, change):
    """Changes the JSON as somebody with an editor would."""
    path = folder / checkpoint.DESCRIPTION
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_and_sign(folder, change):
    """Changes the JSON as a program would."""
    edit(folder, lambda c: (change(c), c.pop("digest"), c.update(digest=checkpoint._digest(c))))


def weights_file(folder):
    return next(folder.glob("weights-*.safetensors"))


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_a_checkpoint_rebuilds_the_learner(learner, tmp_path):
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += 0.1
    checkpoint.save(tmp_path, learner, {"note": "x"})
    loaded = checkpoint.load(tmp_path)
    assert type(loaded.learner) is type(learner)
    assert loaded.learner.settings == learner.settings
    assert checkpoint.parameters_digest(loaded.learner) == checkpoint.parameters_digest(learner)
    assert loaded.about == {"note": "x"}
    assert loaded.progress is None
    assert loaded.optimizer == {}


@pytest.mark.parametrize("learner", LEARNERS[-3:], ids=lambda learner: type(learner).__name__)
def test_a_learner_of_images_answers_as_it_did_before_it_was_saved(learner, tmp_path):
    checkpoint.save(tmp_path, learner, {})
    loaded = checkpoint.load(tmp_path).learner
    assert loaded.objective == learner.objective == CrossEntropy(4, 6)
    assert loaded.layers.network == OF_IMAGES
    env = flp_envs.make("FLPGlyph-IID-v0", image_size=14, num_classes=4, shots=2, query_shots=2)
    scores = [evaluate(of, env, episodes=4, seed=1).scores.tolist() for of in (learner, loaded)]
    assert scores[0] == scores[1]
    content = json.loads((tmp_path / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))["learner"]
    assert content["objective"] == {"type": "CrossEntropy", "classes": 4, "outputs": 6}
    assert content["network"]["convolutions"]["image_shape"] == [1, 14, 14]


def test_a_learner_grown_to_more_classes_is_saved_as_it_is(tmp_path):
    env = flp_envs.make("FLPGlyph-IID-v0", image_size=14, num_classes=9, shots=1, query_shots=1)
    grown = LEARNERS[-3].adapt_to(env)
    checkpoint.save(tmp_path, grown, {})
    loaded = checkpoint.load(tmp_path).learner
    assert loaded.objective == CrossEntropy(9, 9)
    assert checkpoint.parameters_digest(loaded) == checkpoint.parameters_digest(grown)


@pytest.mark.parametrize("learner", [FLP(Network((3, 4, 1)), 1), GradientBased(Network((3, 4, 1)), 1)])
def test_checkpoints_from_before_objectives_and_convolutions_load(tmp_path, monkeypatch, learner):
    old = checkpoint.describe(learner)
    del old["objective"], old["network"]["convolutions"]
    monkeypatch.setattr(checkpoint, "describe", lambda _: old)
    checkpoint.save(tmp_path, learner, {})
    loaded = checkpoint.load(tmp_path).learner
    assert loaded.objective == SquaredError()
    assert loaded.layers.network.convolutions is None
    assert checkpoint.parameters_digest(loaded) == checkpoint.parameters_digest(learner)


def test_types_are_kept(tmp_path):
    learner = FLP(Network((3, 4, 1)), 1).double()
    checkpoint.save(tmp_path, learner, {})
    assert checkpoint.parameters_digest(checkpoint.load(tmp_path).learner) == checkpoint.parameters_digest(learner)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    class Mine(Hebb):
        """A rule that the package does not know."""

    with pytest.raises(CheckpointError, match=r"cannot save Mine: decorate it with @flp_agents.register"):
        checkpoint.save(tmp_path, FLP(Network((3, 4, 1)), 1, rule=Mine()), {})
    assert not list(tmp_path.iterdir())


def test_training_state_comes_along(saved):
    loaded = checkpoint.load(saved)
    assert loaded.progress == {"step": 3}
    assert torch.equal(loaded.optimizer["a/b"], torch.ones(2))


def test_no_pickle_is_written(saved):
    assert {p.suffix for p in saved.iterdir()} == {".json", ".safetensors"}


def test_saving_again_leaves_one_checkpoint(saved):
    checkpoint.save(saved, LEARNERS[1], {})
    assert len(list(saved.iterdir())) == 2
    assert checkpoint.load(saved).learner.settings["plastic_layers"] == 1


@pytest.mark.parametrize("at", ["weights", "optimizer", checkpoint.DESCRIPTION])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_while_saving_keeps_the_earlier_checkpoint(saved, monkeypatch, at, error):
    replace = os.replace

    def fail(source, target):
        if at in str(target):
            raise error
        replace(source, target)

    before = sorted(path.name for path in saved.iterdir())
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((CheckpointError, KeyboardInterrupt)) as caught:
        checkpoint.save(saved, LEARNERS[1], {}, progress={}, optimizer={})
    if isinstance(error, OSError):
        assert "No space left on device; an earlier one there is untouched" in str(caught.value)
    monkeypatch.undo()
    assert checkpoint.load(saved).progress == {"step": 3}
    assert sorted(path.name for path in saved.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot write a checkpoint to .*file"):
        checkpoint.save(tmp_path / "file" / "folder", LEARNERS[1], {})


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / checkpoint.DESCRIPTION).unlink(), "no checkpoint at .*: expected a folder that holds"),
        (lambda f: truncate(f / checkpoint.DESCRIPTION), "truncated or not JSON"),
        (lambda f: (f / checkpoint.DESCRIPTION).write_text("[]", encoding="utf-8"), "has format version None"),
        (lambda f: (f / checkpoint.DESCRIPTION).write_bytes(b"\xff\xfe"), "truncated or not JSON"),
        (lambda f: truncate(weights_file(f)), "truncated or was altered: its SHA-256"),
        (lambda f: flip_a_byte(weights_file(f)), "truncated or was altered: its SHA-256"),
        (lambda f: weights_file(f).unlink(), "lacks its file weights-"),
        (lambda f: edit(f, lambda c: c["about"].update(env="F")), "was altered after it was saved"),
        (lambda f: edit(f, lambda c: c["learner"].update(plastic_layers=1)), "was altered after it was saved"),
        (lambda f: edit(f, lambda c: c.update(format_version=2)), "format version 2, this version reads 1: use"),
        (lambda f: edit_and_sign(f, lambda c: c["learner"].update(type="os.system")), "unknown class 'os.system'"),
        (lambda f: edit_and_sign(f, lambda c: c["learner"].update(colour=1)), "does not fit FLP"),
        (lambda f: edit_and_sign(f, lambda c: c["learner"]["objective"].update(type="Loss")), "unknown class 'Loss'"),
        (lambda f: edit_and_sign(f, lambda c: c["learner"]["objective"].update(a=1)), "does not fit SquaredError"),
        (lambda f: edit_and_sign(f, lambda c: c["learner"].update(plastic_layers=1)), "do not fit the learner"),
        (lambda f: edit_and_sign(f, lambda c: c.update(learner=7)), "does not describe a learner"),
        (lambda f: edit_and_sign(f, lambda c: c.pop("files")), "lacks"),
    ],
)
def test_a_damaged_checkpoint_is_refused(saved, damage, message):
    damage(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(saved)
    assert "\n" not in str(caught.value)


def set_in(content, path, value):
    """Replaces a part of nested tables and lists, by the keys that lead there."""
    *way, last = path
    for key in way:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("learner", "network", "widths"), 7, "learner.network.widths must be a list of whole numbers, got 7"),
        (("learner", "network", "widths", 1), "5", r"learner.network.widths\[1\] must be a whole number, got '5'"),
        (("learner", "network", "widths", 1), 0, "learner.network: a layer's width must be a whole number of at least"),
        (("learner", "network", "input_scale"), "ab", "learner.network.input_scale must be"),
        (("learner", "network"), {"type": "Hebb"}, "learner.network must be a Network"),
        (("learner", "network"), None, "learner.network must be a Network, got None"),
        (("learner", "rule"), {"type": "SquaredError"}, "learner.rule must be a PlasticityRule"),
        (("learner", "objective"), {"type": "Hebb"}, "learner.objective must be an? Objective"),
        (("learner", "feedback", "rectified"), 1, "learner.feedback.rectified must be true or false, got 1"),
        (("learner", "feedback", "signal"), "errors", "learner.feedback: unknown feedback signal 'errors'"),
        (("learner", "feedback", "hidden_layers"), 10**9, "hidden_layers must be a whole number of at most 1000"),
        (("learner", "plastic_layers"), 2.0, "learner.plastic_layers must be a whole number, got 2.0"),
        (("learner", "granularity"), ["neuron"], "learner.granularity must be text"),
        (("learner", "coefficient_unit"), None, "learner.coefficient_unit must be a finite number, got None"),
        (("learner", "seed"), True, "learner.seed must be a whole number, got True"),
        (("learner", "seed"), 2**100, "learner: seed must be a whole number of at most"),
        (("about",), [], "about must be a table"),
        (("about", "env"), 3, "about.env must be text, got 3"),
        (("about", "env_options"), [], "about.env_options must be a table"),
        (("about", "result"), {"mean": "good"}, "about.result.mean must be a finite number or none, got 'good'"),
        (("progress",), [1], "progress must be a table, got"),
        (("files",), None, "files must be a table"),
        (("files", "weights"), "x", "files.weights must be a table"),
        (("files", "weights"), {"name": "a"}, "files.weights lacks 'sha256'"),
        (("files", "weights", "name"), "../x", "files.weights.name must be of a file of weights"),
        (("files", "weights", "name"), "weights-\0.safetensors", "files.weights.name must be of a file of weights"),
        (("files", "optimizer", "name"), "", "files.optimizer.name must be of a file of optimizer"),
        (("files",), {}, "files.weights.name must be of a file of weights"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(saved, path, value, message):
    edit_and_sign(saved, lambda content: set_in(content, path, value))
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "part",
    [
        {"network": {"type": "Network", "widths": [3, 10**9, 10**9, 1]}},
        {"network": {"type": "Network", "widths": [3, *[1] * 200_000, 1]}},
        {"feedback": {"type": "Feedback", "hidden_layers": 1000, "hidden_width": 500}},
        {"feedback": {"type": "Feedback", "hidden_layers": 1, "hidden_width": 10**12}},
    ],
)
def test_a_learner_far_larger_than_its_weights_is_not_built(saved, part):
    edit_and_sign(saved, lambda content: content["learner"].update(part))
    with pytest.raises(CheckpointError, match="learner: the description is of one far larger than its file"):
        checkpoint.load(saved)


def write_weights(folder, tensors):
    """Replaces the file of weights, and signs for it."""
    data = safetensors.torch.save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    (folder / "weights-0.safetensors").write_bytes(data)
    entry = {"name": "weights-0.safetensors", "sha256": digest}
    edit_and_sign(folder, lambda content: content["files"].update(weights=entry))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.clear(), "'coefficients.0' is missing, expected"),
        (lambda t: t.update(more=torch.ones(2)), r"'more' \(2,\) float32, expected no such tensor"),
        (lambda t: t.update({"strengths.0": torch.ones(2)}), r"'strengths.0' \(2,\) float32, expected \(\) float32"),
        (lambda t: t.update({"strengths.0": torch.ones((), dtype=torch.int64)}), r"'strengths.0' \(\) int64, expected"),
        (lambda t: t.update({"strengths.0": torch.ones((), dtype=torch.float64)}), "got torch.float32, torch.float64"),
        (lambda t: t.update({k: v.bool() for k, v in t.items()}), "bool, expected"),
        pytest.param(
            lambda t: t.update({k: v.to(torch.complex64) for k, v in t.items()}),
            "complex64, expected",
            marks=needs_complex,
        ),
        (lambda t: t.update({k: v.to(torch.float8_e5m2) for k, v in t.items()}), "got torch.float8_e5m2"),
    ],
)
def test_weights_of_the_wrong_name_shape_or_type_are_named(saved, change, message):
    tensors = {name: tensor.detach().clone() for name, tensor in LEARNERS[0].named_parameters()}
    change(tensors)
    write_weights(saved, tensors)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(saved)


def test_a_file_of_no_tensors_at_all(saved):
    data = b"\x10\x00\x00\x00\x00\x00\x00\x00" + b"[" * 16
    (saved / "weights-0.safetensors").write_bytes(data)
    entry = {"name": "weights-0.safetensors", "sha256": hashlib.sha256(data).hexdigest()}
    edit_and_sign(saved, lambda content: content["files"].update(weights=entry))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        checkpoint.load(saved)


def test_deep_nesting_is_one_clear_line(saved):
    (saved / checkpoint.DESCRIPTION).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(CheckpointError, match="nested more than"):
        checkpoint.load(saved)
    checkpoint.save(saved, LEARNERS[1], {})  # which reads it first
    checkpoint.load(saved)


def test_a_checkpoint_is_loaded_by_what_has_imported_no_learner():
    """In an interpreter of its own: in this one, other tests have imported all learners."""
    folder = str(bundled_checkpoints()["flp-2-sine-iid"])
    program = (
        "from pathlib import Path; from flp_agents.training import checkpoint; "
        f"print(type(checkpoint.load(Path({folder!r})).learner).__name__)"
    )
    printed = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, encoding="utf-8", check=True)
    assert printed.stdout == "FLP\n"
