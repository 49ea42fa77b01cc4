"""Faces in frames: detection, and the choice of the one face that a video is about."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from facenet_pytorch import MTCNN


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

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each RGB image, uint8 [H, W, 3] (sizes may differ), in a repeatable order."""


class MTCNNDetector:
    """MTCNN (Zhang et al., 2016) as facenet-pytorch ships it, weights included, on the CPU.

    Every image gets a black border first. facenet-pytorch cuts candidate boxes off at the picture's edge but measures
    boxes and landmarks as if they were whole, so that in close-ups and tight crops the eye points land on the
    forehead or outside the picture; with the border they are right. Where nothing is found with confidence the border
    is tried again as a mirror image, which finds a few more faces that the edge cuts through, though less exactly.

    Args:
        longest_side: larger images are searched on a copy reduced to this many pixels, which finds faces from about
            3 % of the picture's longer side upwards. On 1080p video that is several times faster; boxes and landmarks
            differ from those of the full frame by no more than MTCNN's own scatter (.02 to .03 eye distances).
    """

    SMALLEST_FACE = 20
    BORDER = 0.25
    """On each side, as a fraction of the longer side."""
    CONFIDENT = 0.9

    def __init__(self, longest_side: int = 640) -> None:
        self.longest_side = longest_side
        self._network = MTCNN(min_face_size=self.SMALLEST_FACE, keep_all=True)

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """See `FaceDetector`. One image at a time: on a CPU that is faster than MTCNN's batches, and what is found in
        one frame cannot depend on its neighbours."""
        return [self._detect(image) for image in images]

    def _detect(self, image: np.ndarray) -> list[Face]:
        size = np.array(image.shape[1::-1])
        reduced_size = np.maximum(1, np.rint(size * min(1.0, self.longest_side / size.max()))).astype(int)
        if reduced_size.max() < size.max():
            image = cv2.resize(image, reduced_size.tolist(), interpolation=cv2.INTER_AREA)
        faces = self._detect_with_border(image, cv2.BORDER_CONSTANT)
        if not any(face.probability >= self.CONFIDENT for face in faces):
            faces = self._detect_with_border(image, cv2.BORDER_REFLECT) or faces
        enlarge = size / reduced_size
        return [Face(face.box * np.tile(enlarge, 2), face.landmarks * enlarge, face.probability) for face in faces]

    def _detect_with_border(self, image: np.ndarray, border_type: int) -> list[Face]:
        height, width = image.shape[:2]
        border = round(max(height, width) * self.BORDER)
        image = cv2.copyMakeBorder(image, border, border, border, border, border_type)
        if min(image.shape[:2]) < self.SMALLEST_FACE:  # facenet-pytorch fails where not even one face fits
            return []
        boxes, probabilities, landmarks = self._network.detect(image, landmarks=True)
        if boxes is None:
            return []
        faces = [
            Face(np.asarray(box, np.float64) - border, np.asarray(points, np.float64) - border, float(probability))
            for box, probability, points in zip(boxes, probabilities, landmarks, strict=True)
        ]
        # A face with its centre in the border is a reflection.
        return [face for face in faces if (face.centre >= 0).all() and (face.centre < (width, height)).all()]


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
