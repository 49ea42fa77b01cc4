import hashlib
import random
import subprocess
import sys
import warnings
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest
from conftest import formula_image

from deepfake_ms.data.augmentation import AUGMENTATIONS, GaussNoise13, augment, build_augmentation
from deepfake_ms.errors import UserError

IMAGE = formula_image(0)

# sha256 of the pixels for seeds 0..3, and of those for seeds 0..199 together, with albumentations 2.0.8 and OpenCV 5.0.
GOLDEN = {
    "standard": [
        "f19e504da8f44d84",
        "a6984b98793ee6c2",
        "860e92f49ad15c6d",
        "46d8d9feb9a26f12",
        "5da545a216bd20c6",
    ],
    "horizontal_flip": [
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "0b03a7ffa511b9eb",
    ],
    "facial_swap": [  # the flip alone; the swap is the dataset's
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "0b03a7ffa511b9eb",
    ],
    "random_flips": [
        "b4e1078675b84936",
        "860e92f49ad15c6d",
        "b4e1078675b84936",
        "b4e1078675b84936",
        "bdc2b20749e70e65",
    ],
    "released_rf": [
        "f19e504da8f44d84",
        "4451d973cad3a552",
        "860e92f49ad15c6d",
        "1481a9d6d0846261",
        "bc797caecf5ab3df",
    ],
}


def find(transforms, kind: type) -> A.BasicTransform:
    """The one transform of a kind in a nested pipeline."""
    for transform in transforms:
        if isinstance(transform, kind):
            return transform
        if isinstance(transform, A.BaseCompose) and (found := find(transform, kind)):
            return found
    return None


def digest(*images: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(image).tobytes() for image in images)).hexdigest()[:16]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pixels(name):
    augmentation = build_augmentation(name)
    images = [augment(augmentation, IMAGE, seed) for seed in range(200)]
    assert [*map(digest, images[:4]), digest(*images)] == GOLDEN[name]


def test_every_augmentation_has_golden_pixels():
    assert set(GOLDEN) | {"none"} == set(AUGMENTATIONS)
    assert build_augmentation("none") is None


def test_unknown_name():
    with pytest.raises(UserError, match="standard, none, horizontal_flip, random_flips, released_rf"):
        build_augmentation("strong")


@pytest.mark.parametrize("name", GOLDEN)
def test_seed_alone_decides(name):
    augmentation = build_augmentation(name)
    forward = [augment(augmentation, IMAGE, seed) for seed in range(20)]
    backward = [augment(build_augmentation(name), IMAGE, seed) for seed in reversed(range(20))][::-1]
    assert digest(*forward) == digest(*backward)
    assert all(image.shape == IMAGE.shape and image.dtype == np.uint8 for image in forward)


def test_horizontal_flip_leaves_the_face_or_mirrors_it():
    augmentation = build_augmentation("horizontal_flip")
    names = {digest(IMAGE): "none", digest(IMAGE[:, ::-1]): "left-right"}
    seen = Counter(names[digest(augment(augmentation, IMAGE, seed))] for seed in range(2000))
    assert seen["none"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_flips_are_independent_of_each_other():
    """`Compose.set_random_seed` would make both or neither."""
    augmentation = build_augmentation("random_flips")
    names = {digest(IMAGE): "none", digest(IMAGE[:, ::-1]): "left-right", digest(IMAGE[::-1]): "up-down"}
    seen = Counter(names.get(digest(augment(augmentation, IMAGE, seed)), "both") for seed in range(2000))
    assert len(seen) == 4
    assert all(count / 2000 == pytest.approx(0.25, abs=0.04) for count in seen.values())


def test_outer_probability_leaves_a_tenth_and_the_lucky_alone():
    """Released RF: identity if the whole is skipped, or if nothing that shows happens."""
    augmentation = build_augmentation("released_rf")
    unchanged = np.mean([digest(augment(augmentation, IMAGE, seed)) == digest(IMAGE) for seed in range(2000)])
    nothing = 0.85 * 0.8 * 0.5 * 0.5 * 0.8  # turn (a quarter of them by 0 degrees), transpose, flips, shift
    # Combinations that undo each other, as half a turn and both flips, add a little.
    assert nothing * 0.9 + 0.1 < unchanged + 0.025
    assert unchanged < nothing * 0.9 + 0.1 + 0.06


def test_noise_is_as_strong_as_in_1_3_0():
    """1.3.0 drew the variance from 10..50 (grey levels squared); 2.0.8's default is 16 times that deviation."""
    noise = find(build_augmentation("standard"), GaussNoise13)
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    deviations = []
    for seed in range(300):
        noise.set_random_state(np.random.default_rng(seed), random.Random(seed))
        noisy = noise(image=grey, force_apply=True)["image"].astype(float)
        deviations.append(noisy.std())
        assert noisy.mean() == pytest.approx(127.5, abs=0.3)  # 1.3.0 dropped the fraction
    assert min(deviations) == pytest.approx(np.sqrt(10), abs=0.15)
    assert max(deviations) == pytest.approx(np.sqrt(50), abs=0.15)
    assert np.mean(np.square(deviations)) == pytest.approx(30, abs=2)


def test_shift_scale_rotate_is_1_3_0s():
    """The warp equals 1.3.0's own formula: one scale for both axes, mirrored border."""
    warp = find(build_augmentation("released_rf"), A.Affine)
    for seed in range(20):
        warp.set_random_state(np.random.default_rng(seed), random.Random(seed))
        values = warp.get_params_dependent_on_data({"shape": IMAGE.shape}, {})
        angle, scale = values["rotate"], values["scale"]["x"]
        assert -45 <= angle <= 45
        assert 0.9 <= scale <= 1.1
        matrix = cv2.getRotationMatrix2D((31.5, 31.5), angle, scale)
        shift = values["matrix"][:2, 2] - matrix[:, 2]
        assert (np.abs(shift) <= 0.0625 * 64).all()
        matrix[:, 2] += shift
        expected = cv2.warpAffine(IMAGE, matrix, (64, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        warp.set_random_state(np.random.default_rng(seed), random.Random(seed))
        assert np.array_equal(warp(image=IMAGE, force_apply=True)["image"], expected)


def test_sharpening_kinds_are_equally_likely():
    one_of = [part for part in build_augmentation("standard") if isinstance(part, A.OneOf)][-1]
    assert [type(part).__name__ for part in one_of] == ["CLAHE", "Sharpen", "Emboss", "RandomBrightnessContrast"]
    assert one_of.transforms_ps == [0.25] * 4
    assert one_of[0].clip_limit == (1, 2)


def test_building_warns_of_nothing_and_import_stays_offline():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in AUGMENTATIONS:
            build_augmentation(name)
    program = "import os, deepfake_ms.data.augmentation; print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={}, check=True)
    assert result.stdout.strip() == "1"
