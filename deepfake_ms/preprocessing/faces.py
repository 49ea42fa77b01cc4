"""Detected faces, and the choice of one face per frame."""

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
        """The faces in each RGB image, uint8 [H, W, 3] (sizes may differ), the most probable first.

        The images are the frames of one video in time order. The next image is requested only after the faces of the
        previous one were given, so that only one frame is in memory at a time.
        """


def choose_faces(detections: Sequence[Sequence[Face]], rule: str) -> list[Face | None]:
    """Choose one face per frame.

    The released script takes the first face that dlib's HOG detector returns, i.e. the one with the highest score,
    which depends neither on size nor on the other frames. No rule over MTCNN's faces reproduces that choice. In 195
    frames composed of two or three faces of real videos at random sizes, HOG's first face was MTCNN's most probable in
    46 % and MTCNN's largest in 39 %; a random face would be in 41 %. The default is ``largest``: like the release, it
    treats every frame independently, but by a visible criterion: MTCNN's probabilities of clear faces are all near 1.

    Args:
        detections: the detected faces of each frame, in time order, the most probable first.
        rule: ``largest`` (longest box side), ``first`` (most probable) or ``tracked`` (`follow_subject`).

    Returns:
        The chosen face of each frame, or None if it has none.
    """
    if rule == "tracked":
        return follow_subject(detections)
    if rule == "first":
        return [next(iter(faces), None) for faces in detections]
    return [_largest(faces) for faces in detections]


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
    largest = [_largest(faces) for faces in detections]
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


def _largest(faces: Iterable[Face]) -> Face | None:
    return max(faces, key=lambda face: face.side, default=None)


def _continuation(track: Face, faces: Iterable[Face]) -> Face | None:
    def distance(face: Face) -> float:
        return float(np.linalg.norm(face.centre - track.centre))

    near = [face for face in faces if distance(face) <= track.side and 0.5 <= face.side / track.side <= 2]
    return min(near, key=distance, default=None)
