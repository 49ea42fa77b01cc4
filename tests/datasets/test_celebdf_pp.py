"""The Celeb-DF++ tree."""

import pytest

from deepfake_ms.datasets import celebdf_pp, find_corpus
from deepfake_ms.datasets.published import Published
from deepfake_ms.errors import UserError

SWAP = "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4"
REENACTMENT = "Celeb-synthesis/FaceReenact/LIA/id0_id1_0000.mp4"
TALKING = "Celeb-synthesis/TalkingFace/EDTalk/id1_0003_test_0007.mp4"
LIST = f"1 YouTube-real/00170.mp4\n0 {SWAP}\n0 Celeb-synthesis/FaceSwap/Celeb-DF-v2/id0_id1_0000.mp4\n0 {TALKING}\n"


@pytest.fixture(params=["Celeb-DF", "Celeb-DF-v2"])
def corpus(request, touch):
    own = f"Celeb-synthesis/FaceSwap/{request.param}/id0_id1_0000.mp4"
    root = touch("Celeb-real/id0_0000.mp4", "YouTube-real/00170.mp4", own, SWAP, REENACTMENT, TALKING)
    (root / "List_of_testing_videos.txt").write_text(LIST)
    return root


def test_methods_identities_and_test_list(corpus, describe):
    found = find_corpus("celebdf_pp", corpus)
    assert describe(found) == {
        "Celeb-real/id0_0000": ("real", "real", ("id0",), None, None),
        "YouTube-real/00170": ("real", "real", ("youtube_00170",), None, "test"),
        "Celeb-synthesis/FaceSwap/Celeb-DF/id0_id1_0000": (
            "fake",
            "Celeb-DF",
            ("id0", "id1"),
            "Celeb-real/id0_0000",
            "test",
        ),
        SWAP[:-4]: ("fake", "SimSwap", ("id0", "id1"), "Celeb-real/id0_0000", "test"),
        REENACTMENT[:-4]: ("fake", "LIA", ("id0", "id1"), None, None),
        TALKING[:-4]: ("fake", "EDTalk", ("id1",), None, "test"),
    }
    assert found.missing == ()


def test_listed_videos_of_absent_methods_are_missing(corpus):
    (corpus / "List_of_testing_videos.txt").write_text(f"{LIST}0 Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4\n")
    assert find_corpus("celebdf_pp", corpus).missing == ("Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4",)


def test_everything_else_is_named(corpus, touch):
    touch("Celeb-synthesis/FaceSwap/MyMethod/id0_id1_0000.mp4", "Celeb-synthesis/readme.md")
    assert find_corpus("celebdf_pp", corpus).ignored == {
        "outside the folders of the layout": [
            "Celeb-synthesis/FaceSwap/MyMethod/ (1 videos and images)",
            "Celeb-synthesis/readme.md",
        ]
    }


@pytest.mark.parametrize("line", ["1 Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4", "0 Celeb-synthesis/id0_id1.mp4"])
def test_a_list_that_contradicts_the_folders_is_refused(corpus, line):
    (corpus / "List_of_testing_videos.txt").write_text(line)
    with pytest.raises(UserError, match="line 1"):
        find_corpus("celebdf_pp", corpus)


def test_the_tree_of_celebdf_v2_is_refused(touch):
    root = touch("Celeb-real/id0_0000.mp4", "YouTube-real/00170.mp4", "Celeb-synthesis/id0_id1_0000.mp4")
    with pytest.raises(UserError, match=r"no method of Celeb-DF\+\+.*\n.*Celeb-real/idA_NNNN"):
        find_corpus("celebdf_pp", root)


def test_the_numbers_are_compared(corpus, monkeypatch):
    assert "Celeb-DF++ has 53,196 fake videos according to the literature" in find_corpus("celebdf_pp", corpus).notes[1]
    monkeypatch.setattr(celebdf_pp, "PUBLISHED", Published("Celeb-DF++", {"real": 2, "fake": 4, "test": 4}))
    assert find_corpus("celebdf_pp", corpus).notes == []
