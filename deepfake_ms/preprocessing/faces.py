"""Detected faces, and the choice of the video's subject among them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of its frame."""

    box: np.ndarray
    """Left, top, right, bottom: float64 [4]; may extend beyond the frame."""
    landmarks: np.ndarray
    """x, y of the points named in `deepfake_ms.manifest.LANDMARKS`: float64 [5, 2]."""
    probability: float
    """The detector's confidence, 0..1."""

    @property
    def centre(self) -> np.ndarray:
        """Centre of the box: [2]."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def side(self) -> float:
        """Longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())


class FaceDetector(Protocol):
    """The interface of face detectors."""

    def detect(self, images: Iterable[np.ndarray]) -> Iterator[list[Face]]:
        """The faces in each RGB image, uint8 [H, W, 3] (sizes may differ), in a deterministic order.

        The images are the frames of one video in time order. The next image is requested only after the faces of the
        previous one were given, so that only one frame is in memory at a time.
        """


def follow_subject(detections: Sequence[Sequence[Face]]) -> list[Face | None]:
    """Choose one face per frame, as far as possible the same person in all, judging by position and size.

    The track starts at the largest face of the whole video. It continues forwards and backwards to the nearest face in
    the next frame whose centre lies within one face side and whose size is half to twice as large. If no face continues
    the track (because the detector missed the subject or the scene changed), the largest face of that frame is chosen,
    but the track stays where it was, so that a bystander is not followed from then on.

    Args:
        detections: the detected faces of each frame, in time order.

    Returns:
        The chosen face of each frame, or None if it has none.
    """
    largest = [max(faces, key=lambda face: face.side, default=None) for faces in detections]
    found = [index for index, face in enumerate(largest) if face is not None]
    if not found:
        return largest
    anchor = max(found, key=lambda index: largest[index].side)
    chosen = list(largest)
    for indices in (range(anchor + 1, len(detections)), range(anchor - 1, -1, -1)):
        track = largest[anchor]
        for index in indices:
            continuation = _continuation(track, detections[index])
            if continuation is not None:
                chosen[index] = track = continuation
    return chosen


def _continuation(track: Face, faces: Iterable[Face]) -> Face | None:
    def distance(face: Face) -> float:
        return float(np.linalg.norm(face.centre - track.centre))

    near = [face for face in faces if distance(face) <= track.side and 0.5 <= face.side / track.side <= 2]
    return min(near, key=distance, default=None)
