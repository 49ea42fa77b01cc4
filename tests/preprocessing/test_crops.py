"""The position of the crop, and landmarks that stay on their facial points."""

import io

import cv2
import numpy as np
import pytest
from drawn import face, picture
from PIL import Image

from deepfake_ms.preprocessing.crops import crop_face, encode_crop


@pytest.mark.parametrize("side", [20, 40, 90])
def test_the_margin_is_split_between_both_sides(side):
    image = picture((100, 100, side), height=200, width=200)
    crop, _ = crop_face(image, face(100, 100, side), size=100, margin=0.5)
    red = np.flatnonzero(crop[50, :, 0] > 130)
    assert crop.shape == (100, 100, 3)
    assert red[0] == pytest.approx(100 / 6, abs=2)
    assert red[-1] == pytest.approx(500 / 6, abs=2)


@pytest.mark.parametrize("size", [48, 224])
def test_landmarks_move_with_their_pixels(size):
    image = np.zeros((150, 150, 3), np.uint8)
    subject = face(71.3, 66.8, 60)
    for x, y in subject.landmarks:
        cv2.circle(image, (round(x), round(y)), 2, (255, 255, 255), -1)
    crop, landmarks = crop_face(image, subject, size, margin=0.3)
    for point, original in zip(landmarks, subject.landmarks, strict=True):
        ys, xs = np.nonzero(crop[..., 0] > 100)
        near = np.hypot(xs - point[0], ys - point[1]) < size / 12
        drawn = np.array([xs[near].mean(), ys[near].mean()])
        rounding = (np.round(original) - original) * size / 78
        assert np.allclose(drawn, point + rounding, atol=0.35)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (99, 79), (-15, 40), (50, 95), (400, 400)])
def test_pixels_outside_the_frame_are_black(x, y):
    image = np.full((80, 100, 3), 200, np.uint8)
    crop, _ = crop_face(image, face(x, y, 60), size=60, margin=0)
    ys, xs = np.mgrid[y - 30 : y + 30, x - 30 : x + 30]
    inside = (ys >= 0) & (ys < 80) & (xs >= 0) & (xs < 100)
    assert (crop[inside] == 200).all()
    assert (crop[~inside] == 0).all()


@pytest.mark.parametrize("size", [20, 21, 22, 23])
def test_crop_files_are_lossless_rgb_for_every_reader(size):
    """Rows of a BMP are padded to multiples of four bytes, so odd widths are the critical ones."""
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    content = encode_crop(image)
    assert encode_crop(image.copy()) == content
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], image)
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(opened, image)
