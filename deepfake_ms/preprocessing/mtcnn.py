"""MTCNN (Zhang et al., 2016): proposal, refinement and output network, each judging what the one before left.

The networks and their weights are facenet-pytorch's; the cascade between them is written anew, for two reasons.
facenet-pytorch cuts a candidate box off at the picture's edge but measures boxes and landmarks as if it were whole,
so that in close-ups the eye points land on the forehead; here what lies outside is black. And it searches the whole
frame at full size for the smallest faces, where a reduced frame does (`experiments/benchmarks/preparation.py`).
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
"""P-Net's view and step, in pixels of a pyramid level."""
PYRAMID_FACTOR = 0.709
FACE = 0.7
"""What a candidate must reach in R-Net and in O-Net (the paper's and facenet-pytorch's threshold)."""


class Care(NamedTuple):
    """How many of P-Net's candidates are looked into."""

    proposal: float
    """What a candidate must reach in P-Net."""
    overlap: float
    """Of two P-Net candidates that overlap more (intersection over union) only one goes on."""
    refined_overlap: float
    """The same of R-Net's."""


USUAL = Care(proposal=0.8, overlap=0.5, refined_overlap=0.3)
"""A quarter of the candidates: O-Net's second look makes up for it."""
THOROUGH = Care(proposal=0.6, overlap=0.7, refined_overlap=0.7)
"""The paper's and facenet-pytorch's."""


class MTCNNDetector:
    """Finds faces, five landmarks each, on the CPU; see `deepfake_ms.preprocessing.faces.FaceDetector`.

    Most of MTCNN's time goes into small faces. So a frame is first searched for large ones only: of at least .4
    of the size of the last frame's largest, in the first frame a fifth of the picture's longer side. If the largest
    that is found is so small that a face of half its size could have been missed, the search is made again from that
    half on: in every frame, all that could be the subject is found. Where nothing is found with confidence the search
    widens: to 1/16 of the longer side, then to 20 pixels of 640 with a mirrored border, which finds faces that the
    edge cuts through. Candidates are found on a reduced copy; the last network looks at each face once more in the
    frame's own pixels, so that landmarks are as exact as the frame allows.

    One image at a time: on a CPU that is faster than batches.

    Args:
        longest_side: larger images are searched on a copy reduced to this many pixels.
    """

    SMALLEST_FACE = 20
    """Pixels of the searched copy; R-Net sees 24."""
    LARGE_FACE, USUAL_FACE = 1 / 5, 1 / 16
    """Of the longer side."""
    BORDER = 0.25
    """Mirrored on each side, as a fraction of the longer side."""
    CONFIDENT = 0.9

    def __init__(self, longest_side: int = 640) -> None:
        self.longest_side = longest_side
        networks = MTCNN().to(memory_format=torch.channels_last)  # as the images are
        self._propose, self._refine, self._output = networks.pnet, networks.rnet, networks.onet

    def detect(self, images: Iterable[np.ndarray]) -> Iterator[list[Face]]:
        """The faces of each RGB image, uint8 [H, W, 3], of one video; the most probable first."""
        last_size = None
        for image in images:
            faces = self._detect(image, last_size)
            last_size = _size_of_largest(faces) or last_size
            yield faces

    @torch.inference_mode()
    def _detect(self, image: np.ndarray, last_size: float | None) -> list[Face]:
        usual = self.USUAL_FACE * max(image.shape)
        smallest = max(usual, last_size / 2.5) if last_size else self.LARGE_FACE * max(image.shape)
        faces = self._search(image, self.longest_side, smallest, USUAL)
        size = _size_of_largest(faces)
        if size < 2 * smallest:
            faces = self._search(image, self.longest_side, size / 2 if size else usual, USUAL) or faces
        return faces if _size_of_largest(faces) else self._search_widely(image) or faces

    def _search_widely(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        border = round(max(height, width) * self.BORDER)
        bordered = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT)
        found = self._search(bordered, round(self.longest_side * (1 + 2 * self.BORDER)), 0, THOROUGH)
        moved = [Face(face.box - border, face.landmarks - border, face.probability) for face in found]
        # A face with its centre in the border is a reflection.
        return [face for face in moved if (face.centre >= 0).all() and (face.centre < (width, height)).all()]

    def _search(self, image: np.ndarray, longest_side: int, smallest_face: float, care: Care) -> list[Face]:
        size = np.array(image.shape[1::-1])
        reduced_size = np.maximum(1, np.rint(size * min(1.0, longest_side / size.max()))).astype(int)
        reduced = cv2.resize(image, reduced_size.tolist(), interpolation=cv2.INTER_AREA)
        smallest_face = max(self.SMALLEST_FACE, smallest_face * reduced_size.max() / size.max())
        boxes = self._candidates(reduced, smallest_face, care)
        if len(boxes):
            boxes = self._refined(reduced, boxes, care.refined_overlap)
        if not len(boxes):
            return []
        boxes, _, probabilities = self._measure(reduced, boxes)
        kept = [i for i in nms_numpy(boxes, probabilities, 0.7, "Min") if probabilities[i] > FACE]
        if not kept:
            return []
        enlarge = np.tile(size / reduced_size, 2)
        boxes, landmarks, _ = self._measure(image, _squares(boxes[kept] * enlarge))
        return [
            Face(box, points - 0.5, float(probability))  # from edge coordinates to whole numbers at pixel centres
            for box, points, probability in zip(boxes, landmarks, probabilities[kept], strict=True)
        ]

    def _candidates(self, image: np.ndarray, smallest_face: float, care: Care) -> np.ndarray:
        """P-Net's square candidates over a pyramid of sizes, float [N, 4]."""
        height, width = image.shape[:2]
        found = []
        level, scale = image, WINDOW / smallest_face
        while min(height, width) * scale >= WINDOW:
            size = (round(width * scale), round(height * scale))
            level = cv2.resize(level, size, interpolation=cv2.INTER_AREA)
            offsets, probabilities = (output[0].numpy() for output in self._propose(_as_input(level[None])))
            row, column = np.nonzero(probabilities[1] >= care.proposal)
            corner = np.stack([column, row], axis=1) * STRIDE
            window = np.hstack([corner, corner + WINDOW]) * (np.array([width, height] * 2) / np.array(size * 2))
            found.append(np.hstack([window, offsets[:, row, column].T, probabilities[1, row, column, None]]))
            scale *= PYRAMID_FACTOR
        if not found:
            return np.empty((0, 4))
        windows, offsets, scores = np.split(np.concatenate(found), [4, 8], axis=1)
        kept = nms(torch.from_numpy(windows), torch.from_numpy(scores[:, 0]), care.overlap).numpy()
        return _squares(_shifted(windows[kept], offsets[kept]))

    def _refined(self, image: np.ndarray, boxes: np.ndarray, overlap: float) -> np.ndarray:
        """The candidates that R-Net takes for faces, set right; float [M, 4]."""
        offsets, probabilities = self._refine(_as_input(_cut(image, boxes, 24)))
        scores = probabilities[:, 1]
        passed = torch.nonzero(scores > FACE)[:, 0]
        kept = passed[nms(torch.from_numpy(boxes).float()[passed], scores[passed], overlap)].numpy()
        return _squares(_shifted(boxes[kept], offsets.numpy()[kept]))

    def _measure(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """O-Net's box [N, 4], landmarks [N, 5, 2] and probability [N] of the face in each square."""
        offsets, points, probabilities = self._output(_as_input(_cut(image, boxes, 48)))
        points = points.numpy().reshape(-1, 2, 5).transpose(0, 2, 1)
        landmarks = boxes[:, None, :2] + points * (boxes[:, None, 2:] - boxes[:, None, :2])
        return _shifted(boxes, offsets.numpy()), landmarks, probabilities[:, 1].numpy()


def _size_of_largest(faces: list[Face]) -> float:
    """Side of the largest face that was found with confidence; 0 if there is none."""
    return max((face.side for face in faces if face.probability >= MTCNNDetector.CONFIDENT), default=0.0)


def _as_input(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] to the networks' float [N, 3, H, W] in -1..1."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 128


def _shifted(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Edges moved by `offsets` [N, 4], in widths and heights of the boxes."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _squares(boxes: np.ndarray) -> np.ndarray:
    """Each box grown to a square about its centre."""
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
