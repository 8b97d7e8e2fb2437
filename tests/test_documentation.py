"""Every block of code, command and link of the documentation, and every example, as a reader would try them.

What the reader sees is what runs. Where that would take minutes, the default run changes it as ``SHORTER`` and
``SHORT_OPTIONS`` say, for all to see, and the tests marked slow run it whole; what is not run at all says why.
"""

import functools
import re
import shlex
import shutil

import pytest
from documentation import (
    EXAMPLES,
    PAGES,
    ROOT,
    SHELLS,
    Block,
    anchors_of,
    arguments_of_flp,
    blocks_of,
    commands_in_sentences,
    known_options,
    options_of,
    run_as_a_reader,
    text_of,
    words_like_options,
)

from flp_agents.benchmark.plan import read_plan
from flp_agents.cli.parser import make_parser
from flp_agents.training.presets.preset import read_preset

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PROGRAMS = [block for block in BLOCKS if block.language == "python"] + [
    Block(path, 1, "python", text_of(path), None) for path in EXAMPLES
]
# What the default run changes in programs that take more than some seconds: page, what is there, what is run.
SHORTER = [
    ("examples/meta_train.py", "range(1, 601)", "range(1, 3)"),
    ("examples/meta_train.py", "step % 200", "step % 2"),
    ("examples/benchmark.py", "seeds=2, episodes=10", "seeds=1, episodes=2"),
    ("examples/benchmark.py", "jobs=2", "jobs=1"),
    ("examples/benchmark.py", 'FLPSine-Continual-v0",)', 'FLPSine-IID-v0",)'),  # half the pictures
    ("examples/stable_baselines.py", "policy.learn(1760)", "policy.learn(220)"),
    ("examples/stable_baselines.py", "n_envs=8", "n_envs=2"),
    ("examples/stable_baselines.py", "batch_size=440", "batch_size=220"),
    ("examples/stable_baselines.py", "episodes=2", "episodes=1"),
    ("docs/analysis.md", 'split="meta-test"), episodes=2', 'split="meta-test", steps_per_function=2), episodes=2'),
    ("README.md", "n_eval_episodes=3", "n_eval_episodes=1"),
    ("docs/metrics.md", "range(1000)", "range(2)"),
    ("docs/meta-training.md", "draw_episodes(env, 8)", "draw_episodes(env, 1)"),
]
# What a program needs that is not there.
NEEDS = {"reproduction/cpu/runs": "networks that flp reproduce has meta-trained for hours"}
# Options added to commands, so that they end within seconds. Of an option that is given twice, the last one counts.
SHORT_OPTIONS = {
    "analyse": "--episodes 1",
    "bench": "--quick --seconds 0",
    "benchmark": "--episodes 2 --seeds 1 --jobs 1",
    "evaluate": "--episodes 2",
    "reproduce": "--episodes 2 --networks 1 --methods flp-2 --columns continual --jobs 1 --minutes 0.01",
    "train": "--outer-steps 2 --short-outer-steps 0 --test-episodes 2 --meta-batch 1",
    "train-sb3": "--env-steps 8 --test-episodes 2",
}
SMALL_IMAGES = "--env-option num_classes=3 --env-option shots=2 --env-option query_shots=2"
# What stands for something of the reader's own.
PLACEHOLDERS = {"LEARNER": "flp", "FOLDER": "folder"}
# Commands that are parsed and not run, by a word of theirs.
NOT_RUN = {
    "make": "installs into .venv, as .ci/run does",
    "pip": "installs packages",
    "torchrun": "starts processes of torch: tests/test_processes.py does",
    "prepare": "needs the official files: tests/test_data_commands.py makes them up",
    "verify": "needs packs: tests/test_data_commands.py makes them up",
    "cuda": "needs a GPU",
    "g++": "compiles the C++ engine with its checks, for minutes",
    "ray": "needs Ray: tests/test_benchmark_backends.py has it",
}
# Commands that the page takes for granted.
BEFORE = {"docs/benchmarking.md": ["flp export --checkpoint flp-2-sine-continual --output runs/my-run"]}
RUN_BY_DEFAULT = ("README.md",)


def shorter(program):
    code = program.code
    for page, there, run in SHORTER:
        if page == program.page and there in code:
            code = code.replace(there, run)
    return code


def place_of(tmp_path):
    """A folder that holds what a clone holds and commands read."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copytree(ROOT / "results" / "paper_size", tmp_path / "results" / "paper_size")
    return tmp_path


def skip_without(program):
    for needed, reason in NEEDS.items():
        if needed in program.code:
            pytest.skip(f"needs {reason}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a program prints; each runs once."""

    @functools.cache
    def run_once(code):
        return run_as_a_reader(code, place_of(tmp_path_factory.mktemp("reader")))

    return run_once


@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_python_runs(program, run):
    skip_without(program)
    code = shorter(program)
    printed = run(code)
    if program.output is not None and code == program.code:
        assert printed == program.output
    assert printed or "print" not in code


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", [p for p in PROGRAMS if shorter(p) != p.code], ids=str)
def test_python_runs_whole(program, run):
    printed = run(program.code)
    assert program.output in (None, printed)


def test_what_is_made_shorter_is_there():
    for page, there, _ in SHORTER:
        assert there in text_of(page), (page, there)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(page):
    parser = make_parser()
    for words in [words for block in blocks_of(page) if block.language in SHELLS for words in block.commands]:
        arguments = arguments_of_flp(words)
        assert arguments is None or options_of(parser, arguments) is not None, shlex.join(words)
    for command in commands_in_sentences(page):
        arguments = shlex.split(command)[1:]
        if options_of(parser, arguments) is None:  # a sentence may leave out what a command needs
            assert set(words_like_options(arguments)) <= known_options(parser, arguments[0]), command


def shell_pages():
    for page in PAGES:
        if any(block.language in SHELLS for block in blocks_of(page)):
            yield pytest.param(page, marks=[] if page in RUN_BY_DEFAULT else pytest.mark.slow)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", list(shell_pages()))
def test_commands_run_one_after_another(page, tmp_path):
    folder, left_out, ran = place_of(tmp_path), [], 0
    for command in BEFORE.get(page, []):
        run_as_a_reader(shlex.split(command)[1:], folder)
    for block in blocks_of(page):
        named = re.match(r"# (\S+\.toml)\n", block.code)
        if block.language == "toml" and named:
            (folder / named[1]).write_text(block.code, encoding="utf-8")
    for words in [words for block in blocks_of(page) if block.language in SHELLS for words in block.commands]:
        reasons = [f"{word} {reason}" for word, reason in NOT_RUN.items() if word in words]
        absent = [word for word in words if "paper_size" in word and not (ROOT / word).exists()]
        reasons += [f"{word} is in the repository only" for word in absent]
        if reasons:
            left_out += reasons
            continue
        arguments = [PLACEHOLDERS.get(word, word) for word in arguments_of_flp(words) or []]
        assert arguments, f"{shlex.join(words)}: neither run nor named in NOT_RUN"
        more = SHORT_OPTIONS.get(arguments[0], "").split()
        if arguments[0] in ("train", "train-sb3", "evaluate") and re.search("Omniglot|Glyph", shlex.join(arguments)):
            more += SMALL_IMAGES.split()
        run_as_a_reader([*arguments, *more], folder)
        ran += 1
    if not ran:
        pytest.skip("; ".join(left_out))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml" and "extends =" in b.code], ids=str)
def test_presets_in_the_documentation_are_presets(block, tmp_path):
    (tmp_path / "mine.toml").write_text(block.code, encoding="utf-8")
    assert read_preset(tmp_path / "mine.toml").cases


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml" and "# plan.toml" in b.code], ids=str)
def test_plans_are_read(block, tmp_path):
    (tmp_path / "plan.toml").write_text(block.code, encoding="utf-8")
    assert read_plan(tmp_path / "plan.toml").episodes == 100


def test_there_is_no_language_that_nothing_tries():
    assert {block.language for block in BLOCKS} <= {"python", "text", "toml", *SHELLS}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(str(target.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page):
    assert not re.search(r"@[A-Z_]+@", text_of(page))


def test_the_readme_begins_with_an_example_and_what_it_prints(run):
    first = next(block for block in BLOCKS if block.page == "README.md" and block.language == "python")
    assert first.code.split("\n", 1)[1].strip() in text_of("examples/stream_an_env.py")
    assert f"`{run(first.code).strip()}`" in text_of("README.md")


def numbers_of(example, run):
    """The numbers in each line of what an example prints."""
    program = next(program for program in PROGRAMS if program.page == f"examples/{example}.py")
    return [[float(number) for number in re.findall(r"\d+\.\d+", line)] for line in run(shorter(program)).splitlines()]


def test_sixteen_lifetimes_at_once_are_those_that_come_one_by_one(run):
    (one,), (best, worst, first) = numbers_of("stream_an_env", run)
    assert one == first
    assert 0 < best <= first <= worst < 0.01


def test_a_policy_is_evaluated_alike_as_an_agent_and_as_a_learner(run):
    (policy,), (learner,), (as_learner,) = numbers_of("stable_baselines", run)
    assert policy == as_learner
    assert learner < 0.01 < policy
