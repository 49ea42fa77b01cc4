"""The choice of one face per frame."""

import pytest
from drawn import face

from deepfake_ms.preprocessing.faces import choose_faces, follow_subject


def places(chosen):
    return [None if each is None else tuple(each.centre.tolist()) for each in chosen]


@pytest.mark.parametrize(("rule", "second"), [("largest", (90, 50)), ("first", (60, 50)), ("tracked", (24, 50))])
def test_the_rule_decides_which_face_of_a_frame_is_kept(rule, second):
    frames = [[face(20, 50, 30)], [face(60, 50, 16), face(24, 50, 24), face(90, 50, 26)], []]
    assert places(choose_faces(frames, rule)) == [(20, 50), second, None]


def test_the_largest_face_is_followed_both_ways_past_larger_strangers():
    frames = [
        [face(20, 50, 20), face(90, 50, 22)],  # the stranger is larger here
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


def test_a_bystander_is_chosen_only_in_frames_without_the_subject():
    frames = [[face(20, 50, 30)], [face(90, 50, 26)], [face(22, 50, 25), face(90, 50, 26)]]
    assert places(follow_subject(frames)) == [(20, 50), (90, 50), (22, 50)]


def test_a_face_of_another_size_does_not_continue_the_track():
    frames = [[face(50, 50, 40)], [face(52, 50, 10), face(60, 60, 30)]]
    assert places(follow_subject(frames)) == [(50, 50), (60, 60)]


def test_after_a_cut_the_largest_face_is_taken():
    frames = [[face(20, 20, 30)], [face(90, 80, 12), face(70, 70, 14)]]
    assert places(follow_subject(frames)) == [(20, 20), (70, 70)]
