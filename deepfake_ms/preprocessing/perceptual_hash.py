"""Perceptual hash of a crop, for finding near-duplicates."""

import imagehash
import numpy as np
from PIL import Image

HASH_SIZE = 16
"""The hash has HASH_SIZE² bits; `deepfake_ms.data.near_duplicates` explains why so many."""


def perceptual_hash(crop: np.ndarray) -> str:
    """The DCT hash (pHash) of a crop, RGB uint8 [S, S, 3], as HASH_SIZE² bits in hexadecimal."""
    return str(imagehash.phash(Image.fromarray(crop), hash_size=HASH_SIZE))


def hash_distance(one: str, other: str) -> int:
    """Number of bits in which two perceptual hashes differ, 0..HASH_SIZE²."""
    return (int(one, 16) ^ int(other, 16)).bit_count()
