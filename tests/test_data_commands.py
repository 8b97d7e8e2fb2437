"""``flp data`` as a user types it."""

import io
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_pack
from documentation import start_as_a_reader
from PIL import Image, ImageOps
from test_cli import fails

from flp_agents.cli.main import main
from flp_datasets.image_checks import DoubtfulImages, Whole
from flp_datasets.pack import open_pack
from flp_datasets.packed.dataset import DATASETS, register_dataset
from flp_datasets.roots import VARIABLE, cache_root


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty data root, and an empty cache."""
    monkeypatch.setenv("FLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


# Stands in for the real sizes: the sources of these tests are two characters of three drawings in each set.
SMALL = Whole({"meta-train": (2, 3), "meta-test": (2, 3)}, dark_on_white=True)


@pytest.fixture(autouse=True)
def small_omniglot():
    before = DATASETS.snapshot()
    register_dataset(replace(DATASETS["omniglot"], whole=SMALL))
    yield
    DATASETS.restore(before)


@pytest.fixture
def source(tmp_path):
    """A folder with a small Omniglot as official zip files: two characters with three drawings in each set."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number, name in enumerate(("images_background", "images_evaluation")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for character in (1, 2):
                for drawing in (1, 2, 3):
                    pixels = np.full((105, 105), 255, np.uint8)
                    pixels[50 + 10 * number, :40] = 0
                    pixels[10 * character : 10 * character + 30, 20 * drawing : 20 * drawing + 8] = 0
                    picture = folder / "picture.png"
                    Image.fromarray(pixels).convert("1").save(picture)
                    place = f"{name}/Alphabet_{number}/character{character:02d}/{character:04d}_{drawing:02d}.png"
                    archive.write(picture, place)
    (folder / "picture.png").unlink()
    return folder


def test_prepare_then_list_verify_and_show(root, source, tmp_path, capsys):
    assert main(["data", "prepare", "omniglot", f"--source={source}", "--image-size=20"]) == 0
    pack = root / "omniglot" / "omniglot-20.h5"
    assert capsys.readouterr().out.splitlines() == [
        f"reading Omniglot from {source}",
        f"{pack}: 12 images of 20 pixels in 4 classes (2 meta-train, 2 meta-test)",
    ]
    before = pack.read_bytes()

    assert main(["data", "prepare", "omniglot", f"--source={source}", "--image-size=20"]) == 0
    assert capsys.readouterr().out.endswith("; it was there already\n")
    assert pack.read_bytes() == before

    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert "glyph" in listed
    assert "2 meta-train" in listed.replace("\n", " ")
    assert "Mini-ImageNet is not packed: make it with flp data prepare mini_imagenet" in listed
    assert listed.endswith(f"\nlooked in {root} and {cache_root()}\n")

    assert main(["data", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["packs"]
    assert entry["classes"] == {"meta-train": 2, "meta-test": 2}
    assert (entry["dataset"], entry["image_size"], entry["images"], entry["error"]) == ("omniglot", 20, 12, None)
    assert entry["source"] == "Omniglot from source"

    assert main(["data", "verify"]) == 0
    assert capsys.readouterr().out.startswith(f"{pack}: whole, 12 images")

    sheet = tmp_path / "sheets" / "samples.png"
    shown = ["data", "show", "omniglot", "--image-size=20", "--classes=2", "--images=3", f"--output={sheet}"]
    assert main(shown) == 0
    with Image.open(sheet) as picture:
        # Three images a row, enlarged three times to 60 pixels, with four between them.
        assert picture.size == (3 * 64 + 4, 2 * 64 + 4)
        assert picture.convert("L").getextrema()[0] < 60


def test_a_pack_that_was_altered_is_named_and_can_be_replaced(root, source, capsys):
    prepare = ["data", "prepare", "omniglot", f"--source={source}", "--image-size=20"]
    assert main(prepare) == 0
    pack = root / "omniglot" / "omniglot-20.h5"
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-1000])
    for arguments in (["data", "verify"], ["data", "verify", "omniglot"], prepare):
        assert str(pack) in fails(arguments, capsys)
    assert "--overwrite" in fails(prepare, capsys)
    assert main(["data", "list"]) == 0
    assert main([*prepare, "--overwrite"]) == 0
    assert open_pack(pack)[0].counts == (3, 3, 3, 3)


def test_the_data_root_can_be_named(root, source, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    arguments = ["data", "prepare", "omniglot", f"--source={source}", "--image-size=16", f"--data-root={other}"]
    assert main(arguments) == 0
    assert (other / "omniglot" / "omniglot-16.h5").exists()
    capsys.readouterr()
    assert "there is no pack in" in fails(["data", "verify"], capsys)
    assert main(["data", "verify", f"--data-root={other}"]) == 0


def test_training_finds_data_in_a_named_root_and_keeps_it_to_itself(root, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other"
    make_pack(other, "omniglot", 28, 1, ("meta-train", "meta-test"), 10)
    run = tmp_path / "run"
    arguments = ["train", "--env=FLPOmniglot-IID-v0", "--channels=4", "--hidden-widths=8", "--outer-steps=2"]
    arguments += ["--test-episodes=2", f"--output={run}"]
    assert "make it with flp data prepare omniglot --image-size 28" in fails(arguments, capsys)
    monkeypatch.delenv("FLP_CACHE")  # where the C++ engine is, which would be compiled anew
    assert main([*arguments, f"--data-root={other}"]) == 0
    assert str(tmp_path) not in (run / "checkpoint.json").read_text(encoding="utf-8")
    refused = fails([*arguments, f"--env-option=data_root={other}", "--overwrite"], capsys)
    assert "data_root is not set here" in refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "prepare", "omniglott"], "did you mean 'omniglot'"),
        (["data", "prepare", "omniglot", "--image-size=4"], "image_size must be a whole number of at least 8, got 4"),
        (["data", "prepare", "omniglot", "--image-size=4000"], "image_size must be at most 512, got 4000"),
        (["data", "prepare", "omniglot", "--source=nowhere"], "there is nothing at --source nowhere"),
        (["data", "prepare", "mini_imagenet"], "get the CSVs from https://github.com/twitter/meta-learning-lstm"),
        (["data", "prepare", "omniglot", "--data-root=nowhere"], "nowhere, which is not a folder"),
        (["data", "verify", "glyph"], "unknown dataset 'glyph'"),
        (["data", "show", "omniglot"], "make it with flp data prepare omniglot --image-size 28"),
        (["data", "show", "glyph", "--split=test"], "did you mean 'meta-test'"),
        (["data", "show", "glyph", "--classes=0"], "classes must be a whole number of at least 1"),
        (["data", "show", "glyph", "--images=1000"], "classes and images must be at most 100"),
        (["data", "show", "glyph", "--output=sheet.gif"], "expected --output to end in .png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line(root, capsys, arguments, message):
    assert message in fails(arguments, capsys)
    assert not list(root.rglob("*.h5"))


def rewrite(source, name, change):
    """Packs a zip file of the source anew, after its files were changed."""
    with zipfile.ZipFile(source / f"{name}.zip") as archive:
        files = {place: archive.read(place) for place in archive.namelist()}
    with zipfile.ZipFile(source / f"{name}.zip", "w") as archive:
        for place, content in change(files).items():
            archive.writestr(place, content)


BACKGROUND, EVALUATION = "images_background", "images_evaluation"
FIRST = "Alphabet_0/character01/0001_01.png"


def extract(source, name, keep):
    """Extracts as many files beside the zip file."""
    with zipfile.ZipFile(source / f"{name}.zip") as archive:
        archive.extractall(source, archive.namelist()[:keep])


def test_a_folder_that_is_half_extracted_beside_a_whole_zip_is_refused_and_both_are_named(root, source, capsys):
    for kept, found in ((2, "found 1"), (5, "found 2 of Alphabet_0/character02")):
        extract(source, BACKGROUND, kept)
        line = fails(["data", "prepare", "omniglot", f"--source={source}"], capsys)
        where = f"for meta-train in {source / BACKGROUND} (read instead of {source / BACKGROUND}.zip), {found}"
        assert where in line
        assert "it is not whole" in line
    assert not list(root.rglob("*.h5"))
    extract(source, BACKGROUND, 6)
    assert main(["data", "prepare", "omniglot", f"--source={source}"]) == 0


def test_a_folder_that_holds_a_second_copy_of_itself_is_refused(root, source, monkeypatch, capsys):
    extract(source, BACKGROUND, 6)
    shutil.copytree(source / BACKGROUND, source / "copy")
    (source / "copy").rename(source / BACKGROUND / BACKGROUND)
    prepare = ["data", "prepare", "omniglot", f"--source={source}"]
    line = fails(prepare, capsys)
    assert "expected 3 images of each class for meta-train" in line
    assert "found 6 of Alphabet_0/character01" in line
    again = f"{BACKGROUND}/{BACKGROUND}/Alphabet_0/character01/0001_03.png"
    assert f"from {BACKGROUND}/{FIRST} in {source / BACKGROUND} to {again} in" in line
    # Where nothing is known of the sizes, the images themselves tell.
    register_dataset(replace(DATASETS["omniglot"], whole=Whole()))
    line = fails(prepare, capsys)
    assert f"{BACKGROUND}/{FIRST} in {source / BACKGROUND} and {BACKGROUND}/{BACKGROUND}/{FIRST} in" in line
    assert "are the same image, which is twice in Alphabet_0/character01: a second copy" in line
    assert not list(root.rglob("*.h5"))
    assert not list(root.rglob("*.tmp"))


def test_an_image_in_two_splits_is_refused(root, source, capsys):
    with zipfile.ZipFile(source / f"{BACKGROUND}.zip") as archive:
        image = archive.read(f"{BACKGROUND}/{FIRST}")
    again = f"{EVALUATION}/Alphabet_1/character02/0002_03.png"
    rewrite(source, EVALUATION, lambda files: {**files, again: image})
    line = fails(["data", "prepare", "omniglot", f"--source={source}"], capsys)
    assert f"{BACKGROUND}/{FIRST} in" in line
    assert f"{again} in" in line
    assert "are the same image, which is in meta-train and in meta-test" in line
    assert not list(root.rglob("*.h5"))


def inverted(content):
    file = io.BytesIO()
    ImageOps.invert(Image.open(io.BytesIO(content)).convert("L")).save(file, "PNG")
    return file.getvalue()


def test_white_strokes_on_black_are_warned_of(root, source):
    for name in (BACKGROUND, EVALUATION):
        rewrite(source, name, lambda files: {place: inverted(content) for place, content in files.items()})
    with pytest.warns(DoubtfulImages) as told:
        assert main(["data", "prepare", "omniglot", f"--source={source}"]) == 0
    (line,) = (str(warning.message) for warning in told)
    assert line.startswith(f"12 of 12 images are mostly dark, first {BACKGROUND}/{FIRST} in ")
    assert "expected black strokes on white" in line


def test_a_source_of_something_else_leaves_nothing(root, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "expected images_background.zip or a folder" in fails(
        ["data", "prepare", "omniglot", f"--source={empty}"], capsys
    )
    assert not list(root.rglob("*.h5"))
    assert not list(root.rglob("*.tmp"))


def test_a_root_that_cannot_be_written_is_said(root, source, capsys):
    (root / "omniglot").write_text("a file where a folder should be", encoding="utf-8")
    line = fails(["data", "prepare", "omniglot", f"--source={source}"], capsys)
    assert "cannot write" in line
    assert "--data-root" in line


def test_two_processes_that_pack_at_once_both_end_well(root, source, tmp_path):
    code = f"""
import sys
from dataclasses import replace
from flp_agents.cli.main import run
from flp_datasets.image_checks import Whole
from flp_datasets.packed.dataset import DATASETS, register_dataset
register_dataset(replace(DATASETS["omniglot"], whole={SMALL!r}))
sys.argv[1:] = ["data", "prepare", "omniglot", "--source={source}"]
run()
"""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    running = [start_as_a_reader(code, folder) for folder in folders]
    ended = [process.wait() for process in running]
    assert [process.code for process in ended] == [0, 0]
    said = [process.printed for process in ended]
    assert sorted(text.rstrip().endswith("it was there already") for text in said) == [False, True]
    assert open_pack(root / "omniglot" / "omniglot-28.h5")[0].counts == (3, 3, 3, 3)


def test_glyphs_are_shown_without_any_data(root, tmp_path):
    sheet = tmp_path / "glyphs.png"
    assert main(["data", "show", "glyph", "--image-size=64", "--classes=1", "--images=2", f"--output={sheet}"]) == 0
    with Image.open(sheet) as picture:
        assert picture.size == (2 * 68 + 4, 68 + 4)
