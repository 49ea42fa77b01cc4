"""Aligned crops: the similarity transform, its target, and landmarks that stay on their facial points."""

import cv2
import numpy as np
import pytest
from drawn import face

from deepfake_ms.preprocessing.alignment import TEMPLATE, align_face, similarity_transform, template_points
from deepfake_ms.preprocessing.crops import crop_face
from deepfake_ms.preprocessing.faces import Face, choose_faces
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector
from deepfake_ms.preprocessing.settings import PreparationSettings

SETTINGS = PreparationSettings(crop_size=256, margin=0.3, offset=0, edge="black", enlarge="linear", align="five_points")


def turned(points, degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
    """Points of an image, turned clockwise around its corner, scaled and shifted."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * points @ np.array([(cos, sin), (-sin, cos)]) + shift


def moved(points, transform):
    return np.column_stack([points, np.ones(len(points))]) @ transform.T


def test_the_template_of_deepfakebench():
    """Worked out by hand for 256 px: 38.2946 · 256/112 = 87.53; plus a margin of 38.4, divided by 1.3, is 96.87."""
    assert np.allclose(template_points(112, 0), TEMPLATE)
    points = template_points(256, 0.3)
    assert points[0] == pytest.approx([96.87, 120.43], abs=0.01)
    assert np.allclose(points - 128, (template_points(256, 0) - 128) / 1.3)  # around the centre
    assert TEMPLATE[:, 0].mean() == pytest.approx(56, abs=0.1)


@pytest.mark.parametrize("degrees", [0, 20, -75, 180])
@pytest.mark.parametrize("scale", [0.3, 1, 4])
def test_an_exact_similarity_is_recovered(degrees, scale):
    points = turned(TEMPLATE, degrees, scale, (300, -40))
    transform = similarity_transform(points, TEMPLATE)
    expected, _ = cv2.estimateAffinePartial2D(points, TEMPLATE)
    assert np.allclose(transform, expected, atol=1e-3 / scale)
    assert np.allclose(moved(points, transform), TEMPLATE, atol=1e-9)


def test_other_points_are_fitted_by_least_squares():
    """The same four unknowns, from the normal equations of x' = ax - by + c and y' = bx + ay + d."""
    points = TEMPLATE + np.random.default_rng(0).normal(0, 8, (5, 2))
    rows = [((x, -y, 1, 0), (y, x, 0, 1)) for x, y in points]
    (a, b, c, d), *_ = np.linalg.lstsq(np.reshape(rows, (10, 4)), TEMPLATE.ravel())
    assert np.allclose(similarity_transform(points, TEMPLATE), [(a, -b, c), (b, a, d)])


def test_mirrored_landmarks_are_not_reflected():
    mirrored = TEMPLATE * (-1, 1)
    transform = similarity_transform(mirrored, TEMPLATE)
    assert np.linalg.det(transform[:, :2]) > 0
    assert not np.allclose(moved(mirrored, transform), TEMPLATE, atol=5)


@pytest.mark.parametrize("degrees", [0, 30, -50])
@pytest.mark.parametrize("scale", [0.6, 3])
def test_landmarks_move_with_their_pixels(degrees, scale):
    """Dots are drawn at the landmarks of a turned face, and found in the crop at the returned positions."""
    subject = turned(TEMPLATE - 56, degrees, scale, (250, 250)) + np.random.default_rng(1).normal(0, scale, (5, 2))
    image = np.zeros((500, 500, 3), np.uint8)
    for x, y in subject:
        cv2.circle(image, (round(x), round(y)), 3, (255, 255, 255), -1)
    crop, landmarks = crop_face(image, Face(np.array([0.0, 0, 500, 500]), subject, 1.0), SETTINGS)
    assert crop.shape == (256, 256, 3)
    assert np.allclose(landmarks.mean(axis=0), template_points(256, 0.3).mean(axis=0))
    assert np.abs(landmarks - template_points(256, 0.3)).max() < 6
    zoom = 256 / 112 / 1.3 / scale
    for point in landmarks:
        near = np.hypot(*(np.indices((256, 256))[::-1] - point[:, None, None])) < 5.5 * zoom
        drawn = np.array([np.average(axis, weights=crop[..., 0] * near) for axis in np.indices((256, 256))[::-1]])
        assert np.allclose(drawn, point, atol=0.8 * zoom)  # the dots are drawn at whole pixels


def test_an_exactly_placed_face_is_only_resampled():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    crop, landmarks = align_face(image, TEMPLATE, 112, 0.0)
    assert np.abs(crop.astype(int) - image).max() <= 1
    assert np.allclose(landmarks, TEMPLATE)


def test_outside_the_frame_is_black():
    image = np.full((60, 60, 3), 200, np.uint8)
    crop, _ = align_face(image, turned(TEMPLATE, scale=0.5), 112, 1.0)
    # The template fills half of the crop, at its centre; there, the frame reaches from 28 to 28 + 60 pixels.
    assert (crop[29:87, 29:87] == 200).all()
    outside = np.ones((112, 112), bool)
    outside[27:89, 27:89] = False
    assert (crop[outside] == 0).all()


def test_without_alignment_the_landmarks_do_not_matter():
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    subject = face(60, 60, 50)
    other = Face(subject.box, subject.landmarks[::-1].copy(), 1.0)
    assert np.array_equal(*(crop_face(image, each, PreparationSettings())[0] for each in (subject, other)))
    assert not np.array_equal(*(crop_face(image, each, SETTINGS)[0] for each in (subject, other)))


def test_real_faces_come_close_to_the_template(shared):
    """Measured over 20 faces of five videos: 5.7 px on average; 21.6 px for the nose of a face in profile."""
    distances = []
    for path in sorted((shared / "real-samples/videos").iterdir()):
        frames = list(read_frames(path, frames=4))
        detections = list(MTCNNDetector().detect(frame.image for frame in frames))
        for frame, found in zip(frames, choose_faces(detections, "largest"), strict=True):
            _, landmarks = crop_face(frame.image, found, SETTINGS)
            distances.append(np.linalg.norm(landmarks - template_points(256, 0.3), axis=1))
    assert len(distances) == 20
    assert np.mean(distances) < 7
    assert np.max(distances) < 25
