"""Following the subject, and MTCNN on real and awkward pictures."""

import numpy as np
import pytest
from drawn import face

from deepfake_ms.preprocessing.faces import MTCNNDetector, follow_subject
from deepfake_ms.preprocessing.frames import read_frames, read_image


def places(chosen):
    return [None if each is None else tuple(each.centre.tolist()) for each in chosen]


def test_the_largest_face_is_followed_both_ways_past_larger_strangers():
    frames = [
        [face(20, 50, 20), face(90, 50, 22)],  # here the stranger is the larger one
        [face(24, 50, 24), face(90, 50, 22)],
        [face(28, 50, 30), face(90, 50, 22)],  # the anchor
        [face(90, 50, 24), face(32, 50, 22)],
    ]
    assert places(follow_subject(frames)) == [(20, 50), (24, 50), (28, 50), (32, 50)]


def test_frames_without_a_face_stay_empty_and_do_not_break_the_track():
    frames = [[face(20, 50, 30)], [], [face(22, 50, 28), face(90, 50, 29)], []]
    assert places(follow_subject(frames)) == [(20, 50), None, (22, 50), None]
    assert follow_subject([[], []]) == [None, None]
    assert follow_subject([]) == []


def test_a_bystander_steps_in_only_while_the_subject_is_missed():
    frames = [[face(20, 50, 30)], [face(90, 50, 26)], [face(22, 50, 25), face(90, 50, 26)]]
    assert places(follow_subject(frames)) == [(20, 50), (90, 50), (22, 50)]


def test_a_face_of_another_size_does_not_continue_the_track():
    frames = [[face(50, 50, 40)], [face(52, 50, 10), face(60, 60, 30)]]
    assert places(follow_subject(frames)) == [(50, 50), (60, 60)]


def test_after_a_cut_the_largest_face_is_taken():
    frames = [[face(20, 20, 30)], [face(90, 80, 12), face(70, 70, 14)]]
    assert places(follow_subject(frames)) == [(20, 20), (70, 70)]


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


def test_pictures_without_faces_and_of_any_size_are_survived(detector):
    sizes = [(64, 64), (5, 5), (19, 400), (1, 1), (300, 20)]
    assert detector.detect([np.full((*size, 3), 90, np.uint8) for size in sizes]) == [[]] * len(sizes)


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
