"""MTCNN (Zhang et al., 2016): a cascade of proposal, refinement and output network (P-Net, R-Net, O-Net).

The networks and their weights are facenet-pytorch's. The cascade is reimplemented for two reasons. First,
facenet-pytorch clips a candidate box at the edge of the image but computes boxes and landmarks as if it were complete,
so that in close-ups the eye points land on the forehead; here the part outside is black. Second, it searches the whole
frame at full size for the smallest faces, where a reduced frame is enough (`experiments/benchmarks/preparation.py`).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models.utils.detect_face import nms_numpy
from torchvision.ops import nms

from deepfake_ms.preprocessing.faces import Face

WINDOW, STRIDE = 12, 2
"""P-Net's receptive field and stride, in pixels of a pyramid level."""
PYRAMID_FACTOR = 0.709
FACE_THRESHOLD = 0.7
"""Minimum probability in R-Net and in O-Net (the threshold of MTCNN's paper and of facenet-pytorch)."""


class SearchThresholds(NamedTuple):
    """How many P-Net candidates reach the next networks."""

    proposal: float
    """Minimum probability in P-Net."""
    proposal_iou: float
    """Of two P-Net candidates with a larger intersection over union, only the more probable one is kept."""
    refined_iou: float
    """The same for R-Net's candidates."""


FAST = SearchThresholds(proposal=0.8, proposal_iou=0.5, refined_iou=0.3)
"""Keeps a quarter of the candidates; the second pass through O-Net compensates for this."""
ORIGINAL = SearchThresholds(proposal=0.6, proposal_iou=0.7, refined_iou=0.7)
"""The thresholds of MTCNN's paper and of facenet-pytorch."""


class MTCNNDetector:
    """Detects faces with five landmarks each on the CPU; see `deepfake_ms.preprocessing.faces.FaceDetector`.

    MTCNN spends most of its time on small faces. A frame is therefore first searched for large faces only: at least .4
    of the size of the last frame's largest face or, in the first frame, a fifth of the longer side. If the largest face
    found is so small that a face of half its size could have been missed, the search is repeated with that half as the
    minimum size, so that every face that could be the subject is found in every frame. If no face is found with
    confidence, the search is extended: first to faces of 1/16 of the longer side, then to faces of 20 pixels in 640,
    with a mirrored border, which finds faces that are cut by the edge. The search runs on a reduced copy. Finally O-Net
    runs on each face at full frame resolution, for exact landmarks.

    Images are processed one at a time, which is faster than batches on a CPU.

    Args:
        longest_side: larger images are searched on a copy reduced to this many pixels.
    """

    SMALLEST_FACE = 20
    """In pixels of the searched copy; R-Net's input has 24."""
    LARGE_FACE, MEDIUM_FACE = 1 / 5, 1 / 16
    """Minimum sizes of the first searches, as fractions of the longer side."""
    BORDER = 0.25
    """Mirrored border on each side, as a fraction of the longer side."""
    CONFIDENT = 0.9
    """Minimum probability of a face that ends the search."""

    def __init__(self, longest_side: int = 640) -> None:
        self.longest_side = longest_side
        networks = MTCNN().to(memory_format=torch.channels_last)  # the memory layout of the images
        self._pnet, self._rnet, self._onet = networks.pnet, networks.rnet, networks.onet

    def detect(self, images: Iterable[np.ndarray]) -> Iterator[list[Face]]:
        """The faces in each RGB image, uint8 [H, W, 3], of one video; the most probable first."""
        last_size = None
        for image in images:
            faces = self._detect(image, last_size)
            last_size = _size_of_largest(faces) or last_size
            yield faces

    @torch.inference_mode()
    def _detect(self, image: np.ndarray, last_size: float | None) -> list[Face]:
        medium = self.MEDIUM_FACE * max(image.shape)
        smallest = max(medium, last_size / 2.5) if last_size else self.LARGE_FACE * max(image.shape)
        faces = self._search(image, self.longest_side, smallest, FAST)
        size = _size_of_largest(faces)
        if size < 2 * smallest:
            faces = self._search(image, self.longest_side, size / 2 if size else medium, FAST) or faces
        return faces if _size_of_largest(faces) else self._search_with_border(image) or faces

    def _search_with_border(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        border = round(max(height, width) * self.BORDER)
        bordered = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT)
        found = self._search(bordered, round(self.longest_side * (1 + 2 * self.BORDER)), 0, ORIGINAL)
        moved = [Face(face.box - border, face.landmarks - border, face.probability) for face in found]
        # A face whose centre lies in the border is a mirror image.
        return [face for face in moved if (face.centre >= 0).all() and (face.centre < (width, height)).all()]

    def _search(
        self, image: np.ndarray, longest_side: int, smallest_face: float, thresholds: SearchThresholds
    ) -> list[Face]:
        size = np.array(image.shape[1::-1])
        reduced_size = np.maximum(1, np.rint(size * min(1.0, longest_side / size.max()))).astype(int)
        reduced = cv2.resize(image, reduced_size.tolist(), interpolation=cv2.INTER_AREA)
        smallest_face = max(self.SMALLEST_FACE, smallest_face * reduced_size.max() / size.max())
        boxes = self._propose(reduced, smallest_face, thresholds)
        if len(boxes):
            boxes = self._refine(reduced, boxes, thresholds.refined_iou)
        if not len(boxes):
            return []
        boxes, _, probabilities = self._locate(reduced, boxes)
        kept = [i for i in nms_numpy(boxes, probabilities, 0.7, "Min") if probabilities[i] > FACE_THRESHOLD]
        if not kept:
            return []
        enlarge = np.tile(size / reduced_size, 2)
        boxes, landmarks, _ = self._locate(image, _squares(boxes[kept] * enlarge))
        return [
            Face(box, points - 0.5, float(probability))  # from edge coordinates to integers at pixel centres
            for box, points, probability in zip(boxes, landmarks, probabilities[kept], strict=True)
        ]

    def _propose(self, image: np.ndarray, smallest_face: float, thresholds: SearchThresholds) -> np.ndarray:
        """P-Net's square candidates over an image pyramid, float [N, 4]."""
        height, width = image.shape[:2]
        found = []
        level, scale = image, WINDOW / smallest_face
        while min(height, width) * scale >= WINDOW:
            size = (round(width * scale), round(height * scale))
            level = cv2.resize(level, size, interpolation=cv2.INTER_AREA)
            offsets, probabilities = (output[0].numpy() for output in self._pnet(_as_input(level[None])))
            row, column = np.nonzero(probabilities[1] >= thresholds.proposal)
            corner = np.stack([column, row], axis=1) * STRIDE
            window = np.hstack([corner, corner + WINDOW]) * (np.array([width, height] * 2) / np.array(size * 2))
            found.append(np.hstack([window, offsets[:, row, column].T, probabilities[1, row, column, None]]))
            scale *= PYRAMID_FACTOR
        if not found:
            return np.empty((0, 4))
        windows, offsets, scores = np.split(np.concatenate(found), [4, 8], axis=1)
        kept = nms(torch.from_numpy(windows), torch.from_numpy(scores[:, 0]), thresholds.proposal_iou).numpy()
        return _squares(_shifted(windows[kept], offsets[kept]))

    def _refine(self, image: np.ndarray, boxes: np.ndarray, max_iou: float) -> np.ndarray:
        """The candidates that R-Net accepts, as corrected squares, float [M, 4]."""
        offsets, probabilities = self._rnet(_as_input(_cut(image, boxes, 24)))
        scores = probabilities[:, 1]
        passed = torch.nonzero(scores > FACE_THRESHOLD)[:, 0]
        kept = passed[nms(torch.from_numpy(boxes).float()[passed], scores[passed], max_iou)].numpy()
        return _squares(_shifted(boxes[kept], offsets.numpy()[kept]))

    def _locate(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """O-Net's box [N, 4], landmarks [N, 5, 2] and probability [N] of the face in each square."""
        offsets, points, probabilities = self._onet(_as_input(_cut(image, boxes, 48)))
        points = points.numpy().reshape(-1, 2, 5).transpose(0, 2, 1)
        landmarks = boxes[:, None, :2] + points * (boxes[:, None, 2:] - boxes[:, None, :2])
        return _shifted(boxes, offsets.numpy()), landmarks, probabilities[:, 1].numpy()


def _size_of_largest(faces: list[Face]) -> float:
    """Side of the largest face detected with confidence; 0 if there is none."""
    return max((face.side for face in faces if face.probability >= MTCNNDetector.CONFIDENT), default=0.0)


def _as_input(images: np.ndarray) -> torch.Tensor:
    """Convert uint8 [N, H, W, 3] to the networks' input, float [N, 3, H, W] in -1..1."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 128


def _shifted(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes with edges moved by `offsets` [N, 4], in units of their width and height."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _squares(boxes: np.ndarray) -> np.ndarray:
    """Each box enlarged to a square about its centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([centres - halves, centres + halves])


def _cut(image: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """The content of each square box, uint8 [N, size, size, 3]; black outside the image."""
    height, width = image.shape[:2]
    pieces = np.zeros((len(boxes), size, size, 3), np.uint8)
    for piece, (left, top, right, bottom) in zip(pieces, np.rint(boxes).astype(int).tolist(), strict=True):
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not inside.size:
            continue
        outside = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
        if any(outside):
            inside = cv2.copyMakeBorder(inside, *outside, cv2.BORDER_CONSTANT)
        cv2.resize(inside, (size, size), dst=piece, interpolation=cv2.INTER_AREA)
    return pieces
