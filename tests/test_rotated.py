"""Characters turned: four classes of each."""

import numpy as np
import pytest
from conftest import make_pack

from flp_datasets.glyphs import Glyphs
from flp_datasets.packed_classes import PackedClasses
from flp_datasets.rotated import Rotated
from flp_envs import InvalidChoice, make


def test_a_class_turned_is_its_images_turned():
    upright = Glyphs("meta-train", 28)
    rotated = Rotated(upright)
    classes, drawings = np.array([5, 7, 123456]), np.array([0, 3, 9])
    images = upright.take(classes, drawings)
    for turn in range(4):
        turned = rotated.take(4 * classes + turn, drawings)
        for image, original in zip(turned, images, strict=True):
            np.testing.assert_array_equal(image[0], np.rot90(original[0], turn))
    assert rotated.num_classes == 4 * upright.num_classes
    assert rotated.drawings == upright.drawings
    assert rotated.name(4 * 5) == upright.name(5)
    assert rotated.name(4 * 5 + 3) == f"{upright.name(5)}, turned by 270 degrees"


def test_numbers_of_images_go_with_the_class(tmp_path):
    upright = PackedClasses(make_pack(tmp_path, "omniglot", 28, 1, ("meta-train", "meta-test"), 7), "meta-train")
    upright.drawings = np.arange(7, 15)
    rotated = Rotated(upright)
    assert rotated.drawings.tolist() == [n for n in range(7, 15) for _ in range(4)]


def test_only_meta_training_sees_turned_characters():
    classes = {
        (split, rotations): make("FLPOmniglot-IID-v0", split=split, rotations=rotations).unwrapped.task.classes
        for split in ("meta-train", "meta-test")
        for rotations in (False, True)
    }
    assert classes["meta-train", True].num_classes == 4 * classes["meta-train", False].num_classes
    assert classes["meta-test", True].num_classes == classes["meta-test", False].num_classes
    with pytest.raises(InvalidChoice, match="rotations"):
        make("FLPOmniglot-IID-v0", rotations="yes")
