"""Saving, rebuilding, and everything that can be wrong with a checkpoint."""

import errno
import json
import os

import pytest
import torch

import flp_envs
from flp_agents import (
    FLP,
    OML,
    CheckpointError,
    Feedback,
    GradientBased,
    Hebb,
    Network,
    checkpoint,
    evaluate,
)
from flp_agents.convolutions import Convolutions
from flp_agents.objective import CrossEntropy, SquaredError

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
    grown = LEARNERS[-3].fitted_to(env)
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
