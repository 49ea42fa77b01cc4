"""Multi-scale facial swap: creates new fakes, with artifact boxes, from a fake and its real source face.

Dong et al., *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (CVPR
2023), with the released probabilities, windows and blending. The release swaps the coordinates of box corners (top
before left), misplaces Poisson-blended faces, and marks a different window than the one it pasted; there, this module
follows the description instead. The release takes the outline of the face from 81 landmarks and may warp it; here it is
an oval fitted to MTCNN's five landmarks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.errors import UserError

KINDS = ("unchanged", "source_face_into_fake", "fake_face_into_source", "window_into_source")
"""The kinds of swaps; ``conf/augmentation/facial_swap.yaml`` has the released probabilities.

The most frequent one, the source's face pasted into the fake, leaves little of the fake except a seam; this is as
released.
"""
IMAGE = 224
"""Image size in pixels to which `WINDOWS` and `VISIBLE` refer."""
WINDOWS = ((40, 80), (80, 120), (120, 160), (224, 224))
"""Heights and widths of the windows, all equally likely."""
VISIBLE = 40 * 40
"""A swap is discarded unless it changes more pixels than this."""
POSITIONS = 5
"""Windows start at multiples of a fifth of the image size."""
DIFFERENT = 1e-3
"""DSSIM above which a pixel counts as changed."""
MAX_EYE_DISTANCE = 0.15
"""Maximum distance between corresponding eyes of the two faces, in inter-ocular distances, for a swap.

Within it, an eye mask drawn for one face also covers the eyes of the other.
"""

WHOLE = np.array([0, 0, 1, 1], dtype=np.float32)
"""The artifact box of a fake without a window: the whole image."""
NOWHERE = np.zeros(4, dtype=np.float32)
"""The artifact box of a real face."""


@dataclass(frozen=True, eq=False)
class CroppedFace:
    """One face of a pair; both crops have the same size."""

    image: np.ndarray
    """uint8 RGB [S, S, 3]."""
    landmarks: np.ndarray
    """float [5, 2]: x, y of MTCNN's five landmarks in pixels of the crop."""
    box: np.ndarray
    """float [4]: the detected box in pixels of the frame."""

    @property
    def eyes(self) -> np.ndarray:
        """Centres of the eyes [2, 2]."""
        return self.landmarks[:2]


def check_kinds(kinds: Mapping[str, float]) -> None:
    """Raise a UserError unless `kinds` gives a probability to each of `KINDS`, with a sum of 1."""
    if set(kinds) != set(KINDS) or min(kinds.values()) < 0 or abs(sum(kinds.values()) - 1) > 1e-6:
        raise UserError(
            f"augmentation.facial_swap={dict(kinds)}: give probabilities that sum to 1 to {', '.join(KINDS)}."
        )


def swap_faces(
    fake: CroppedFace,
    source: CroppedFace,
    random: np.random.Generator,
    kinds: Mapping[str, float],
    face_mask: FaceMask | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fake unchanged, or a combination of the fake and its source.

    The pasted part is aligned with the other crop. It stays within its own crop, and a window also within the face. The
    fake is returned unchanged if the two faces cannot be aligned or hardly differ.

    The face mask is drawn once, at the end, at the landmarks of the crop that receives the paste: a second mask,
    shifted by a pixel, would reveal the swap. The choice of the window ignores differences under the mask.

    Args:
        fake, source: corresponding frames of the fake and the real video.
        random: source of all random draws.
        kinds: probability of each of `KINDS`.
        face_mask: drawn on the result.

    Returns:
        The image, uint8 RGB [S, S, 3], and the box of its fake region: float32 [4], left, top, right, bottom in
        fractions of S.
    """
    kind = random.choice(KINDS, p=[kinds[each] for each in KINDS])
    blend = random.choice([_blend_alpha, _blend_poisson])
    window = WINDOWS[random.integers(len(WINDOWS))]

    under, over = (fake, source) if kind == "source_face_into_fake" else (source, fake)
    image, landmarks, box = fake.image, fake.landmarks, WHOLE
    if kind != "unchanged" and (aligned := _align(over, under)):
        pasted, there = aligned
        face = _face_oval(under) & there
        if kind == "window_into_source":
            difference = dssim(under.image, pasted) * face
            if face_mask:
                difference[face_mask.region(*face.shape, under.landmarks)] = 0
            region, place = _most_different_window(difference, window)
            mask, changed = region & _rectangle_around(face) & there, difference[region] > DIFFERENT
        else:
            mask, changed, place = face, face, WHOLE
        if _is_visible(changed, face):
            image, landmarks, box = blend(under.image, pasted, mask), under.landmarks, place
    return (face_mask.draw(image, landmarks) if face_mask else image), box


def _align(over: CroppedFace, under: CroppedFace) -> tuple[np.ndarray, np.ndarray] | None:
    """`over` aligned with `under`, and its valid pixels, bool [S, S]; None if their eyes are too far apart."""
    # Crops are cut out at their boxes, so with equal boxes they are already aligned.
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
    """The least-squares similarity transform (rotation, scale, shift) from `points` to `onto`, both [N, 2]: [2, 3]."""
    z, w = (np.asarray(p, dtype=np.float64) @ [1, 1j] for p in (points, onto))  # as complex numbers, w = a z + b
    (a, b), *_ = np.linalg.lstsq(np.stack([z, np.ones_like(z)], axis=1), w)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _face_oval(face: CroppedFace) -> np.ndarray:
    """Mask of the face from forehead to chin, bool [S, S].

    The oval is twice the eye distance wide and 2.6 times the distance between eyes and mouth high; both factors are our
    estimate of the outline of a face.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = np.asarray(face.landmarks, dtype=np.float64)
    eyes, down = (left_eye + right_eye) / 2, (left_mouth + right_mouth - left_eye - right_eye) / 2
    axes = 2 * np.linalg.norm(right_eye - left_eye), 2.6 * np.linalg.norm(down)
    tilt = np.degrees(np.arctan2(down[1], down[0])) - 90
    oval = np.zeros(face.image.shape[:2], dtype=np.uint8)
    cv2.ellipse(oval, (tuple(eyes + 0.35 * down), axes, tilt), 1, thickness=-1)
    return oval > 0


def _rectangle_around(region: np.ndarray) -> np.ndarray:
    """The smallest axis-aligned rectangle that contains `region`, both bool [S, S]."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    rectangle = np.zeros_like(region)
    rectangle[top : top + height, left : left + width] = True
    return rectangle


def _most_different_window(difference: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The window inside the image with the largest sum of `difference`.

    Args:
        difference: float32 [S, S].
        size: height and width of the window, relative to an image of 224 pixels.

    Returns:
        Mask of the window, bool [S, S], and its box: float32 [4], left, top, right, bottom in fractions of S.
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
    """Whether enough pixels changed, relative to the image size."""
    return np.count_nonzero(changed) > VISIBLE * (len(image) / IMAGE) ** 2


def dssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural dissimilarity (1 - SSIM) / 2 per pixel, averaged over the channels: uint8 [H, W, 3] to float32 [H, W].

    Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity* (2004), with the paper's
    11-pixel Gaussian window.
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
    """Alpha blending with a soft edge that extends two pixels beyond the mask."""
    share = cv2.GaussianBlur(mask.astype(np.float32), (5, 5), 3)[..., None]
    return np.rint(share * over + (1 - share) * under).astype(np.uint8)


def _blend_poisson(under: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Poisson blending (Pérez et al., *Poisson Image Editing*, 2003)."""
    patch = mask.astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(patch)
    return cv2.seamlessClone(over, under, patch, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
