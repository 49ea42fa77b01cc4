"""MTCNN on drawn, real and unusual pictures."""

import cv2
import numpy as np
import pytest

from deepfake_ms.datasets.miniature import MiniatureSettings, plan_corpus, render_video
from deepfake_ms.preprocessing.frames import read_frames
from deepfake_ms.preprocessing.images import read_image
from deepfake_ms.preprocessing.mtcnn import MTCNNDetector


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


def test_pictures_of_any_size_without_faces_give_none(detector):
    sizes = [(64, 64), (5, 5), (19, 400), (1, 1), (300, 20)]
    assert list(detector.detect(np.full((*size, 3), 90, np.uint8) for size in sizes)) == [[]] * len(sizes)


@pytest.fixture(scope="module")
def portrait():
    """A drawn face and its eyes."""
    settings = MiniatureSettings()
    return next(render_video(plan_corpus(settings)[0], settings))


def scene(portrait, *places, height=720, width=1280):
    """A grey picture with the portrait at (left, top, side), and the eyes of each."""
    picture = np.full((height, width, 3), 127, np.uint8)
    eyes = []
    for left, top, side in places:
        picture[top : top + side, left : left + side] = cv2.resize(portrait[0], (side, side))
        eyes.append(portrait[1] * side / 256 + (left, top))
    return picture, eyes


def assert_found(faces, eyes):
    """Check that exactly the faces with these eyes are found, within .13 of the eye distance."""
    confident = sorted((face for face in faces if face.probability > 0.9), key=lambda face: face.centre[0])
    assert len(confident) == len(eyes)
    for face, (left, right) in zip(confident, eyes, strict=True):
        assert np.abs(face.landmarks[:2] - (left, right)).max() < 0.13 * np.linalg.norm(left - right)


@pytest.mark.parametrize("side", [700, 400, 200, 90])
def test_faces_of_all_sizes_are_found(detector, portrait, side):
    picture, eyes = scene(portrait, (300, 10, side))
    assert_found(next(detector.detect([picture])), eyes)


def test_a_second_face_of_half_the_size_is_found_in_every_frame(detector, portrait):
    """Even where the first search for large faces misses it, and after larger faces."""
    frames = [
        scene(portrait, (100, 60, 620)),
        scene(portrait, (100, 60, 360), (700, 200, 220)),
        scene(portrait, (100, 60, 200), (700, 200, 120)),
        scene(portrait, (100, 60, 160)),
        scene(portrait, (650, 100, 600)),
    ]
    for (_, eyes), faces in zip(frames, detector.detect(picture for picture, _ in frames), strict=True):
        assert_found(faces, eyes)


def test_a_frame_without_a_face_does_not_affect_the_next(detector, portrait):
    picture, eyes = scene(portrait, (100, 60, 300))
    first, empty, last = detector.detect([picture, np.full_like(picture, 127), picture])
    assert not empty
    assert_found(first, eyes)
    assert_found(last, eyes)


def test_only_one_frame_is_requested_at_a_time(detector, portrait):
    requested = []

    def frames():
        for number in range(3):
            requested.append(number)
            yield scene(portrait, (100, 60, 300))[0]

    for number, _ in enumerate(detector.detect(frames())):
        assert requested == list(range(number + 1))


def test_a_face_after_an_empty_frame_is_found_in_the_right_place(detector, shared):
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


def test_landmarks_are_right_for_faces_that_extend_beyond_the_picture(detector, shared):
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
