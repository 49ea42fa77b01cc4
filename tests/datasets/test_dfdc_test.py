"""DFDC's test set: a table of labels and clips."""

import pytest

from deepfake_ms.datasets import dfdc_test, find_corpus
from deepfake_ms.datasets.published import Published
from deepfake_ms.errors import UserError


@pytest.fixture
def corpus(touch):
    root = touch("videos/aaa.mp4", "videos/bbb.mp4", "videos/zzz.mp4", "metadata.json", "frames/aaa/000.png")
    (root / "labels.csv").write_text("filename,label\naaa.mp4,0\nbbb.mp4,1\nccc.mp4,1\n")
    return root


def test_labels(corpus, describe):
    found = find_corpus("dfdc_test", corpus)
    assert describe(found) == {
        "aaa": ("real", "real", (), None, "test"),
        "bbb": ("fake", "dfdc", (), None, "test"),
    }
    assert found.missing == ("ccc.mp4",)
    assert found.ignored == {"not named in the corpus's own list": ["videos/zzz.mp4"]}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("filename,label\naaa.mp4,REAL\n", "row 2, has no filename, or no label 0 or 1;.*\n  labels.csv"),
        ("clip,label\naaa.mp4,0\n", "row 2, has no filename"),
        ("filename,label\naaa.mp4,0\naaa.mp4,1\n", "row 3: aaa.mp4 is both real and fake"),
        ("filename,label\nddd.mp4,0\n", "none of the 1 clips that its labels.csv lists"),
    ],
)
def test_a_wrong_list_is_refused(corpus, rows, reason):
    (corpus / "labels.csv").write_text(rows)
    with pytest.raises(UserError, match=reason):
        find_corpus("dfdc_test", corpus)


def test_a_training_part_is_refused(touch):
    with pytest.raises(UserError, match=r"labels\.csv is missing; the layout of DFDC's test set is:\n"):
        find_corpus("dfdc_test", touch("aaa.mp4", "metadata.json"))


def test_two_files_of_one_clip_are_refused(corpus, touch):
    touch("more/aaa.mp4")
    with pytest.raises(UserError, match=r"remove one of more/aaa\.mp4, videos/aaa\.mp4"):
        find_corpus("dfdc_test", corpus)


def test_the_numbers_are_compared(corpus, monkeypatch):
    notes = find_corpus("dfdc_test", corpus).notes
    assert notes[0].startswith("DFDC's test set has 2,500 real videos according to DeepfakeBench;")
    monkeypatch.setattr(dfdc_test, "PUBLISHED", Published("DFDC's test set", {"real": 1, "fake": 1}))
    assert find_corpus("dfdc_test", corpus).notes == []
