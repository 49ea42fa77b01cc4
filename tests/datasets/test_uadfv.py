"""The UADFV tree."""

import pytest

from deepfake_ms.datasets import find_corpus, uadfv
from deepfake_ms.datasets.published import Published
from deepfake_ms.errors import UserError


@pytest.fixture
def corpus(touch):
    return touch("real/0000.mp4", "fake/0000_fake.mp4", "fake/0001_fake.mp4", "real/frames/0000/000.png", "readme.txt")


def test_labels_and_source_videos(corpus, describe):
    found = find_corpus("uadfv", corpus)
    assert describe(found) == {
        "real/0000": ("real", "real", ("0000",), None, None),
        "fake/0000_fake": ("fake", "uadfv_swap", ("0000",), "real/0000", None),
        "fake/0001_fake": ("fake", "uadfv_swap", ("0001",), None, None),
    }
    assert found.ignored == {"outside the folders of the layout": ["readme.txt"]}


@pytest.mark.parametrize("name", ["real/0000.mp4", "fake"])
def test_another_tree_is_refused(corpus, name):
    (corpus / name).rename(corpus / "elsewhere")
    with pytest.raises(UserError, match=r"no videos in .*\n.*real/NNNN\.mp4"):
        find_corpus("uadfv", corpus)


def test_a_fake_without_its_suffix_is_refused(corpus, touch):
    touch("fake/0002.mp4")
    with pytest.raises(UserError, match=r"The name of .*fake/0002\.mp4 does not identify"):
        find_corpus("uadfv", corpus)


def test_the_numbers_are_compared(corpus, monkeypatch):
    assert find_corpus("uadfv", corpus).notes[0].startswith("UADFV has 49 real videos according to the literature;")
    monkeypatch.setattr(uadfv, "PUBLISHED", Published("UADFV", {"real": 1, "fake": 2}))
    assert find_corpus("uadfv", corpus).notes == []
