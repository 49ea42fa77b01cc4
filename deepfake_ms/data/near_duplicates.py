"""Near-duplicate faces: crops whose perceptual hashes differ in only a few bits."""

from collections.abc import Sequence

import cv2
import numpy as np

THRESHOLD = 40
"""Two faces are near-duplicates if their hashes (`deepfake_ms.preprocessing.perceptual_hash`) differ in at most this
many of 256 bits.

Measured on 45 DFDC crops, 66 crops of five real videos, and 156 crops of 52 drawn videos. A crop matches itself after
JPEG compression at quality 75 or downscaling by a half (333 of 333, at most 8 bits), and after a shift by 1 px (888 of
888) or 2 px (887 of 888) in any of eight directions, by 3 px along an axis (443 of 444), and by 3 px diagonally (57 %).
After re-encoding whole videos at CRF 30 or half size and detecting the faces anew, 82 to 88 % of the faces matched,
including some of every video. No two crops of different videos without a common person matched: 0 of 2,609 real pairs
(at least 82 bits; mean 124, standard deviation 9) and 0 of 10,323 drawn pairs (at least 48 bits).

Frames of one video one second apart (28 % of real neighbours match) and a drawn fake and the same frame of its source
(14 %) differ more than they seem to: the hash finds copies, while shared videos and identities are counted separately.
64-bit hashes are too short: two different people came within 10 bits, and a crop shifted by 3 px differed by up to 8.
"""


def find_near_duplicates(hashes: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Find the near-duplicate of each face among other faces.

    Compares all pairs, at about 150 million pairs per second and core.

    Args:
        hashes: N perceptual hashes in hexadecimal, all of the same length.
        others: M hashes of the same length.

    Returns:
        int [N]: the position in `others` of the nearest hash, or -1 if it differs in more than `THRESHOLD` bits.
    """
    if len(hashes) == 0 or len(others) == 0:
        return np.full(len(hashes), -1)
    bits, nearest = cv2.batchDistance(_unpack(hashes), _unpack(others), cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)
    return np.where(bits <= THRESHOLD, nearest, -1)[:, 0]


def _unpack(hashes: Sequence[str]) -> np.ndarray:
    """The bytes of the hashes, uint8 [N, bytes]."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
