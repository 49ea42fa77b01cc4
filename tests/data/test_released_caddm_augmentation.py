"""The photometric augmentation of CADDM's release, against its own formulas."""

import cv2
import numpy as np
import pytest
from golden.drawn_faces import draw_face
from omegaconf import OmegaConf

from deepfake_ms.composition import compose
from deepfake_ms.data.augmentation import augment, augment_with_box, build_augmentation, ordered


def as_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def motion_blurred(image: np.ndarray, angle: float, length: int) -> np.ndarray:
    """The mean along a line of `length` pixels that begins at each pixel."""
    kernel = np.zeros((23, 23))
    for step in np.linspace(0, length, 200):
        kernel[11 + round(step * np.sin(angle)), 11 + round(step * np.cos(angle))] = 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def blended(image: np.ndarray, colour: np.ndarray, weight: float) -> np.ndarray:
    return as_bytes((1 - weight) * image + weight * colour)


def scaled_hsv(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(float)
    for channel, most in ((1, 1.15), (2, 2.0)):
        if random.random() < 0.5:
            hsv[..., channel] *= random.uniform(0.5, 1) if random.random() < 0.5 else random.uniform(1, most)
    return cv2.cvtColor(as_bytes(hsv), cv2.COLOR_HSV2RGB)


CHANGES = {
    "ImageCompression": lambda image, random: cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(random.uniform(15, 80))])[1], cv2.IMREAD_COLOR
    ),
    "StretchContrast": lambda image, random: as_bytes(
        (image.astype(float) - image.min()) / (float(image.max()) - image.min() + 1) * 255
    ),
    "AdditiveNoise": lambda image, random: np.rint(  # the release does not round here
        image + cv2.resize(random.normal(0, 2, (28, 28)), (112, 112))[..., None]
    ),
    "Sequential": scaled_hsv,
    "Gamma": lambda image, random: as_bytes(255 * (image / 255) ** (1 / random.uniform(0.6, 1.4))),
    "MotionBlur": lambda image, random: motion_blurred(image, random.uniform(0, 2 * np.pi), random.integers(1, 11)),
    "GaussianBlur": lambda image, random: cv2.GaussianBlur(image, (3, 3), random.choice([0.8, 1, 2])),
    "OneOf": lambda image, random: as_bytes(
        image + random.choice([random.integers(15, 22), random.integers(0, 5)]) * random.normal(size=image.shape)
    ),
    "Tint": lambda image, random: blended(image, random.uniform(60, 255, 3), random.uniform(0, 0.3)),
}
PROBABILITIES = dict(zip(CHANGES, (0.3, 0.5, 0.5, 0.25, 1, 0.3, 0.3, 0.3, 0.3), strict=True))


def photometric() -> dict:
    return ordered(OmegaConf.to_container(compose("augmentation=facial_swap_released").augmentation))


@pytest.mark.parametrize(("number", "name"), list(enumerate(CHANGES)))
def test_photometric_changes_are_as_frequent_and_as_strong_as_released(number, name):
    settings = photometric()
    transform = settings["transforms"][number]
    assert (transform["transform"], transform["p"]) == (name, PROBABILITIES[name])
    augmentation = build_augmentation({**settings, "transforms": [transform | {"p": 1}]})
    image = draw_face(3, 0, fake=False)[0][8:120, 8:120]
    image = as_bytes(30 + 0.75 * image)  # with a contrast that can be stretched
    ours, released = [], []
    for seed in range(400):
        ours.append(np.abs(augment(augmentation, image, seed).astype(float) - image).mean())
        changed = CHANGES[name](image, np.random.default_rng(10_000 + seed))
        released.append(np.abs(changed.astype(float) - image).mean())
    spread = np.hypot(np.std(ours), np.std(released)) / np.sqrt(400)
    assert np.mean(ours) == pytest.approx(np.mean(released), rel=0.1, abs=3 * spread)


def test_photometric_changes_keep_pixels_in_place_and_depend_on_the_seed_alone():
    augmentation = build_augmentation(photometric())
    image, box = draw_face(3, 0, fake=False)[0], np.array([0.2, 0.3, 0.6, 0.9], dtype=np.float32)
    for seed in range(20):
        augmented, moved = augment_with_box(augmentation, image, box, seed)
        assert np.array_equal(moved, box)
        assert augmented.shape == image.shape
        assert augmented.dtype == np.uint8
        assert np.array_equal(augmented, augment(build_augmentation(photometric()), image, seed))


def test_the_released_augmentation_swaps_as_facial_swap_does_and_flips_nothing():
    swap = ordered(OmegaConf.to_container(compose("augmentation=facial_swap").augmentation))
    assert photometric()["facial_swap"] == swap["facial_swap"]
    assert "HorizontalFlip" not in str(photometric())
