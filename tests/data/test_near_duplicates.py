import cv2
import numpy as np
import pytest

from deepfake_ms.data import near_duplicates
from deepfake_ms.data.near_duplicates import THRESHOLD, find_in_buckets, find_near_duplicates
from deepfake_ms.preprocessing.perceptual_hash import perceptual_hash

OCTAVES = (4, 8, 16, 32, 64, 112)


def test_nearest_hash_equals_a_bit_count():
    random = np.random.default_rng(0)
    others = random.integers(0, 256, (50, 32), dtype=np.uint8)
    near = others[random.permutation(50)[:20]].copy()
    near[:, :9] ^= random.integers(0, 256, (20, 9), dtype=np.uint8)  # about 36 bits
    found = find_near_duplicates([row.tobytes().hex() for row in near], [row.tobytes().hex() for row in others])
    bits = np.bitwise_count(near[:, None] ^ others[None]).sum(axis=2, dtype=int)
    expected = np.where(bits.min(axis=1) <= THRESHOLD, bits.argmin(axis=1), -1)
    assert found.tolist() == expected.tolist()
    assert 0 < (found == -1).sum() < 20


def test_no_faces():
    assert find_near_duplicates([], ["00" * 32]).tolist() == []
    assert find_near_duplicates(["00" * 32], []).tolist() == [-1]


@pytest.mark.parametrize(
    ("folder", "count"), [pytest.param("faces/real", 23, id="real"), pytest.param("faces/fake", 22, id="fake")]
)
def test_real_faces_match_their_altered_copies_and_no_other_faces(shared, folder, count):
    crops = [cv2.imread(str(path))[..., ::-1] for path in sorted((shared / "real-samples" / folder).glob("*.jpg"))]
    hashes = [perceptual_hash(np.ascontiguousarray(crop)) for crop in crops]
    assert len(hashes) == count
    indices = list(range(count))
    for change in (compressed, shrunk, shifted):
        assert find_near_duplicates([perceptual_hash(change(crop)) for crop in crops], hashes).tolist() == indices
    for number in indices:
        assert find_near_duplicates([hashes[number]], hashes[:number] + hashes[number + 1 :]).tolist() == [-1]


def test_random_textures_match_their_altered_copies_and_no_others():
    crops = [texture(number) for number in range(8)]
    hashes = [perceptual_hash(crop) for crop in crops]
    for change in (compressed, shrunk, shifted):
        found = find_near_duplicates([perceptual_hash(change(crop)) for crop in crops], hashes)
        assert found.tolist() == list(range(8))
    assert find_near_duplicates(hashes[:4], hashes[4:]).tolist() == [-1] * 4


def texture(number: int) -> np.ndarray:
    """Noise at all scales, stronger at coarse scales, as in photographs."""
    random = np.random.default_rng(number)
    octaves = [
        cv2.resize(random.normal(size=(n, n, 3)) / n, (224, 224), interpolation=cv2.INTER_CUBIC) for n in OCTAVES
    ]
    return cv2.normalize(sum(octaves), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def compressed(crop: np.ndarray) -> np.ndarray:
    encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def shrunk(crop: np.ndarray) -> np.ndarray:
    small = cv2.resize(crop, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (224, 224), interpolation=cv2.INTER_CUBIC)


def shifted(crop: np.ndarray) -> np.ndarray:
    move = np.float32([[1, 0, 2], [0, 1, 0]])
    return cv2.warpAffine(crop, move, (224, 224), borderMode=cv2.BORDER_REFLECT_101)


def test_buckets_find_what_all_pairs_find():
    random = np.random.default_rng(0)
    hashes, others = (random.integers(0, 256, (count, 32), dtype=np.uint8) for count in (2000, 3000))
    bits = np.repeat([0, 10, 20, 30], 250)
    hashes[:1000] = others[random.integers(0, 3000, 1000)]
    for row, count in zip(hashes, bits, strict=False):
        for bit in random.choice(256, count, replace=False):
            row[bit // 8] ^= 1 << bit % 8
    others[100:1100] = others[100]  # many copies of one face must not fill its bucket
    hashes[1000] = others[100]
    exact = [row.tobytes().hex() for row in hashes], [row.tobytes().hex() for row in others]
    expected = find_near_duplicates(*exact) >= 0
    found = find_in_buckets(hashes, others)
    distance = np.bitwise_count(hashes[found >= 0] ^ others[found[found >= 0]]).sum(axis=1, dtype=int)
    assert distance.max() <= THRESHOLD
    assert ((found >= 0) == expected).all()
    assert found[1000] == 100


def test_large_sets_are_not_compared_pair_by_pair(monkeypatch):
    monkeypatch.setattr(near_duplicates, "ALL_PAIRS", 100)
    monkeypatch.setattr(near_duplicates.cv2, "batchDistance", None)
    hashes = [np.random.default_rng(number).bytes(32).hex() for number in range(40)]
    assert find_near_duplicates(hashes, hashes[::-1]).tolist() == list(range(39, -1, -1))
