"""Which faces of consecutive frames belong together."""

import pytest
from drawn import face

from deepfake_ms.prediction.tracks import MOST_MISSED, Tracker


def tracks_of(*frames):
    tracker = Tracker()
    return [tracker.update(faces) for faces in frames]


def test_a_moving_face_stays_one_track():
    assert tracks_of(*[[face(40 + 25 * step, 50, 30)] for step in range(6)]) == [[1]] * 6


def test_two_faces_that_pass_each_other_keep_their_sizes_and_places():
    """The order of detections changes from frame to frame; the assignment does not."""
    frames = [[face(40 + 10 * step, 50, 30), face(140 - 10 * step, 95, 30)] for step in range(8)]
    frames[1::2] = [faces[::-1] for faces in frames[1::2]]
    assert tracks_of(*frames) == [[1, 2], [2, 1]] * 4


def test_the_sum_of_distances_counts():
    """The nearest face of track 1 belongs to track 2, whose only candidate it is."""
    first, second = face(0, 0, 30), face(20, 0, 30)
    assert tracks_of([first, second], [face(-25, 0, 30), face(8, 0, 30)]) == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("later", "same"),
    [
        (face(40 + 29, 50, 30), True),
        (face(40 + 31, 50, 30), False),
        (face(40, 50, 59), True),
        (face(40, 50, 61), False),
        (face(40, 50, 14), False),
    ],
)
def test_far_or_resized_faces_are_others(later, same):
    assert tracks_of([face(40, 50, 30)], [later]) == [[1], [1 if same else 2]]


def test_gaps():
    one = [face(40, 50, 30)]
    assert tracks_of(one, *[[]] * MOST_MISSED, one)[-1] == [1]
    assert tracks_of(one, *[[]] * (MOST_MISSED + 1), one)[-1] == [2]


def test_nobody():
    assert tracks_of([], [face(1, 1, 30)], []) == [[], [1], []]
