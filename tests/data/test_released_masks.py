"""The size of the eye masks, measured on the masks that the released script draws in its own crops."""

import numpy as np
import pytest
from released_faces import CROP_SIZE, released_faces

from deepfake_ms.data.face_masks import FaceMask, Size

RELEASED = FaceMask(regions={"eyes": Size(width=0.81, height=0.43, lower=0.035)})
LARGER = FaceMask(regions={"eyes": Size(width=0.9, height=0.5)})


def filled(boxes):
    """The pixels of the crop in any of the boxes (left, top, right, bottom)."""
    y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    return np.any([(x >= left) & (x <= right) & (y >= top) & (y <= bottom) for left, top, right, bottom in boxes], 0)


def eyes_of(masks):
    """dlib's boxes around the eyes: the released masks are twice as wide and three times as high."""
    centres, sizes = (masks[:, :2] + masks[:, 2:]) / 2, (masks[:, 2:] - masks[:, :2]) / (2, 3)
    return np.hstack([centres - sizes / 2, centres + sizes / 2])


def compare(shared, mask):
    """Mean intersection over union with the released masks, our area / theirs, and how much of the eyes is covered."""
    found = []
    for face in released_faces(shared):
        if face.eye_masks is not None:
            ours, theirs, eyes = (
                mask.region(CROP_SIZE, CROP_SIZE, face.in_crop(face.ours.landmarks)),
                filled(face.eye_masks),
                filled(eyes_of(face.eye_masks)),
            )
            found.append(((ours & theirs).sum() / (ours | theirs).sum(), ours.sum() / theirs.sum(), ours[eyes].mean()))
    assert len(found) == 33
    return np.mean(found, axis=0)


def test_the_released_size_covers_what_the_release_covers(shared):
    """Measured: intersection over union .747, area 1.06, all of the eyes."""
    overlap, area, coverage = compare(shared, RELEASED)
    assert overlap >= 0.72
    assert area == pytest.approx(1.06, abs=0.05)
    assert coverage >= 0.99


def test_a_larger_mask_agrees_less(shared):
    """.9 x .5 eye distances, the estimate of earlier versions: .683 and 1.37."""
    overlap, area, _ = compare(shared, LARGER)
    assert overlap < 0.7
    assert area > 1.3


def test_the_centres_of_both_detectors_eyes_are_covered(shared):
    for face in released_faces(shared):
        covered = RELEASED.region(CROP_SIZE, CROP_SIZE, face.in_crop(face.ours.landmarks))
        for x, y in np.rint(face.in_crop(np.vstack([face.eyes, face.ours.landmarks[:2]]))).astype(int):
            assert covered[y, x] or not (0 <= x < CROP_SIZE and 0 <= y < CROP_SIZE)
