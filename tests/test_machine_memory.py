"""Sizes that no machine holds are refused at once, with their estimate, before anything is allocated."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import SMALL_IMAGES, SMALL_SINE

import flp_envs
from flp_agents import MetaTrainer, build_learner, evaluate, get_preset
from flp_agents.baselines.tuned_learners import build_baseline
from flp_agents.cli.main import main
from flp_agents.learners.feedback import Feedback
from flp_agents.learners.flp import FLP
from flp_agents.learners.network import Network
from flp_base import machine_memory
from flp_base.errors import FLPError, InvalidSize
from flp_base.machine_memory import TooMuchMemory, available_bytes, check_fits, readable
from flp_envs import OnlineLearningVectorEnv, SineTask, draw_episodes

HUGE = 10**12
SINE, GLYPH = "FLPSine-IID-v0", "FLPGlyph-IID-v0"
NETWORK = Network((4, 5, 1))


def preset(**settings):
    return get_preset("cpu", "flp", settings)


def small(**options):
    return flp_envs.make(SINE, **{**SMALL_SINE, **options})


def trained_on(meta_batch):
    learner = FLP(NETWORK)
    trainer = MetaTrainer(
        learner, small(), rates=dict.fromkeys(learner.parameter_groups(), 1e-3), meta_batch=meta_batch
    )
    trainer.step()


ABSURD = {
    "query_size": lambda: gym.make(SINE, query_size=32 * HUGE),
    "query_size beyond any": lambda: gym.make(SINE, query_size=3_200_000_000_000_000_000),
    "batch_size": lambda: gym.make(SINE, batch_size=HUGE, query_size=HUGE),
    "steps_per_function": lambda: gym.make(SINE, steps_per_function=HUGE),
    "num_functions": lambda: gym.make(SINE, num_functions=500_000, function_pool_size=500_000),
    "image_size": lambda: gym.make(GLYPH, image_size=10**6),
    "num_classes": lambda: gym.make(GLYPH, num_classes=10**8),
    "query_shots": lambda: gym.make(GLYPH, query_shots=10**9),
    "vector env": lambda: gym.make_vec(SINE, num_envs=10**9),
    "vector env of images": lambda: gym.make_vec(GLYPH, num_envs=10**9, **SMALL_IMAGES),
    "sampler": lambda: SineTask().sample(np.random.default_rng(0), HUGE),
    "episodes at once": lambda: draw_episodes(small(), HUGE),
    "images at once": lambda: draw_episodes(flp_envs.make(GLYPH), HUGE),
    "evaluation": lambda: evaluate(FLP(NETWORK), small(), episodes=HUGE),
    "meta-batch": lambda: trained_on(HUGE),
    "hidden widths": lambda: build_learner("flp", small(), preset(hidden_widths=(10**7, 10**7))),
    "feedback width": lambda: FLP(NETWORK, feedback=Feedback(hidden_layers=2, hidden_width=10**7)),
    "channels": lambda: build_learner(
        "flp", flp_envs.make(GLYPH), get_preset("cpu", "flp", {"channels": 10**6}, kind="images")
    ),
    "outputs": lambda: build_learner(
        "flp", flp_envs.make(GLYPH), get_preset("cpu", "flp", {"output_units": HUGE}, kind="images")
    ),
    "features": lambda: build_baseline("ridge", small(), settings={"features": 10**7}),
    "memory": lambda: evaluate(
        build_baseline("experience-replay", small(), settings={"rate": 0.1, "memory_size": HUGE}),
        small(),
        episodes=1,
    ),
}


def _resident():
    """Bytes of the process's memory, the most so far; 0 where that is not known."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_sizes_are_refused_at_once(what):
    before = _resident()
    with pytest.raises(InvalidSize) as refusal:
        ABSURD[what]()
    assert _resident() - before < 300e6
    assert "\n" not in str(refusal.value)
    if isinstance(refusal.value, TooMuchMemory):
        assert " would take " in str(refusal.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--env-option", f"query_size={32 * HUGE}"],
        ["train", "--hidden-widths", "1000000,1000000"],
        ["train", "--feedback-layers", "2", "--feedback-width", "1000000"],
        ["train", "--meta-batch", str(HUGE), "--short-outer-steps", "0"],
        ["evaluate", "--checkpoint", "flp-2-sine-iid", "--episodes", str(10**13)],
        [
            "evaluate",
            "--checkpoint",
            "flp-2-omniglot-iid",
            "--env",
            GLYPH,
            "--transfer",
            "--env-option",
            "num_classes=50000",
        ],
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_the_command_line_says_so_in_one_line(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine_memory, "_available", lambda: 2**30)
    assert main([*arguments, "--threads", "1"]) == 1
    error = capsys.readouterr().err
    assert " would take " in error
    assert error.count("\n") == 1


def test_the_refusal_names_estimate_and_memory(monkeypatch):
    monkeypatch.setattr(machine_memory, "available_bytes", lambda: 3 * 2**30)
    monkeypatch.setattr(machine_memory, "_swap", lambda: 0)
    message = r"^an episode would take 5 GiB, of this machine's memory 3 GiB are free: use a shorter one$"
    with pytest.raises(TooMuchMemory, match=message):
        check_fits("an episode", 5 * 2**30, "use a shorter one")
    check_fits("an episode", 2 * 2**30, "")
    monkeypatch.setattr(machine_memory, "available_bytes", lambda: None)
    check_fits("an episode", 5 * 2**40, "")
    with pytest.raises(TooMuchMemory, match="would take 256 TiB, more than any machine has"):
        check_fits("an episode", 2**48, "")
    monkeypatch.setattr(machine_memory, "available_bytes", lambda: 0)
    check_fits("what is small", 2**24, "")
    assert issubclass(TooMuchMemory, FLPError)
    assert issubclass(TooMuchMemory, MemoryError)


def test_what_is_left_to_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine_memory, "_available", lambda: 10**12)
    monkeypatch.setattr(machine_memory, "_address_space", lambda: None)
    assert available_bytes() == 10**12
    old = tmp_path / "memory"
    old.mkdir()
    for folder, files in (
        (old, {"memory.usage_in_bytes": 500, "memory.limit_in_bytes": 900, "memory.stat": "total_inactive_file 100"}),
        (tmp_path, {"memory.current": 700, "memory.max": 900, "memory.stat": "anon 7\ninactive_file 50"}),
    ):
        for name, content in files.items():
            (folder / name).write_text(str(content), encoding="utf-8")
        assert available_bytes() == {old: 500, tmp_path: 250}[folder]
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert available_bytes() == 500


def test_without_procfs_all_of_the_machine_counts(monkeypatch):
    monkeypatch.setattr(machine_memory, "_of_meminfo", lambda name: None)
    assert available_bytes() is None or available_bytes() > 2**20


def test_bytes_in_words():
    assert [readable(2.0**power) for power in (0, 20, 40, 50, 60)] == ["1 bytes", "1 MiB", "1 TiB", "1 PiB", "1 EiB"]
    assert readable(2.0**80).endswith(" EiB")


@pytest.mark.parametrize("num_envs", [1, 64])
def test_ordinary_sizes_are_taken(num_envs, monkeypatch):
    monkeypatch.setattr(machine_memory, "available_bytes", lambda: 2**26)
    monkeypatch.setattr(machine_memory, "_swap", lambda: 0)
    OnlineLearningVectorEnv(SineTask(), num_envs).reset(seed=0)
