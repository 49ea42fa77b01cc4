import cv2
import numpy as np

from deepfake_ms.preprocessing.perceptual_hash import HASH_SIZE, perceptual_hash


def picture(number: int) -> np.ndarray:
    """A grey picture of smooth noise."""
    coarse = np.random.default_rng(number).integers(40, 200, (24, 24), dtype=np.uint8)
    return np.repeat(cv2.resize(coarse, (224, 224), interpolation=cv2.INTER_CUBIC)[..., None], 3, axis=2)


def bits(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_has_all_its_bits_in_hexadecimal():
    assert len(perceptual_hash(picture(0))) * 4 == HASH_SIZE**2
    assert 0 <= int(perceptual_hash(picture(0)), 16) < 2 ** (HASH_SIZE**2)


def test_brightness_changes_few_bits_and_another_picture_many():
    brighter = (picture(0) * 0.8 + 40).astype(np.uint8)
    assert bits(perceptual_hash(picture(0)), perceptual_hash(brighter)) <= 10
    assert bits(perceptual_hash(picture(0)), perceptual_hash(picture(2))) > 60
