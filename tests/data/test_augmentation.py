"""Augmentations as values: their pixels, their strengths, and wrong settings."""

import hashlib
import json
import random
import subprocess
import sys
import warnings
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from formulas import augmentation_of, augmentation_settings, formula_image

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import CONFIG_FOLDER, compose
from deepfake_ms.data.augmentation import augment, build_augmentation, ordered
from deepfake_ms.data.facial_swap import KINDS
from deepfake_ms.data.released_transforms import GaussNoise13
from deepfake_ms.errors import UserError
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run_folder import config_hash

IMAGE = formula_image(0)

# sha256 of the pixels for seeds 0..3, and of those for seeds 0..199 together, with albumentations 2.0.8 and OpenCV 5.0.
# Processors without AVX-512 round a few of these pixels differently: there, only their `weighted_mean` is compared.
GOLDEN = {
    "standard": [
        "f19e504da8f44d84",
        "a6984b98793ee6c2",
        "860e92f49ad15c6d",
        "46d8d9feb9a26f12",
        "5da545a216bd20c6",
        191.8771,
    ],
    "horizontal_flip": [
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "0b03a7ffa511b9eb",
        192.9646,
    ],
    "facial_swap": [  # only the flip; the dataset makes the swap
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "860e92f49ad15c6d",
        "0b03a7ffa511b9eb",
        192.9646,
    ],
    "facial_swap_released": [  # only the photometric part
        "327ada0595053797",
        "a0f1fae3be1021d1",
        "1280f1bcabeb6766",
        "0b739d5f89ef7a34",
        "120a07c8963317ec",
        190.4825,
    ],
    "random_flips": [
        "b4e1078675b84936",
        "860e92f49ad15c6d",
        "b4e1078675b84936",
        "b4e1078675b84936",
        "bdc2b20749e70e65",
        193.0385,
    ],
    "released_rf": [
        "f19e504da8f44d84",
        "4451d973cad3a552",
        "860e92f49ad15c6d",
        "1481a9d6d0846261",
        "bc797caecf5ab3df",
        192.6052,
    ],
}


def of_transforms(**transforms: dict) -> A.Compose | None:
    """The augmentation of a user's own file with these transforms."""
    return build_augmentation(ordered({"name": "mine", "transforms": transforms}))


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


def weighted_mean(images: list[np.ndarray]) -> float:
    """Mean of the pixels, with weights that rise to the right and, less steeply, to the bottom: flips change it."""
    height, width, _ = images[0].shape
    weights = np.linspace(0, 1, height)[:, None, None] + np.linspace(0, 2, width)[:, None]
    return float(np.mean([np.mean(weights * image) for image in images]))


# --- pixels


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pixels(name):
    augmentation = augmentation_of(name)
    images = [augment(augmentation, IMAGE, seed) for seed in range(200)]
    *digests, of_all, mean = GOLDEN[name]
    assert [*map(digest, images[:4])] == digests
    assert digest(*images) == of_all or torch.backends.cpu.get_cpu_capability() != "AVX512"
    assert weighted_mean(images) == pytest.approx(mean, abs=0.005)


def test_every_augmentation_has_golden_pixels():
    assert set(GOLDEN) | {"none"} == {path.stem for path in (CONFIG_FOLDER / "augmentation").glob("*.yaml")}
    assert augmentation_of("none") is None


@pytest.mark.parametrize("name", GOLDEN)
def test_the_seed_alone_determines_the_pixels(name):
    augmentation = augmentation_of(name)
    forward = [augment(augmentation, IMAGE, seed) for seed in range(20)]
    backward = [augment(augmentation_of(name), IMAGE, seed) for seed in reversed(range(20))][::-1]
    assert digest(*forward) == digest(*backward)
    assert all(image.shape == IMAGE.shape and image.dtype == np.uint8 for image in forward)


def test_horizontal_flip_keeps_the_face_or_mirrors_it():
    augmentation = augmentation_of("horizontal_flip")
    names = {digest(IMAGE): "none", digest(IMAGE[:, ::-1]): "left-right"}
    seen = Counter(names[digest(augment(augmentation, IMAGE, seed))] for seed in range(2000))
    assert seen["none"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_flips_are_independent_of_each_other():
    """`Compose.set_random_seed` would make both or neither."""
    augmentation = augmentation_of("random_flips")
    names = {digest(IMAGE): "none", digest(IMAGE[:, ::-1]): "left-right", digest(IMAGE[::-1]): "up-down"}
    seen = Counter(names.get(digest(augment(augmentation, IMAGE, seed)), "both") for seed in range(2000))
    assert len(seen) == 4
    assert all(count / 2000 == pytest.approx(0.25, abs=0.04) for count in seen.values())


def test_an_image_is_unchanged_if_the_pipeline_is_skipped_or_no_transform_has_an_effect():
    augmentation = augmentation_of("released_rf")
    unchanged = np.mean([digest(augment(augmentation, IMAGE, seed)) == digest(IMAGE) for seed in range(2000)])
    no_effect = 0.85 * 0.8 * 0.5 * 0.5 * 0.8  # turn (a quarter of them by 0 degrees), transpose, flips, shift
    # Combinations that undo each other, such as half a turn and both flips, add a little.
    assert no_effect * 0.9 + 0.1 < unchanged + 0.025
    assert unchanged < no_effect * 0.9 + 0.1 + 0.06


def test_noise_is_as_strong_as_in_1_3_0():
    """1.3.0 drew the variance from 10..50 (grey levels squared); 2.0.8's default is 16 times that deviation."""
    noise = find(augmentation_of("standard"), GaussNoise13)
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
    warp = find(augmentation_of("released_rf"), A.Affine)
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


def test_the_four_filters_of_standard_are_equally_likely():
    one_of = [part for part in augmentation_of("standard") if isinstance(part, A.OneOf)][-1]
    assert [type(part).__name__ for part in one_of] == ["CLAHE", "Sharpen", "Emboss", "RandomBrightnessContrast"]
    assert one_of.transforms_ps == [0.25] * 4
    assert one_of[0].clip_limit == (1, 2)


# --- values


def test_a_strength_can_be_overridden_on_the_command_line():
    p_is_one = ("augmentation.transforms.HorizontalFlip.p=1", "augmentation.transforms.VerticalFlip.p=0")
    augmentation = augmentation_of("random_flips", *p_is_one)
    assert all(np.array_equal(augment(augmentation, IMAGE, seed), IMAGE[:, ::-1]) for seed in range(20))
    overrides = ("augmentation.transforms.HorizontalFlip.p=1", "augmentation.transforms.OneOf.transforms.CLAHE.p=0")
    standard = augmentation_of("standard", *overrides, "augmentation.p=0.5")
    assert standard.p == 0.5
    assert find(standard, A.HorizontalFlip).p == 1
    assert find(standard, A.VerticalFlip).p == 0.5
    assert find(standard, A.OneOf).transforms_ps == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


def test_the_order_of_the_transforms_belongs_to_a_runs_identity_and_survives_its_record():
    cfg = compose("augmentation=standard")
    config = run_config(cfg, "abc")
    cfg.augmentation.transforms = dict(reversed(cfg.augmentation.transforms.items()))
    turned = run_config(cfg, "abc")
    assert config_hash(turned) != config_hash(config)
    names = [each["transform"] for each in config["curriculum"]["stages"][0]["augmentation"]["transforms"]]
    for written, expected in ((config, names), (turned, names[::-1])):
        (stage,) = Curriculum.from_record(json.loads(json.dumps(written, sort_keys=True))).stages
        assert [each["transform"] for each in stage.augmentation["transforms"]] == expected


def test_a_class_can_be_used_twice_under_other_names():
    flip = {"transform": "HorizontalFlip", "p": 1}
    both_ways = of_transforms(first=flip, second=flip, third={"transform": "VerticalFlip", "p": 1})
    assert np.array_equal(augment(both_ways, IMAGE, seed=0), IMAGE[::-1])


def test_names_of_opencvs_constants_are_their_values():
    by_name = of_transforms(Affine={"interpolation": "INTER_NEAREST", "border_mode": "BORDER_REFLECT_101"})[0]
    assert by_name.interpolation == cv2.INTER_NEAREST
    assert by_name.border_mode == cv2.BORDER_REFLECT_101


@pytest.mark.parametrize(
    ("transforms", "sentence"),
    [
        ({"HorizontalFlipp": {"p": 1}}, "no transform HorizontalFlipp; the nearest name is HorizontalFlip"),
        ({"BboxParam": {}}, "no transform BboxParam; the nearest name is "),
        ({"BboxParams": {}}, r"no transform BboxParams; the nearest name is (?!BboxParams\.)"),
        ({"HorizontalFlip": {"q": 1}}, "HorizontalFlip has no argument q"),
        ({"HorizontalFlip": {"p": 2}}, "HorizontalFlip rejects .*'p': 2"),
        ({"HorizontalFlip": {"p": "often"}}, "HorizontalFlip rejects .*often"),
        ({"GaussNoise": {"std_range": [0.5, 3.0], "p": 1}}, "GaussNoise rejects"),
        ({"Affine": {"interpolation": "INTER_SMOOTH"}}, "OpenCV has no constant INTER_SMOOTH"),
        ({"OneOf": {"transforms": {"Sharpenn": {}}, "p": 1}}, "no transform Sharpenn; the nearest name is Sharpen"),
        ({"first": {"p": 1}}, "no transform first"),
        ({"HorizontalFlip": None}, r"HorizontalFlip=None: give the transform's arguments, such as \{p: 0\.5\}"),
        ({"OneOf": {"transforms": {"Sharpen": 0.5}}}, r"Sharpen=0\.5: give the transform's arguments"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(transforms, sentence):
    with pytest.raises(UserError, match=f"^augmentation: .*{sentence}") as error:
        of_transforms(**transforms)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("p", [-0.1, 2, "often", None])
def test_the_outer_probability_is_checked(p):
    with pytest.raises(UserError, match=rf"^augmentation\.p={p}: give a probability from 0 to 1\.$"):
        ordered({"name": "mine", "p": p, "transforms": {"HorizontalFlip": {"p": 0.5}}})


@pytest.mark.parametrize(
    "kinds",
    [
        dict.fromkeys(KINDS, 0.3),
        dict.fromkeys(KINDS[:2], 0.5),
        dict(zip(KINDS, (-0.2, 0.4, 0.4, 0.4), strict=True)),
        {**dict.fromkeys(KINDS, 0.25), "window": 0.0},
    ],
)
def test_probabilities_of_the_swap_that_do_not_fit_are_refused(kinds):
    settings = augmentation_settings("augmentation=facial_swap")
    assert build_augmentation(settings | {"facial_swap": dict.fromkeys(KINDS, 0.25)})
    with pytest.raises(UserError, match=r"augmentation\.facial_swap=.* that sum to 1"):
        build_augmentation(settings | {"facial_swap": kinds})
    with pytest.raises(UserError, match=r"augmentation\.facial_swap=.* that sum to 1"):
        build_augmentation(settings | {"facial_swap": kinds, "transforms": []})


def test_building_gives_no_warning_and_import_stays_offline():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in GOLDEN:
            augmentation_of(name)
    program = "import os, deepfake_ms.data.augmentation; print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={}, check=True)
    assert result.stdout.strip() == "1"
