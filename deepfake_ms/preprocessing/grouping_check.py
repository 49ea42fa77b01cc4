"""Checks the grouping of images into videos by comparing their faces."""

from itertools import pairwise
from statistics import median
from typing import Any

from deepfake_ms.preprocessing.perceptual_hash import hash_distance

NEAR = 40
"""Maximum number of differing bits between hashes of the same picture; see `deepfake_ms.data.near_duplicates`."""

UNRELATED = 116
"""Median distance of neighbours above which the images of a video seem to show different people.

In tight crops of five real videos, neighbours one second apart had medians of 30 to 110 bits, and neighbours a fifth of
a second apart 18 to 80. Faces of different people differ in 123 bits on average (standard deviation 10; 3,544 pairs).
"""

_MIN_SHARE = 0.05
_MIN_PAIRS = 2
_MIN_IMAGES = 5


class GroupingCheck:
    """Compares the faces of neighbouring images, in the order of the videos' ids and of their frames.

    It finds frames that count as videos of their own, because names of such frames follow each other, and unrelated
    photos that count as one video. It takes one comparison per face; `deepfake_ms.data.audit` compares all pairs of two
    subsets.
    """

    def __init__(self) -> None:
        self._last: dict[str, Any] | None = None
        self._pairs, self._near = 0, 0
        self._near_example = self._unrelated_example = ""
        self._videos, self._unrelated = 0, 0

    def add(self, record: dict[str, Any]) -> None:
        """Add the record of the next video, in the order of the ids."""
        rows = record["rows"]
        if record["media"] != "image" or not rows:
            return
        if self._last is not None:
            self._pairs += 1
            if _distance(self._last, rows[0]) <= NEAR:
                self._near += 1
                self._near_example = self._near_example or f"{self._last['source']} and {rows[0]['source']}"
        self._last = rows[-1]
        if len(rows) >= _MIN_IMAGES:
            self._videos += 1
            if median(_distance(one, other) for one, other in pairwise(rows)) >= UNRELATED:
                self._unrelated += 1
                self._unrelated_example = self._unrelated_example or record["video_id"]

    @property
    def warnings(self) -> list[str]:
        """One sentence per suspicious grouping."""
        found = []
        if self._near >= max(_MIN_PAIRS, _MIN_SHARE * self._pairs):
            found.append(
                f"{self._near} of {self._pairs} neighbouring images that count as different videos look the same, e.g. "
                f"{self._near_example}: if they are frames of one video, name their videos with "
                "data.options.video_pattern, or a split by video will divide them."
            )
        if self._unrelated:
            found.append(
                f"{self._unrelated} of {self._videos} videos that consist of images seem to show different people in "
                f"them, e.g. {self._unrelated_example}: if these are unrelated photos, separate them with "
                "data.options.video_pattern, e.g. '(?P<video>.+)' for one video per image."
            )
        return found


def _distance(one: dict[str, Any], other: dict[str, Any]) -> int:
    return hash_distance(one["perceptual_hash"], other["perceptual_hash"])
