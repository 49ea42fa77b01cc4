"""Faces that look the same: crops whose perceptual hashes differ in few bits."""

from collections.abc import Sequence

import cv2
import numpy as np

THRESHOLD = 40
"""Two faces are near-duplicates if their hashes (`deepfake_ms.preprocessing.perceptual_hash`) differ in at most so many
of 256 bits.

Measured on 45 DFDC crops, 66 crops of five real videos, and 156 crops of 52 drawn videos. The same crop is found again
after JPEG of quality 75 or after shrinking to a half (333 of 333, at most 8 bits), shifted by 1 px (888 of 888) or 2 px
(887 of 888) in any of eight directions, by 3 px along an axis (443 of 444), and by 3 px diagonally in 57 %. When whole
videos were encoded again, at CRF 30 or half their size, and went through the face detector anew, 82 to 88 % of the
faces, and some of every video, were found. Not found is any pair of different videos that share no person: 0 of 2,609
real pairs (at least 82 bits; mean 124, standard deviation 9) and 0 of 10,323 drawn ones (at least 48).

Less alike than they look to the eye are frames of one video a second apart (28 % of real neighbours are found) and a
drawn fake and the same frame of its source (14 %): this finds copies, and leaks of videos and identities are counted as
such. Hashes of 64 bits do not do: two different people came within 10 bits, a crop shifted by 3 px went up to 8.
"""


def find_near_duplicates(hashes: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Which of the other faces each face looks most like.

    Every hash is compared with every other one, about 150 million pairs a second on a core.

    Args:
        hashes: N perceptual hashes in hexadecimal, all of one length.
        others: M hashes of that length.

    Returns:
        int [N]: the position in `others` of the nearest one, -1 if it differs in more than `THRESHOLD` bits.
    """
    if len(hashes) == 0 or len(others) == 0:
        return np.full(len(hashes), -1)
    bits, nearest = cv2.batchDistance(_unpack(hashes), _unpack(others), cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)
    return np.where(bits <= THRESHOLD, nearest, -1)[:, 0]


def _unpack(hashes: Sequence[str]) -> np.ndarray:
    """The hashes' bytes, uint8 [N, bytes]."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
