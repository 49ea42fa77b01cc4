"""Perceptual hash of a crop, for finding near-duplicates."""

import imagehash
import numpy as np
from PIL import Image

HASH_SIZE = 16
"""The hash has HASH_SIZE² bits; `deepfake_ms.data.near_duplicates` explains why so many."""


def perceptual_hash(crop: np.ndarray) -> str:
    """The DCT hash (pHash) of a crop, RGB uint8 [S, S, 3], as HASH_SIZE² bits in hexadecimal."""
    return str(imagehash.phash(Image.fromarray(crop), hash_size=HASH_SIZE))
