"""Images are packed as they are seen; those that are there twice are refused, and doubtful ones are warned of."""

import io

import numpy as np
import pytest
from PIL import Image

from flp_base.errors import SourceError
from flp_datasets.decoding import as_seen, decode_file
from flp_datasets.image_checks import DoubtfulImages, Whole
from flp_datasets.omniglot import read_omniglot
from flp_datasets.pack import open_pack
from flp_datasets.pack_writing import write_pack
from flp_datasets.packed.dataset import DATASETS
from flp_datasets.sources import SourceClass

SIZE = 8
STROKE = np.zeros((SIZE, SIZE), bool)
STROKE[2:6, 3:5] = True  # black on white


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seen(data: bytes) -> np.ndarray:
    """A file as it is packed in grey; in colour it must look the same."""
    grey = np.asarray(as_seen(Image.open(io.BytesIO(data)), "L"))
    np.testing.assert_array_equal(np.asarray(decode_file(lambda: data).convert("L")), grey)
    return grey


# 16 bits.


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled(kind):
    numbers = np.array([[0, 128, 129, 257, 25700, 65278, 65535]], np.uint16)
    assert seen(saved(Image.fromarray(numbers), kind)).tolist() == [[0, 0, 1, 1, 100, 254, 255]]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_32_bits_are_refused_as_nothing_says_what_is_white(tmp_path, mode):
    data = saved(Image.new(mode, (SIZE, SIZE), 1), "TIFF")
    images = [("odd.tif", lambda: Image.open(io.BytesIO(data)))]
    with pytest.raises(
        SourceError, match=r"^cannot pack odd\.tif: its pixels are .* numbers of 32 bits, .*16 bits; no"
    ):
        pack(tmp_path, [SourceClass("one", "meta-train", images)])


# Transparency.


@pytest.mark.parametrize("mode", ["LA", "RGBA", "La", "RGBa"])
def test_black_strokes_on_nothing_are_black_on_white(mode):
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    image[STROKE, 3] = 255
    drawn = Image.fromarray(image)
    if mode == "La":
        drawn = drawn.convert("LA")
    grey = np.asarray(as_seen(drawn.convert(mode), "L"))
    np.testing.assert_array_equal(grey, np.where(STROKE, 0, 255))


def test_half_transparent_is_half_white():
    image = Image.new("RGBA", (SIZE, SIZE), (200, 0, 0, 128))
    assert as_seen(image, "RGB").getpixel((0, 0)) == (227, 127, 127)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_a_colour_that_a_png_names_transparent_is_white(mode):
    strokes = np.where(STROKE, 0, 60).astype(np.uint8)
    if mode == "I;16":
        image, transparent = Image.fromarray(strokes.astype(np.uint16)), 60
    elif mode == "P":
        image = Image.fromarray(strokes).quantize(2)
        transparent = image.getpixel((0, 0))
    elif mode == "1":
        image, transparent = Image.fromarray(~STROKE), 1
    else:
        image, transparent = Image.fromarray(strokes).convert(mode), 60 if mode == "L" else (60, 60, 60)
    grey = seen(saved(image, transparency=transparent))
    np.testing.assert_array_equal(grey, np.where(STROKE, 0, 255))


def test_a_palette_of_partly_transparent_colours():
    image = Image.fromarray(np.where(STROKE, 0, 60).astype(np.uint8)).quantize(2)
    opacity = bytearray(b"\xff\xff")
    opacity[image.getpixel((0, 0))] = 0
    np.testing.assert_array_equal(seen(saved(image, transparency=bytes(opacity))), np.where(STROKE, 0, 255))


# Orientation.


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (8, 1), (3, 2), (6, 3)])
def test_images_are_turned_as_their_exif_data_says(kind, orientation, turns):
    picture = np.zeros((16, 32), np.uint8)
    picture[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = seen(saved(Image.fromarray(picture), kind, exif=exif))
    np.testing.assert_array_equal(grey > 127, np.rot90(picture, turns) > 127)


# Twice, and doubtful.


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(128, 256, (SIZE, SIZE), dtype=np.uint8))


def classes_of(*contents: tuple[str, str, list[int]]) -> list[SourceClass]:
    return [
        SourceClass(name, split, [(f"{name}/{i}.png", lambda s=seed: picture(s)) for i, seed in enumerate(seeds)])
        for name, split, seeds in contents
    ]


def pack(folder, classes, **options):
    write_pack(folder / "a.h5", "a set", "made for a test", classes, image_size=SIZE, channels=1, **options)
    return open_pack(folder / "a.h5")[0]


def test_an_image_twice_in_a_class_is_refused_whatever_its_form(tmp_path):
    (of_class,) = classes_of(("a", "meta-train", [1, 2]))
    again = ("elsewhere/again.tif", lambda: picture(1).convert("RGBA"))
    classes = [SourceClass("a", "meta-train", [*of_class.images, again])]
    with pytest.raises(SourceError) as caught:
        pack(tmp_path, classes)
    assert str(caught.value) == (
        "a/0.png and elsewhere/again.tif are the same image, which is twice in a: a second copy of some files, or of a "
        "folder in itself? remove it, nothing was packed"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
def test_an_image_in_two_splits_is_refused_whatever_lies_between(tmp_path, order):
    classes = classes_of(("a", "meta-train", [1, 2]), ("b", "meta-train", [3, 1]), ("c", "meta-val", [4, 1]))
    with pytest.raises(
        SourceError, match=r"c/1\.png.* are the same image, which is in|and c/1\.png are the same image"
    ):
        pack(tmp_path, [classes[i] for i in order])


def test_an_image_in_two_classes_of_a_split_is_no_image_twice(tmp_path):
    assert pack(tmp_path, classes_of(("a", "meta-train", [1, 2]), ("b", "meta-train", [3, 1]))).counts == (2, 2)


def test_what_genuine_data_hold_twice_is_known_by_class(tmp_path):
    classes = classes_of(("a", "meta-train", [1, 1, 2]))
    assert pack(tmp_path, classes, whole=Whole(repeats={"a": 1})).counts == (3,)
    with pytest.raises(SourceError, match=r"a/0\.png and a/2\.png are the same image"):
        pack(tmp_path, classes_of(("a", "meta-train", [1, 1, 1])), whole=Whole(repeats={"a": 1}))
    with pytest.raises(SourceError, match=r"a/0\.png and a/1\.png are the same image"):
        pack(tmp_path, classes, whole=Whole(repeats={"b": 1}))


def test_a_small_share_is_packed_with_a_warning_where_it_is_known_that_there_is_one(tmp_path):
    classes = classes_of(("a", "meta-train", [0, 0, *range(1, 9)]))
    with pytest.warns(
        DoubtfulImages, match=r"^1 of 10 images are there twice, first a/0\.png and a/1\.png \(twice in a"
    ):
        pack(tmp_path, classes, whole=Whole(repeated_share=0.1))
    with pytest.raises(SourceError, match="same image"):
        pack(tmp_path, classes, whole=Whole(repeated_share=0.09))


def test_images_of_one_colour_and_dark_ones_are_warned_of(tmp_path):
    images = [
        ("plain.png", lambda: Image.new("L", (9, 9), 200)),
        ("dark.png", lambda: picture(1).point(lambda v: v // 4)),
    ]
    classes = [SourceClass("a", "meta-train", [*images, ("good.png", lambda: picture(2))])]
    with pytest.warns(DoubtfulImages) as told:
        pack(tmp_path, classes, whole=Whole(dark_on_white=True))
    assert [str(warning.message).split(":")[0] for warning in told] == [
        "1 of 3 images are of one colour throughout, first plain.png",
        "1 of 3 images are mostly dark, first dark.png",
    ]
    with pytest.warns(DoubtfulImages) as told:
        pack(tmp_path, classes)
    assert len(told) == 1  # nothing is known of the ink of photographs


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([("a", "meta-train", [1, 2])], "expected 2 classes for meta-train in the source, found 1: it is not whole"),
        (
            [("a", "meta-train", [1, 2]), ("b", "meta-train", [3])],
            "expected 2 images of each class for meta-train in the source, found 1 of b, from b/0.png to b/0.png: ",
        ),
        (
            [("a", "meta-train", [1, 2]), ("b", "meta-train", [3, 4]), ("c", "meta-test", [5])],
            "expected 0 classes for meta-test in the source, found 1: ",
        ),
    ],
)
def test_classes_that_are_not_whole_are_refused(tmp_path, contents, message):
    with pytest.raises(SourceError) as caught:
        pack(tmp_path, classes_of(*contents), whole=Whole({"meta-train": (2, 2), "meta-test": (0, 0)}))
    assert str(caught.value).startswith(message)


def test_the_sizes_of_whole_datasets_are_those_of_their_papers():
    omniglot, mini_imagenet = (DATASETS[name].whole.sizes for name in ("omniglot", "mini_imagenet"))
    assert omniglot["meta-train"][0] + omniglot["meta-val"][0] == 964
    assert omniglot["meta-test"] == (659, 20)
    assert mini_imagenet == {"meta-train": (64, 600), "meta-val": (16, 600), "meta-test": (20, 600)}


@pytest.mark.slow  # decodes all 32,460 drawings: about 10 s
def test_the_real_omniglot_is_whole_and_repeats_one_drawing(real_omniglot, tmp_path):
    classes = read_omniglot(real_omniglot)
    whole = DATASETS["omniglot"].whole
    assert len(pack(tmp_path, classes, whole=whole).names) == 1623  # and warns of nothing
    with pytest.raises(
        SourceError, match=r"Braille/character01/0192_03\.png .* and .*Braille/character01/0192_19\.png"
    ):
        pack(tmp_path, classes, whole=Whole(whole.sizes))
