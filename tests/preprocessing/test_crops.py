"""The position of the crop, and landmarks that stay on their facial points."""

import io

import cv2
import numpy as np
import pytest
from drawn import face, picture
from PIL import Image

from deepfake_ms.preprocessing.crops import crop_box, crop_face, encode_crop
from deepfake_ms.preprocessing.settings import PreparationSettings


def settings(size, **values):
    return PreparationSettings(crop_size=size, **{"margin": 0.0, "offset": 0.0} | values)


@pytest.mark.parametrize("side", [20, 40, 90])
def test_the_margin_is_split_between_both_sides(side):
    image = picture((100, 100, side), height=200, width=200)
    crop, _ = crop_face(image, face(100, 100, side), settings(100, margin=0.5))
    red = np.flatnonzero(crop[50, :, 0] > 130)
    assert crop.shape == (100, 100, 3)
    assert red[0] == pytest.approx(100 / 6, abs=2)
    assert red[-1] == pytest.approx(500 / 6, abs=2)


def test_a_negative_margin_and_an_offset_crop_inside_the_box_and_lower():
    assert crop_box(face(100, 90, 50), 200, 200, settings(224)) == (75, 65, 125, 115)
    assert crop_box(face(100, 90, 50), 200, 200, settings(224, margin=-0.2, offset=0.1)) == (80, 75, 120, 115)


@pytest.mark.parametrize("place", [(71.3, 66.8), (12.2, 66.8), (71.3, 141.1)])
@pytest.mark.parametrize("values", [{"margin": 0.3, "edge": "black"}, {"margin": 0.1, "offset": 0.05, "edge": "clip"}])
@pytest.mark.parametrize("size", [48, 224])
def test_landmarks_move_with_their_pixels(size, values, place):
    """Also where the part outside the frame is clipped, and the rest stretched."""
    image = np.zeros((150, 150, 3), np.uint8)
    subject = face(*place, 60)
    for x, y in subject.landmarks:
        cv2.circle(image, (round(x), round(y)), 2, (255, 255, 255), -1)
    crop, landmarks = crop_face(image, subject, settings(size, **values))
    left, top, right, bottom = crop_box(subject, 150, 150, settings(size, **values))
    scale = size / np.array([right - left, bottom - top])
    for point, original in zip(landmarks, subject.landmarks, strict=True):
        if (original < 3).any() or (original > 146).any():
            continue  # the dot is cut off
        weights = crop[..., 0] * (
            np.hypot(*(np.indices((size, size))[::-1] - point[:, None, None])) < 3.5 * scale.max()
        )
        drawn = np.array([np.average(axis, weights=weights) for axis in np.indices((size, size))[::-1]])
        rounding = (np.round(original) - original) * scale
        assert np.allclose(drawn, point + rounding, atol=0.35)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (99, 79), (-15, 40), (50, 95), (400, 400)])
def test_pixels_outside_the_frame_can_be_black(x, y):
    image = np.full((80, 100, 3), 200, np.uint8)
    crop, _ = crop_face(image, face(x, y, 60), settings(60, edge="black"))
    ys, xs = np.mgrid[y - 30 : y + 30, x - 30 : x + 30]
    inside = (ys >= 0) & (ys < 80) & (xs >= 0) & (xs < 100)
    assert (crop[inside] == 200).all()
    assert (crop[~inside] == 0).all()


@pytest.mark.parametrize(("x", "y"), [(0, 0), (99, 79), (-15, 40), (50, 95), (400, 400)])
def test_pixels_outside_the_frame_can_be_cut_off(x, y):
    """The rest fills the crop, as in the release; something is left even of a face that lies completely outside."""
    image = np.full((80, 100, 3), 200, np.uint8)
    left, top, right, bottom = crop_box(face(x, y, 60), 100, 80, settings(60))
    assert 0 <= left < right <= 100
    assert 0 <= top < bottom <= 80
    crop, _ = crop_face(image, face(x, y, 60), settings(60))
    assert crop.shape == (60, 60, 3)
    assert (crop == 200).all()


@pytest.mark.parametrize(("enlarge", "overshoots"), [("area", False), ("linear", False), ("cubic", True)])
def test_the_release_enlarges_by_area(enlarge, overshoots):
    """Area interpolation repeats pixels; the others are smooth, and cubic interpolation overshoots at edges."""
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, :10], image[:, 10:] = 50, 150
    crop, _ = crop_face(image, face(10, 10, 20), settings(80, enlarge=enlarge))
    found = np.unique(crop)
    assert (len(found) == 2) == (enlarge == "area")
    assert (found.min() < 50 and found.max() > 150) if overshoots else (found.min(), found.max()) == (50, 150)


@pytest.mark.parametrize("enlarge", ["area", "cubic", "linear"])
def test_crops_are_reduced_by_area(enlarge):
    image = np.zeros((80, 80, 3), np.uint8)
    image[::2] = 200
    crop, _ = crop_face(image, face(40, 40, 80), settings(40, enlarge=enlarge))
    assert (crop == 100).all()


@pytest.mark.parametrize("size", [20, 21, 22, 23])
def test_crop_files_are_lossless_rgb_for_every_reader(size):
    """Rows of a BMP are padded to multiples of four bytes, so odd widths are the critical ones."""
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    content = encode_crop(image)
    assert encode_crop(image.copy()) == content
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], image)
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(opened, image)
