"""Faces in frames, and the choice of the one face that a video is about."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of its frame."""

    box: np.ndarray
    """Left, top, right, bottom: float64 [4]; may reach beyond the frame."""
    landmarks: np.ndarray
    """x, y of the points `deepfake_ms.manifest.LANDMARKS`: float64 [5, 2]."""
    probability: float
    """The detector's confidence, 0..1."""

    @property
    def centre(self) -> np.ndarray:
        """Middle of the box: [2]."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def side(self) -> float:
        """Longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())


class FaceDetector(Protocol):
    """Whatever finds faces."""

    def detect(self, images: Iterable[np.ndarray]) -> Iterator[list[Face]]:
        """The faces of each RGB image, uint8 [H, W, 3] (sizes may differ), in a repeatable order.

        The images are those of one video, in time order; one is asked for only when the faces of the one before are
        given, so that no more than one frame need be held.
        """


def follow_subject(detections: Sequence[Sequence[Face]]) -> list[Face | None]:
    """Choose one face per frame: the same person throughout, as far as position and size tell.

    The largest face of the whole video anchors the track. From there it is followed forwards and backwards to the
    face whose centre stays nearest, within one face side and half to twice the size. Where none continues the track
    (the subject is missed, or the scene changes) the frame's largest face is taken, but the track stays where it was,
    so a bystander is not followed from then on.

    Args:
        detections: per frame, in time order, the faces found.

    Returns:
        Per frame the chosen face, or None where there is none.
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
