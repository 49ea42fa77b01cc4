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


ALL_PAIRS = 500_000_000
"""Up to so many pairs of faces, all of them are compared: 4 s on one core."""

MISSED = 0.01
"""Among more faces, the share of near-duplicates of exactly `THRESHOLD` bits that may be missed. Measured on random
hashes, 20,000 to 600,000: .98 to .99 of those of 39 and 40 bits are found, .994 of 35 to 38, and all up to 30."""

_BUCKET, _CHUNK = 64, 65_536


def find_near_duplicates(hashes: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Find a near-duplicate of each face among other faces.

    Up to `ALL_PAIRS` pairs, it is the nearest face. Beyond that, all pairs would take hours; see `find_in_buckets`.

    Args:
        hashes: N perceptual hashes in hexadecimal, all of the same length.
        others: M hashes of the same length.

    Returns:
        int [N]: the position in `others` of a hash that differs in at most `THRESHOLD` bits, or -1.
    """
    if len(hashes) == 0 or len(others) == 0:
        return np.full(len(hashes), -1)
    if len(hashes) * len(others) > ALL_PAIRS:
        return find_in_buckets(_unpack(hashes), _unpack(others))
    bits, nearest = cv2.batchDistance(_unpack(hashes), _unpack(others), cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)
    return np.where(bits <= THRESHOLD, nearest, -1)[:, 0]


def find_in_buckets(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A near-duplicate of each hash, by locality-sensitive hashing with samples of bits (Indyk and Motwani, 1998).

    Two hashes that agree in a random sample of k of their bits fall into the same bucket and are compared. A pair that
    differs in d of B bits agrees with probability about (1 - d / B)^k; so many samples are drawn that a pair of
    `THRESHOLD` bits is missed in all of them with probability `MISSED`. With k near log2(M), a bucket holds about one
    unrelated hash, and the time grows with (N + M) M^0.25 instead of N M. Samples are the same in every call.

    Args:
        hashes: uint8 [N, B / 8].
        others: uint8 [M, B / 8].

    Returns:
        int [N]: a position in `others`, or -1 if none was found.
    """
    distinct, place = np.unique(others.view(f"V{others.shape[1]}")[:, 0], return_index=True)  # copies fill one bucket
    others = np.ascontiguousarray(distinct).view(np.uint8).reshape(len(distinct), -1)
    count = 8 * others.shape[1]
    width = int(np.clip(np.log2(len(others)), 8, 24))
    samples = int(np.ceil(np.log(MISSED) / np.log1p(-((1 - THRESHOLD / count) ** width))))
    random = np.random.default_rng(0)
    found = np.full(len(hashes), -1)
    columns = np.ascontiguousarray(others.T)
    for _ in range(samples):
        sample = random.choice(count, width, replace=False)
        bucket = _sampled_bits(columns, sample)
        order = np.argsort(bucket, kind="stable")
        sizes = np.bincount(bucket, minlength=1 << width)
        starts, sizes = np.cumsum(sizes) - sizes, np.minimum(sizes, _BUCKET)
        missing = np.flatnonzero(found < 0)
        for rows in np.array_split(missing, -(-len(missing) // _CHUNK) or 1):
            wanted = _sampled_bits(np.ascontiguousarray(hashes[rows].T), sample)
            repeats = sizes[wanted]
            row = np.repeat(np.arange(len(rows)), repeats)
            within = np.arange(len(row)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            candidate = order[np.repeat(starts[wanted], repeats) + within]
            bits = np.bitwise_count(hashes[rows[row]].view(np.uint64) ^ others[candidate].view(np.uint64)).sum(axis=1)
            near = bits <= THRESHOLD
            found[rows[row[near]]] = place[candidate[near]]
    return found


def _sampled_bits(columns: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """These bits of hashes given as columns, uint8 [B / 8, N], as whole numbers, int64 [N]."""
    number = np.zeros(columns.shape[1], dtype=np.int64)
    for bit in sample:
        number = number << 1 | columns[bit // 8] >> (7 - bit % 8) & 1
    return number


def _unpack(hashes: Sequence[str]) -> np.ndarray:
    """The bytes of the hashes, uint8 [N, bytes]."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
