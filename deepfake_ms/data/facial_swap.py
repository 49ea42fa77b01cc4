"""Multi-scale facial swap: new fakes from a fake and the real face it was made from, and where they are fake.

Dong et al., *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (CVPR
2023), with the released probabilities, windows and blending. Where the release has the corners of a box
the wrong way round (top before left), puts Poisson-blended faces in the wrong place, and marks another window than the
one it pasted, this follows the description. The release takes the face's outline from 81 landmarks and may warp it;
here it is an oval around MTCNN's five.
"""

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

from deepfake_ms.data.face_masks import EyeMask

KINDS = {"unchanged": 0.2, "source_face_into_fake": 0.4, "fake_face_into_source": 0.2, "window_into_source": 0.2}
"""What becomes of a fake, and how often.

The most frequent, the source's face put into the fake, leaves little of the fake but its seam; so it is released.
"""
IMAGE = 224
"""Side of the image, in pixels, that the next two are given for."""
WINDOWS = ((40, 80), (80, 120), (120, 160), (224, 224))
"""Height and width; all are equally likely."""
VISIBLE = 40 * 40
"""A swap that changes no more pixels than this is none."""
POSITIONS = 5
"""A window may start at any multiple of a fifth of the image."""
DIFFERENT = 1e-3
"""DSSIM from which a pixel counts as changed."""
MAX_EYE_DISTANCE = 0.15
"""How far the eyes of both faces may lie apart, in inter-ocular distances, for them to be swapped.

An eye mask, drawn for one face, then also covers the eyes of the other.
"""

WHOLE = np.array([0, 0, 1, 1], dtype=np.float32)
"""The box of a fake that is not a window's."""
NOWHERE = np.zeros(4, dtype=np.float32)
"""The box of a real face."""


@dataclass(frozen=True, eq=False)
class CroppedFace:
    """One face of a pair; both have the same size."""

    image: np.ndarray
    """uint8 RGB [S, S, 3]."""
    landmarks: np.ndarray
    """x, y of MTCNN's five points in pixels of the image: float [5, 2]."""
    box: np.ndarray
    """The detected box in pixels of the frame: float [4]."""

    @property
    def eyes(self) -> np.ndarray:
        """Centres of the eyes [2, 2]."""
        return self.landmarks[:2]


def swap_faces(
    fake: CroppedFace, source: CroppedFace, random: np.random.Generator, eye_mask: EyeMask | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The fake, or part of it and part of its source put together.

    The part that is put in is moved to where the other crop has it. It keeps within the crop it comes from, and a
    window also within the face. The fake stays as it is if the two do not fit together or hardly differ.

    Eyes are masked last and once, at the landmarks of the crop that is pasted into: a second mask, a pixel beside the
    first, would mark a swapped face. What a mask hides does not attract a window.

    Args:
        fake, source: the same moment of the fake and of the real video.
        random: every draw is made from it.
        eye_mask: covers the eyes of what comes out.

    Returns:
        uint8 RGB [S, S, 3]; and the box of what is fake in it, left, top, right, bottom in fractions of S, float32 [4].
    """
    kind = random.choice(list(KINDS), p=list(KINDS.values()))
    blend = random.choice([_blend_alpha, _blend_poisson])
    window = WINDOWS[random.integers(len(WINDOWS))]

    under, over = (fake, source) if kind == "source_face_into_fake" else (source, fake)
    image, eyes, box = fake.image, fake.eyes, WHOLE
    if kind != "unchanged" and (aligned := _align(over, under)):
        pasted, there = aligned
        face = _face_oval(under) & there
        if kind == "window_into_source":
            difference = dssim(under.image, pasted) * face
            if eye_mask:
                difference[eye_mask.region(*face.shape, under.eyes)] = 0
            region, place = _most_different_window(difference, window)
            mask, changed = region & _rectangle_around(face) & there, difference[region] > DIFFERENT
        else:
            mask, changed, place = face, face, WHOLE
        if _is_visible(changed, face):
            image, eyes, box = blend(under.image, pasted, mask), under.eyes, place
    return (eye_mask.draw(image, eyes) if eye_mask else image), box


def _align(over: CroppedFace, under: CroppedFace) -> tuple[np.ndarray, np.ndarray] | None:
    """`over` as `under` shows it, and where there is any of it, bool [S, S]; None if their eyes do not meet."""
    # The crops are cut by the boxes: with equal boxes they show the same part of the frame already.
    agree = np.allclose(over.box, under.box, rtol=0, atol=0.5)
    matrix = np.eye(2, 3) if agree else similarity(over.landmarks, under.landmarks)
    eyes = over.eyes @ matrix[:, :2].T + matrix[:, 2]
    distance = np.linalg.norm(under.eyes[1] - under.eyes[0])
    if not np.linalg.norm(eyes - under.eyes, axis=1).max() <= MAX_EYE_DISTANCE * distance:
        return None
    size = under.image.shape[1::-1]
    there = np.full(size, 255, dtype=np.uint8)
    if agree:
        return over.image, there > 0
    return cv2.warpAffine(over.image, matrix, size), cv2.warpAffine(there, matrix, size) == 255


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that bring `points` nearest to `onto` (both [N, 2]) by least squares: [2, 3]."""
    z, w = (np.asarray(p, dtype=np.float64) @ [1, 1j] for p in (points, onto))  # in the complex plane, w = a z + b
    (a, b), *_ = np.linalg.lstsq(np.stack([z, np.ones_like(z)], axis=1), w)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _face_oval(face: CroppedFace) -> np.ndarray:
    """From forehead to chin, bool [S, S]: twice the distance of the eyes wide, 2.6 times that of eyes and mouth high.

    Our judgement of where the outline of a face lies.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = np.asarray(face.landmarks, dtype=np.float64)
    eyes, down = (left_eye + right_eye) / 2, (left_mouth + right_mouth - left_eye - right_eye) / 2
    axes = 2 * np.linalg.norm(right_eye - left_eye), 2.6 * np.linalg.norm(down)
    tilt = np.degrees(np.arctan2(down[1], down[0])) - 90
    oval = np.zeros(face.image.shape[:2], dtype=np.uint8)
    cv2.ellipse(oval, (tuple(eyes + 0.35 * down), axes, tilt), 1, thickness=-1)
    return oval > 0


def _rectangle_around(region: np.ndarray) -> np.ndarray:
    """The smallest upright rectangle that holds `region`, both bool [S, S]."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    rectangle = np.zeros_like(region)
    rectangle[top : top + height, left : left + width] = True
    return rectangle


def _most_different_window(difference: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The window, of those that lie inside the image, with the largest sum of `difference`, float32 [S, S].

    Args:
        difference: see there.
        size: height and width, of an image of 224 pixels.

    Returns:
        bool [S, S]; and its box, left, top, right, bottom in fractions of S, float32 [4].
    """
    side = len(difference)
    height, width = (round(pixels * side / IMAGE) for pixels in size)
    total = cv2.integral(difference)

    def inside(place: tuple[int, int]) -> float:
        top, left = place
        bottom, right = top + height, left + width
        return total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]

    step = side // POSITIONS
    places = product(range(0, side - height + 1, step), range(0, side - width + 1, step))
    top, left = max(places, key=inside)
    region = np.zeros(difference.shape, dtype=bool)
    region[top : top + height, left : left + width] = True
    return region, np.array([left, top, left + width, top + height], dtype=np.float32) / side


def _is_visible(changed: np.ndarray, image: np.ndarray) -> bool:
    """Whether enough pixels changed for an image of this size."""
    return np.count_nonzero(changed) > VISIBLE * (len(image) / IMAGE) ** 2


def dssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural dissimilarity, (1 - SSIM) / 2 per pixel, mean over the channels; for uint8 [H, W, 3] float32 [H, W].

    Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity* (2004), with its Gaussian
    window of 11 pixels.
    """

    def local_mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    x, y = one.astype(np.float32), other.astype(np.float32)
    mean_x, mean_y = local_mean(x), local_mean(y)
    covariance = local_mean(x * y) - mean_x * mean_y
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    luminance, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = (2 * mean_x * mean_y + luminance) * (2 * covariance + contrast)
    ssim /= (mean_x**2 + mean_y**2 + luminance) * (variances + contrast)
    return np.abs((1 - ssim) / 2).mean(axis=2)


def _blend_alpha(under: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Reaches two pixels beyond the mask."""
    share = cv2.GaussianBlur(mask.astype(np.float32), (5, 5), 3)[..., None]
    return np.rint(share * over + (1 - share) * under).astype(np.uint8)


def _blend_poisson(under: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pérez et al., *Poisson Image Editing* (2003)."""
    patch = mask.astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(patch)
    return cv2.seamlessClone(over, under, patch, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
