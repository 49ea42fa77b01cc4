"""A fingerprint of what a crop looks like, by which near-duplicates are found."""

import imagehash
import numpy as np
from PIL import Image

HASH_SIZE = 16
"""The hash has this number squared of bits; `deepfake_ms.data.near_duplicates` says why so many."""


def perceptual_hash(crop: np.ndarray) -> str:
    """The DCT hash (pHash) of a crop, RGB uint8 [S, S, 3]: HASH_SIZE² bits in hexadecimal."""
    return str(imagehash.phash(Image.fromarray(crop), hash_size=HASH_SIZE))
