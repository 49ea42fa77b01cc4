"""Which scores are compared: coverage and labels of several files."""

import pandas as pd
import pytest
from score_tables import scores

from deepfake_ms.errors import UserError
from deepfake_ms.score_files.coverage import align

FULL = scores()


@pytest.mark.parametrize(("level", "rows"), [("frame", 96), ("video", 24)])
def test_equal_coverage_in_another_order_needs_no_note(level, rows):
    aligned, notes = align({"a": FULL, "b": scores(1).sample(frac=1, random_state=0)}, level)
    assert notes == []
    a, b = aligned["celeb"].values()
    pd.testing.assert_frame_equal(a[["sample_id", "video_id", "label"]], b[["sample_id", "video_id", "label"]])
    assert len(a) == rows


@pytest.mark.parametrize("level", ["frame", "video"])
def test_missing_videos_are_refused_or_left_out_and_counted(level):
    part = FULL[FULL["video"] > "Celeb-real/id0_0006"]
    sentence = "a and b score different videos of test set celeb: 3 of 24 only in a (such as Celeb-real/id0_0000)"
    with pytest.raises(UserError) as caught:
        align({"a": FULL, "b": part}, level)
    assert str(caught.value) == f"{sentence}. --common compares on those that all files have."
    aligned, notes = align({"a": FULL, "b": part}, level, common=True)
    assert notes == [f"{sentence}. Compared on the 21 that all files have (5 real, 16 fake videos)."]
    assert {table["video_id"].nunique() for table in aligned["celeb"].values()} == {21}


def test_different_frames_are_refused_or_said():
    part = FULL[(FULL["frame"] != "0") | (FULL["video"] != "Celeb-real/id0_0000")]
    sentence = "score different frames of test set celeb: 1 of 96 only in a (such as Celeb-real/id0_0000#0)"
    for level in ("frame", "video"):
        with pytest.raises(UserError) as caught:
            align({"a": FULL, "b": part}, level)
        assert sentence in str(caught.value)
    aligned, (note,) = align({"a": FULL, "b": part}, "frame", common=True)
    assert [len(table) for table in aligned["celeb"].values()] == [95, 95]
    assert "Compared on the 95 that all files have (8 real, 16 fake videos)." in note
    aligned, (note,) = align({"a": FULL, "b": part}, "video", common=True)
    assert note.endswith("A video's score is the mean over the file's own frames.")
    a, b = (table.set_index("video_id")["fake_probability"] for table in aligned["celeb"].values())
    assert a["Celeb-real/id0_0000"] != b["Celeb-real/id0_0000"]
    assert a.drop("Celeb-real/id0_0000").equals(b.drop("Celeb-real/id0_0000"))


def test_scores_per_video_are_compared_at_video_level_only():
    videos = FULL.drop_duplicates("video").assign(frame="")
    with pytest.raises(UserError, match=r"^b has one score per video of test set celeb: compare at video level.$"):
        align({"a": FULL, "b": videos}, "frame")
    _, notes = align({"a": FULL, "b": videos}, "video")
    assert notes == ["b has one score per video of test set celeb: its frames are unknown."]
    assert align({"a": videos, "b": videos}, "video")[1] == []


def test_contradicting_labels_are_refused():
    turned = FULL.assign(label=FULL["label"].where(FULL["video"] != "Celeb-real/id0_0003", 1))
    with pytest.raises(UserError) as caught:
        align({"a": FULL, "b": turned}, "video", common=True)
    assert str(caught.value) == (
        "Video Celeb-real/id0_0003 of test set celeb is real in a, fake in b: correct the labels of one file."
    )


def test_test_sets_are_matched_by_name():
    both = pd.concat([FULL, scores(test_set="dfdc")], ignore_index=True)
    assert list(align({"a": both, "b": both}, "video")[0]) == ["celeb", "dfdc"]
    with pytest.raises(UserError, match=r"different test sets .a: celeb, dfdc; b: celeb.: --common compares those"):
        align({"a": both, "b": FULL}, "video")
    aligned, notes = align({"a": both, "b": FULL}, "video", common=True)
    assert list(aligned) == ["celeb"]
    assert notes == ["Test sets that a file lacks are left out (a: celeb, dfdc; b: celeb)."]
    with pytest.raises(UserError, match=r"no test set in common .* with `deepfake-ms scores FILE NEW_FILE --test-set"):
        align({"a": FULL, "b": scores(test_set="dfdc")}, "video", common=True)


def test_nothing_in_common_is_refused():
    renamed = FULL.assign(video="x" + FULL["video"])
    with pytest.raises(UserError, match="do not cover both classes: name videos and frames alike"):
        align({"a": FULL, "b": renamed}, "video", common=True)
