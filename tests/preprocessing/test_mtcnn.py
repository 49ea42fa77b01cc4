"""MTCNN on real and awkward pictures."""

import numpy as np
import pytest

from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.images import read_image
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


def test_pictures_without_faces_and_of_any_size_are_survived(detector):
    sizes = [(64, 64), (5, 5), (19, 400), (1, 1), (300, 20)]
    assert list(detector.detect(np.full((*size, 3), 90, np.uint8) for size in sizes)) == [[]] * len(sizes)


def test_a_face_beside_an_empty_frame_is_found_where_it_is(detector, shared):
    crop = read_image(sorted((shared / "real-samples/faces/real").iterdir())[0])
    scene = np.full((720, 1280, 3), 127, np.uint8)
    scene[300:524, 800:1024] = crop
    empty, (found,) = detector.detect([np.full_like(scene, 127), scene])
    assert empty == []
    assert found.probability > 0.9
    assert found.box.shape == (4,)
    assert found.landmarks.shape == (5, 2)
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks
    assert 800 < left_eye[0] < nose[0] < right_eye[0] < 1024
    assert 300 < left_eye[1] < nose[1] < left_mouth[1] < 524
    assert left_mouth[0] < right_mouth[0]


def test_landmarks_are_right_where_the_face_reaches_beyond_the_picture(detector, shared):
    """Without a border, facenet-pytorch puts the eyes of this close-up up to half an eye distance too high."""
    whole = next(iter(read_frames(shared / "real-samples/videos/sample_3.mp4", 1))).image
    around = np.full((whole.shape[0] * 3, whole.shape[1] * 2, 3), 127, np.uint8)
    top, left = whole.shape[0], whole.shape[1] // 2
    around[top : 2 * top, left : left + whole.shape[1]] = whole
    (close,), (far,) = detector.detect([whole, around])
    eye_distance = np.linalg.norm(far.landmarks[0] - far.landmarks[1])
    assert np.abs(close.landmarks + np.array([left, top]) - far.landmarks).max() < 0.15 * eye_distance


def test_landmarks_fit_tight_crops(detector, shared):
    """In face crops the eyes lie in the upper middle, not at the edge."""
    crops = [read_image(path) for path in sorted((shared / "real-samples/faces/real").iterdir())[:12]]
    found = [faces[0] for faces in detector.detect(crops) if faces]
    assert len(found) >= 11
    eyes = np.stack([each.landmarks[:2] for each in found]) / 224
    assert np.median(eyes[:, :, 1]) == pytest.approx(0.31, abs=0.1)
    assert (eyes[:, :, 1] > 0.1).mean() > 0.9
