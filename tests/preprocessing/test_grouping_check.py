"""Warnings where the faces contradict how images were grouped into videos."""

import numpy as np
import pytest

from deepfake_ms.data.near_duplicates import THRESHOLD
from deepfake_ms.preprocessing.grouping_check import NEAR, GroupingCheck

RANDOM = np.random.default_rng(0)


def unrelated(count):
    """Hashes of different people, about 128 bits apart."""
    return [RANDOM.bytes(32).hex() for _ in range(count)]


def alike(count, bits=4):
    """Hashes of the frames of one video."""
    first, found = int(RANDOM.bytes(32).hex(), 16), []
    for _ in range(count):
        found.append(f"{first:064x}")
        for bit in RANDOM.choice(256, bits, replace=False).tolist():
            first ^= 1 << bit
    return found


def warnings_for(videos, media="image"):
    check = GroupingCheck()
    for number, hashes in enumerate(videos):
        rows = [{"source": f"real/{number}_{i}.png", "perceptual_hash": each} for i, each in enumerate(hashes)]
        check.add({"video_id": f"real/{number}", "media": media, "rows": rows})
    return check.warnings


def test_frames_that_count_as_videos_are_found():
    (warning,) = warnings_for([[each] for each in alike(6)])
    assert "5 of 5 neighbouring images that count as different videos look the same" in warning
    assert "e.g. real/0_0.png and real/1_0.png" in warning
    assert "data.options.video_pattern" in warning


def test_unrelated_photos_that_count_as_one_video_are_found():
    (warning,) = warnings_for([unrelated(45), alike(8)])
    assert "1 of 2 videos that consist of images seem to show different people in them, e.g. real/0" in warning


@pytest.mark.parametrize(
    ("videos", "media"),
    [
        ([[each] for each in unrelated(45)], "image"),
        ([alike(8) for _ in range(5)], "image"),
        ([alike(8, bits=80) for _ in range(5)], "image"),  # as far apart as real frames one second apart
        ([[each] for each in alike(6)], "video"),
        ([[each] for each in [*unrelated(40), *alike(2)]], "image"),  # a single copy
        ([[], unrelated(3)], "image"),
        ([], "image"),
    ],
)
def test_nothing_else_is_warned_of(videos, media):
    assert warnings_for(videos, media) == []


def test_near_means_the_same_as_in_the_audit_of_a_split():
    assert NEAR == THRESHOLD
