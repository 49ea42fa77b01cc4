"""The WildDeepfake tree of images."""

import pytest

from deepfake_ms.datasets import find_corpus, wilddeepfake
from deepfake_ms.datasets.published import Published
from deepfake_ms.errors import UserError


@pytest.fixture
def corpus(touch):
    return touch(
        "real_train/6/real/54/12.png",
        "real_train/6/real/54/7.png",
        "real_train/6/real/55/7.png",
        "fake_test/6/fake/54/0.png",
        "fake_test/7.tar.gz",
    )


def test_a_folder_is_a_sequence(corpus, describe):
    found = find_corpus("wilddeepfake", corpus)
    assert describe(found) == {
        "real_train/6/real/54": ("real", "real", ("real_train/6",), None, "train"),
        "real_train/6/real/55": ("real", "real", ("real_train/6",), None, "train"),
        "fake_test/6/fake/54": ("fake", "wilddeepfake", ("fake_test/6",), None, "test"),
    }
    assert [s.frame_index for s in found.sources if s.video_id == "real_train/6/real/54"] == [12, 7]
    assert [each["images"] for each in found.grouping] == [4]
    assert found.ignored == {"of a type that cannot be read here": ["fake_test/7.tar.gz"]}


def test_folders_may_be_named_as_in_the_readme(corpus):
    (corpus / "real_train").rename(corpus / "real train")
    assert {source.official_subset for source in find_corpus("wilddeepfake", corpus).sources} == {"train", "test"}


def test_another_tree_is_refused(corpus, touch):
    touch("real_test/0.tar.gz")
    with pytest.raises(UserError, match=r"real_test has no images: unpack its archives.*\n.*real_train/N/real/"):
        find_corpus("wilddeepfake", corpus)
    with pytest.raises(UserError, match="none of the folders real_train, real_test, fake_train, fake_test"):
        find_corpus("wilddeepfake", corpus / "real_train")


def test_two_images_of_one_frame_are_refused(corpus, touch):
    touch("real_train/6/real/54/012.png")
    with pytest.raises(UserError, match=r"remove one of .*012\.png"):
        find_corpus("wilddeepfake", corpus)


def test_the_numbers_are_compared(corpus, monkeypatch):
    notes = find_corpus("wilddeepfake", corpus).notes
    assert notes[0].startswith("WildDeepfake has 3,805 real sequences according to the literature;")
    monkeypatch.setattr(wilddeepfake, "PUBLISHED", Published("WildDeepfake", {"real": 2, "fake": 1, "test": 1}))
    assert find_corpus("wilddeepfake", corpus).notes == []
