"""Aligned face crops: a similarity transform brings the five landmarks to a fixed template."""

import cv2
import numpy as np

TEMPLATE_SIZE = 112
"""Side of the square in which `TEMPLATE` lies, in pixels."""

TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""ArcFace's landmarks (Deng et al., CVPR 2019), in the order of `deepfake_ms.manifest.LANDMARKS`: [5, 2]."""


def template_points(size: int, margin: float) -> np.ndarray:
    """Where the landmarks of an aligned crop should lie, as in DeepfakeBench with ``scale = 1 + margin``.

    Args:
        size: side of the crop in pixels.
        margin: added to the template's side, as a fraction of it, both sides together; above -1.

    Returns:
        In pixels of the crop, float64 [5, 2].
    """
    return (TEMPLATE * (size / TEMPLATE_SIZE) + size * margin / 2) / (1 + margin)


def similarity_transform(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The rotation, uniform scale and shift that bring points closest to their targets, by least squares.

    Closed form: with points as complex numbers, the transform is z → a·z + b. It cannot reflect.

    Args:
        points: [N, 2], not all the same.
        targets: [N, 2].

    Returns:
        The matrix that maps (x, y, 1) to (x', y'), float64 [2, 3].
    """
    z, w = points @ (1, 1j), targets @ (1, 1j)
    centred = z - z.mean()
    a = np.vdot(centred, w) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn, scale and shift a frame so that the face's landmarks come close to the template, and cut out the square.

    Interpolation is bilinear, also where the face is reduced, and the part outside the frame is black, as in
    DeepfakeBench.

    Args:
        image: the frame, RGB uint8 [H, W, 3].
        landmarks: in pixels of the frame, [5, 2], not all the same.
        size: side of the crop in pixels.
        margin: see `template_points`.

    Returns:
        The crop, RGB uint8 [size, size, 3], and the landmarks in pixels of the crop, float64 [5, 2].
    """
    transform = similarity_transform(landmarks, template_points(size, margin))
    crop = cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return crop, landmarks @ transform[:, :2].T + transform[:, 2]
