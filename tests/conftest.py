"""Fixtures and helpers that several test modules share."""

import gc
import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from flp_agents import OnlineLoss, run_lifetime
from flp_agents.support.precision import cpu_has_bfloat16
from flp_base.errors import SourceError
from flp_datasets.pack_writing import write_pack
from flp_datasets.sources import SPLITS, SourceClass
from flp_envs import Episode, SineTask
from flp_envs.registration import option_names
from flp_envs.task import lifetime_of

torch.set_num_threads(1)

needs_bfloat16 = pytest.mark.skipif(not cpu_has_bfloat16(), reason="needs a processor with AVX-512, for bfloat16")


def _safetensors_writes_complex_numbers() -> bool:
    try:
        safetensors.torch.save({"a": torch.zeros(1, dtype=torch.complex64)})
    except KeyError:
        return False
    return True


# They are written to see them refused; that an older safetensors cannot write them is no fault.
needs_complex = pytest.mark.skipif(
    not _safetensors_writes_complex_numbers(), reason="this safetensors writes no complex numbers: 0.7 is the first"
)

# Short episodes of every family: 6 support and 6 query steps.
SMALL_SINE = {"num_functions": 3, "steps_per_function": 2, "batch_size": 4, "query_size": 8}
SMALL_IMAGES = {"num_classes": 3, "shots": 2, "query_shots": 2}


def mean_online_loss(learner, episodes):
    """Of the predictions along the way."""
    return run_lifetime(learner, episodes, outer_objective=OnlineLoss()).outer_loss.mean().item()


def refusal(read, source):
    """What a reader says of a source that it refuses: one line."""
    with pytest.raises(SourceError) as caught:
        read(source)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def shows_images(env_id: str) -> bool:
    """Whether the inputs of an id of this package are images, and its targets labels."""
    return "image_size" in option_names(env_id.split("-")[0])


def small_options(env_id: str) -> dict[str, int]:
    """Keyword arguments that make an id's episodes short, of those that its family knows."""
    if shows_images(env_id):
        return SMALL_IMAGES
    return {name: value for name, value in SMALL_SINE.items() if name in option_names(env_id.split("-")[0])}


def steps_of(env_id: str) -> int:
    """Steps of a short lifetime of an id."""
    return lifetime_of(gym.make(env_id, **small_options(env_id)).unwrapped.task)


def assert_equally_often(outcomes, possible):
    """That all possible outcomes, and no others, occur, about equally often: chi-square within 4 deviations."""
    counts = dict.fromkeys(possible, 0)
    for outcome in outcomes:
        counts[outcome] += 1
    expected = sum(counts.values()) / len(counts)
    freedom = len(counts) - 1
    assert expected >= 50
    assert sum((count - expected) ** 2 for count in counts.values()) / expected < freedom + 4 * np.sqrt(2 * freedom)


def drawn_class(name: str, split: str, images: int, size: int, channels: int, seed: int) -> SourceClass:
    """A class of random images, each near the class's own pattern."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(40, 216, (size, size, 3))

    def image(number: int) -> Image.Image:
        noise = np.random.default_rng([seed, number]).integers(-30, 30, (size, size, 3))
        picture = Image.fromarray((pattern + noise).astype(np.uint8))
        return picture.convert("L") if channels == 1 else picture

    return SourceClass(name, split, [(f"{name}/{i}", lambda i=i: image(i)) for i in range(images)])


def make_pack(root: Path, dataset: str, image_size: int, channels: int, splits: tuple[str, ...], images: int) -> Path:
    """A pack of made-up images where the environments look for ``dataset``: 8 classes in every split."""
    classes = [
        drawn_class(f"{split}/{i}", split, images, image_size, channels, 100 * number + i)
        for number, split in enumerate(splits)
        for i in range(8)
    ]
    path = root / dataset / f"{dataset}-{image_size}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pack(path, dataset, "made for a test", classes, image_size=image_size, channels=channels)
    return path


def pytest_collection_finish() -> None:
    """What imports and tests are made of stays until the end: garbage collections need not go through it every time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_omniglot() -> Path:
    """The folder that holds the real Omniglot's zip files; without it, tests that need it are skipped."""
    here = Path(__file__).parents[1]
    for root in (Path(os.environ["FLP_REAL_DATA"]), here.parent / "shared" / "data"):
        if (root / "omniglot" / "images_background.zip").exists():
            return root / "omniglot"
    pytest.skip("needs the real Omniglot: its zip files in omniglot/ of FLP_DATA_ROOT, or of ../shared/data")


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with made-up Omniglot and Mini-ImageNet, which all environments of all tests look in."""
    root = tmp_path_factory.mktemp("data")
    make_pack(root, "omniglot", 28, 1, SPLITS, 20)
    make_pack(root, "mini_imagenet", 84, 3, SPLITS, 12)
    os.environ["FLP_REAL_DATA"] = os.environ.get("FLP_DATA_ROOT", "")
    os.environ["FLP_DATA_ROOT"] = str(root)
    return root


def small_episode(seed: int = 0, n: int = 1, **options: object) -> Episode:
    """A short episode in float64: 2 functions, 3 minibatches of 4 pairs each."""
    sizes = {"num_functions": 2, "steps_per_function": 3, "batch_size": 4, "query_size": 4, **options}
    episode = SineTask(**sizes).sample(np.random.default_rng(seed), n)
    double = {
        name: getattr(episode, name).astype(np.float64) for name in ("support_x", "support_y", "query_x", "query_y")
    }
    return Episode(
        double["support_x"],
        double["support_y"],
        episode.support_task,
        double["query_x"],
        double["query_y"],
        episode.query_task,
    )


@pytest.fixture
def episode() -> Episode:
    """See :func:`small_episode`."""
    return small_episode()
