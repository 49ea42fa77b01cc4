"""The tree of DFDC's preview."""

import json

import pytest

from deepfake_ms.datasets import dfdcp, find_corpus
from deepfake_ms.datasets.published import Published
from deepfake_ms.errors import UserError

REAL = "original_videos/643049/643049_A_001.mp4"
FAKE_A = "method_A/643049/643049_A/1255229_643049_A_001.mp4"
FAKE_B = "method_B/643049/643049_B/1255229_643049_B_002.mp4"
CLIPS = {
    REAL: {"label": "real", "set": "train", "target_id": 643049, "swapped_id": None, "augmentations": []},
    FAKE_A: {"label": "fake", "set": "train", "target_id": 643049, "swapped_id": 1255229},
    FAKE_B: {"label": "fake", "set": "test", "target_id": 643049, "swapped_id": 1255229},
}


@pytest.fixture
def corpus(touch):
    root = touch(*CLIPS)
    (root / "dataset.json").write_text(json.dumps(CLIPS))
    return root


def test_labels_actors_and_sets(corpus, describe):
    people = ("643049", "1255229")
    expected = {
        "original_videos/643049_A_001": ("real", "real", ("643049",), None, "train"),
        "method_A/1255229_643049_A_001": ("fake", "dfdcp_A", people, "original_videos/643049_A_001", "train"),
        "method_B/1255229_643049_B_002": ("fake", "dfdcp_B", people, None, "test"),
    }
    assert describe(find_corpus("dfdcp", corpus)) == expected
    (corpus / "method_A/videos").mkdir()  # as some repositories arrange the corpus
    (corpus / "method_A/643049").rename(corpus / "method_A/videos/643049")
    assert describe(find_corpus("dfdcp", corpus)) == expected


def test_missing_and_unlisted_clips_are_reported(corpus, touch):
    clips = CLIPS | {"method_A/1/1_A/2_1_A_001.mp4": CLIPS[FAKE_A]}
    del clips[FAKE_B]
    (corpus / "dataset.json").write_text(json.dumps(clips))
    touch("method_C/1_2_A_001.mp4")
    found = find_corpus("dfdcp", corpus)
    assert found.missing == ("method_A/1/1_A/2_1_A_001.mp4",)
    assert found.ignored == {
        "outside the folders of the layout": ["method_C/ (1 videos and images)"],
        "not named in the corpus's own list": [FAKE_B],
    }


@pytest.mark.parametrize(
    ("clips", "reason"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a table of clips"),
        ({FAKE_A: {"label": "real", "set": "train"}}, "the entry of method_A/.* needs the set"),
        ({FAKE_A: {"label": "fake", "set": ["train"]}}, "the entry of method_A/.* needs the set"),
        ({"elsewhere/a.mp4": {"label": "fake", "set": "train"}}, "the entry of elsewhere/a.mp4"),
        ({"method_A/a.mp4": {"label": "fake", "set": "test"}}, "none of the 1 clips that its dataset.json lists"),
    ],
)
def test_a_wrong_list_is_refused(corpus, clips, reason):
    (corpus / "dataset.json").write_text(clips if isinstance(clips, str) else json.dumps(clips))
    with pytest.raises(UserError, match=reason):
        find_corpus("dfdcp", corpus)


@pytest.mark.parametrize("name", ["dataset.json", REAL, FAKE_A])
def test_a_missing_part_is_named_with_the_expected_tree(corpus, name):
    (corpus / name).unlink()
    with pytest.raises(UserError, match="original_videos/TARGET/") as error:
        find_corpus("dfdcp", corpus)
    assert name.split("/")[0] in str(error.value).splitlines()[0]


def test_the_numbers_are_compared(corpus, monkeypatch):
    notes = find_corpus("dfdcp", corpus).notes
    assert notes[0].startswith("DFDC's preview has 1,131 real videos according to DeepfakeBench;")
    monkeypatch.setattr(dfdcp, "PUBLISHED", Published("DFDC's preview", {"real": 1, "fake": 2, "test": 1}))
    assert find_corpus("dfdcp", corpus).notes == []
