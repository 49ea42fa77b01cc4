"""Which faces of consecutive frames belong to the same person, judged by position and size alone."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepfake_ms.preprocessing.faces import Face

MOST_MISSED = 2
"""Sampled frames in a row in which a face may be missing without ending its track."""
FARTHEST = 1.0
"""Largest distance between the centres of a face in two frames, in units of the mean of its sides."""
MOST_CHANGED = 2.0
"""Largest ratio of the sides of a face in two frames."""
_IMPOSSIBLE = 1e6


class Tracker:
    """Assigns the faces of a video's frames to tracks, one frame after the other.

    The pairs of tracks and faces with the smallest sum of distances continue (Hungarian method); every other face
    starts a track. A person who takes another one's place, at a cut for instance, continues the other's track.
    """

    def __init__(self) -> None:
        self._frame = 0
        self._last: dict[int, tuple[int, Face]] = {}
        self._tracks = 0

    def update(self, faces: Sequence[Face]) -> list[int]:
        """The track of each face in the next frame, counted from 1."""
        self._frame += 1
        open_tracks = [number for number, (frame, _) in self._last.items() if self._frame - frame <= MOST_MISSED + 1]
        costs = np.array([[_cost(self._last[number][1], face) for face in faces] for number in open_tracks])
        found: dict[int, int] = {}
        if costs.size:
            for row, column in zip(*linear_sum_assignment(costs), strict=True):
                if costs[row, column] < _IMPOSSIBLE:
                    found[int(column)] = open_tracks[row]
        numbers = []
        for position, face in enumerate(faces):
            if position not in found:
                self._tracks += 1
                found[position] = self._tracks
            self._last[found[position]] = (self._frame, face)
            numbers.append(found[position])
        return numbers


def _cost(before: Face, now: Face) -> float:
    distance = float(np.linalg.norm(now.centre - before.centre)) / ((before.side + now.side) / 2)
    ratio = now.side / before.side
    return distance if distance <= FARTHEST and 1 / MOST_CHANGED <= ratio <= MOST_CHANGED else _IMPOSSIBLE
