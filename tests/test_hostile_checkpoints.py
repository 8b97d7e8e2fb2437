"""Checkpoints and policies whose digest is right and whose content is not: one clear error, and nothing fails later."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import needs_complex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flp_agents
from flp_agents import CheckpointError, evaluate, get_preset
from flp_agents.adapters.saved_policies import DESCRIPTION, PolicyError, read_policy_description
from flp_agents.experiments.reproduction.files import ReproductionError, read_record
from flp_agents.support.plugins import PluginError
from flp_agents.training import bundled, checkpoint
from flp_agents.training.plan import Plan
from flp_agents.training.run import TrainingRun
from flp_base.errors import FLPError

SIZES = {"num_functions": 2, "steps_per_function": 2, "batch_size": 2, "query_size": 2}
SMALL = {"hidden_widths": (4,), "outer_steps": 4, "plastic_layers": 2, "short_outer_steps": 0, "meta_batch": 1}
Path_ = tuple[Any, ...]

# What an editor, another program or another version may have put in a field's place. Numbers of lifetimes and units
# that are merely large are left out: they are allowed.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 1, 2, 3, 7, 2**53, 2**70, -(2**127), 0.0, -0.5, 0.5, 1e-30, 1e13, 1e300, -1e300])
    | st.sampled_from(
        ["", "flp", "oja", "error", "meta-test", "FLPGlyph-IID-v0", "os:path", ":", "é\0", "9" * 400, "a/b"]
    )
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a", "mean"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that can be resumed."""
    folder = tmp_path_factory.mktemp("checkpoint")
    plan = Plan("FLPSine-Continual-v0", dict(SIZES), "flp", "cpu", get_preset("cpu", "flp", SMALL), 0, "a test")
    run = TrainingRun(plan, folder)
    run.run(stop_after_seconds=0.0)
    run.evaluate(episodes=1, seed=0)
    return folder


def places(content: Any, way: Path_ = ()) -> Iterator[Path_]:
    """The way to every part of nested tables and lists."""
    if isinstance(content, dict | list):
        for key, part in content.items() if isinstance(content, dict) else enumerate(content):
            yield (*way, key)
            yield from places(part, (*way, key))


def changed(content: Any, way: Path_, how: str, value: Any) -> Any:
    """The content with one part replaced, removed, or with something beside it."""
    content = copy.deepcopy(content)
    holder = content
    for key in way[:-1]:
        holder = holder[key]
    if how == "remove":
        del holder[way[-1]]
    elif how == "add":
        holder.insert(way[-1], value) if isinstance(holder, list) else holder.update({"more": value})
    else:
        holder[way[-1]] = value
    return content


def sign(folder: Path, content: dict[str, Any]) -> None:
    content = {key: value for key, value in content.items() if key != "digest"}
    content["digest"] = checkpoint._digest(content)
    (folder / checkpoint.DESCRIPTION).write_text(json.dumps(content), encoding="utf-8")


def use(folder: Path) -> None:
    """All that is done with a checkpoint.

    Raises:
        CheckpointError: if it is refused.
    """
    saved = checkpoint.load(folder)
    bundled.title(saved.about)
    checkpoint.save(folder.parent / "exported", saved.learner, saved.about)
    run = TrainingRun.resume(folder)
    run.trainer.step()
    run.save()
    evaluate(run.learner, run.plan.make_env("meta-test"), episodes=1, seed=0)


def refused_or_used(source: Path, place: Path, change: Callable[[Path], None]) -> None:
    folder = place / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    change(folder)
    said = ""
    try:
        use(folder)
    except CheckpointError as error:
        said = str(error)
    except FLPError as error:  # of this machine, which has none of the devices that a run may have had
        said = str(error)
        assert "CUDA" in said
    assert "\n" not in said
    assert len(said) < 1500


def check_description(paused: Path, place: Path, how: str, choice: int, value: Any) -> None:
    content = json.loads((paused / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))
    ways = [way for way in places(content) if way[0] not in ("digest", "format_version")]
    way = ways[choice % len(ways)]
    refused_or_used(paused, place, lambda folder: sign(folder, changed(content, way, how, value)))


def check_tensors(paused: Path, place: Path, kind: str, choice: int, how: str) -> None:
    def change(folder: Path) -> None:
        content = json.loads((folder / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))
        entry = content["files"][kind]
        tensors = safetensors.torch.load((folder / entry["name"]).read_bytes())
        name = sorted(tensors)[choice % len(tensors)]
        tensor = tensors.pop(name)
        others: dict[str, dict[str, torch.Tensor]] = {
            "remove": {},
            "rename": {f"{name}x": tensor},
            "shape": {name: tensor.reshape(-1, 1)},
            "scalar": {name: torch.zeros(())},
            "empty": {name: torch.zeros(0)},
            "double": {name: tensor.double()},
            "whole": {name: tensor.long()},
            "truth": {name: tensor.bool()},
            "complex": {name: tensor.to(torch.complex64)},
            "half": {name: tensor.half()},
            "nan": {name: torch.full_like(tensor, float("nan"))},
            "more": {name: tensor, "a/b": torch.ones(2), "step": torch.ones(())},
        }
        data = safetensors.torch.save({**tensors, **others[how]})
        digest = hashlib.sha256(data).hexdigest()
        entry |= {"name": f"{kind}-{digest[:12]}.safetensors", "sha256": digest}
        (folder / entry["name"]).write_bytes(data)
        sign(folder, content)

    refused_or_used(paused, place, change)


HOW = st.sampled_from(["replace", "replace", "replace", "remove", "add"])
COMPLEX = pytest.param("complex", marks=needs_complex)
TENSORS = ("remove", "rename", "shape", "scalar", "empty", "double", "whole", "truth", COMPLEX, "half", "nan", "more")
QUIET = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, **QUIET)
@given(how=HOW, choice=st.integers(0, 10**6), value=VALUES)
def test_descriptions(paused: Path, tmp_path_factory: Any, how: str, choice: int, value: Any) -> None:
    check_description(paused, tmp_path_factory.getbasetemp(), how, choice, value)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=4000, **QUIET)
@given(how=HOW, choice=st.integers(0, 10**6), value=VALUES)
def test_thousands_of_descriptions(paused: Path, tmp_path_factory: Any, how: str, choice: int, value: Any) -> None:
    check_description(paused, tmp_path_factory.getbasetemp(), how, choice, value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", TENSORS)
@pytest.mark.parametrize("kind", ["weights", "optimizer"])
def test_tensors(paused: Path, tmp_path: Path, kind: str, how: str) -> None:
    check_tensors(paused, tmp_path, kind, len(how), how)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", TENSORS)
@pytest.mark.parametrize("choice", range(30))
@pytest.mark.parametrize("kind", ["weights", "optimizer"])
def test_every_tensor(paused: Path, tmp_path: Path, kind: str, choice: int, how: str) -> None:
    check_tensors(paused, tmp_path, kind, choice, how)


@pytest.mark.parametrize(
    ("way", "value", "named"),
    [
        (("progress", "step_count"), "3", "progress.step_count"),
        (("progress", "step_count"), -1, "progress.step_count"),
        (("progress", "random_state"), {}, "progress.random_state"),
        (("progress", "random_state", "state", "state"), "x", "progress.random_state"),
        (("progress", "random_state", "bit_generator"), "MT19937", "progress.random_state"),
        (("progress", "seconds"), -1.0, "progress.seconds"),
        (("progress", "full_lifetime"), 1, "progress.full_lifetime"),
        (("progress", "torch_random_state"), "zz", "progress.torch_random_state"),
        (("progress", "torch_random_state"), "00", "progress.torch_random_state"),
        (("progress",), {}, "progress lacks"),
        (("about", "settings"), {"outer_steps": 0}, "outer_steps must be a whole number"),
        (("about", "settings", "hidden_widths"), 5, "hidden_widths must be a list"),
        (("about", "settings", "rate_weights"), None, "rate_weights must be"),
        (("about", "settings", "colour"), 1, "about.settings"),
        (("about", "settings", "plastic_layers"), 1, "about.settings"),
        (("about", "split_options"), {"others": 3}, "about.split_options"),
        (("about", "seed"), -1, "seed"),
        (("about", "learner"), "oml", "about.learner"),
        (("about", "learner"), "omm", "learner"),
        (("about", "env_options"), {"num_functions": "3"}, "num_functions"),
        (("about", "env_options"), {"colour": 1}, "colour"),
        (("about", "env_options"), {"split": "meta-test"}, "split"),
    ],
)
def test_what_resuming_needs_is_named(paused: Path, tmp_path: Path, way: Path_, value: Any, named: str) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(paused, folder)
    content = json.loads((folder / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))
    sign(folder, changed(content, way, "replace", value))
    with pytest.raises(CheckpointError, match=named):
        TrainingRun.resume(folder)


@pytest.mark.parametrize("env", ["FLPSine-v9", ":x"])
def test_an_environment_that_is_not_known_asks_for_its_plugin(paused: Path, tmp_path: Path, env: str) -> None:
    """It may be one that a plug-in would register."""
    folder = tmp_path / "folder"
    shutil.copytree(paused, folder)
    content = json.loads((folder / checkpoint.DESCRIPTION).read_text(encoding="utf-8"))
    sign(folder, changed(content, ("about", "env"), "replace", env))
    with pytest.raises(PluginError, match=f"the environment {env} is not known here: add --plugin"):
        TrainingRun.resume(folder)


@pytest.fixture(scope="module")
def policy() -> Path:
    """A policy that comes with the package."""
    return sorted(Path(flp_agents.__file__).parent.glob(f"**/{DESCRIPTION}"))[0].parent


@settings(max_examples=80, **QUIET)
@given(how=HOW, choice=st.integers(0, 10**6), value=VALUES)
def test_descriptions_of_policies(policy: Path, tmp_path_factory: Any, how: str, choice: int, value: Any) -> None:
    content = json.loads((policy / DESCRIPTION).read_text(encoding="utf-8"))
    ways = list(places(content))
    folder = tmp_path_factory.getbasetemp()
    text = json.dumps(changed(content, ways[choice % len(ways)], how, value))
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    try:
        about = read_policy_description(folder)
    except PolicyError as error:
        said = str(error)
    else:
        assert isinstance(about.env, str)
        assert isinstance(about.env_steps, int)
        said = about.command
    assert "\n" not in said


def test_a_field_of_a_policy_is_named(policy: Path, tmp_path: Path) -> None:
    content = json.loads((policy / DESCRIPTION).read_text(encoding="utf-8"))
    for name, value in (("seed", "0"), ("env_options", []), ("cost_seconds", None), ("algorithm", "a2c")):
        (tmp_path / DESCRIPTION).write_text(json.dumps({**content, name: value}), encoding="utf-8")
        with pytest.raises(PolicyError, match=name):
            read_policy_description(tmp_path)


def test_a_record_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    from flp_agents.experiments.reproduction.results import NetworkResult

    record = {"name": "a", "method": "b", "column": "c", "seed": 0, "command": "", "plan": "", "episodes": 3}
    whole = {**NetworkResult(**record).__dict__, "format_version": 1}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert read_record(path, NetworkResult) == NetworkResult(**record)
    for name, value in (("mean", "x"), ("seed", 1.5), ("stamp", [])):
        path.write_text(json.dumps({**whole, name: value}), encoding="utf-8")
        with pytest.raises(ReproductionError, match=f"{name} must be"):
            read_record(path, NetworkResult)
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(FLPError, match=r"nested|not JSON"):
        read_record(path, NetworkResult)
