"""The FFIW-10K tree."""

import pytest

from deepfake_ms.datasets import ffiw, find_corpus
from deepfake_ms.errors import UserError


@pytest.fixture
def corpus(touch):
    return touch(
        *(f"{side}/{subset}/{subset}_00000000.mp4" for side in ("source", "target") for subset in ("train", "val")),
        "target_mask/train/train_00000000_mask.mp4",
    )


def test_labels_subsets_and_source_videos(corpus, describe):
    found = find_corpus("ffiw", corpus)
    train, val = ("train/train_00000000",), ("val/val_00000000",)
    assert describe(found) == {
        "source/train/train_00000000": ("real", "real", train, None, "train"),
        "target/train/train_00000000": ("fake", "ffiw_swap", train, "source/train/train_00000000", "train"),
        "source/val/val_00000000": ("real", "real", val, None, "validation"),
        "target/val/val_00000000": ("fake", "ffiw_swap", val, "source/val/val_00000000", "validation"),
    }
    assert found.ignored == {"outside the folders of the layout": ["target_mask/ (1 videos and images)"]}


def test_another_tree_is_refused(corpus, touch):
    touch("source/test/test_00000000.mp4")
    with pytest.raises(UserError, match=r"no videos in target/test/; the layout of FFIW-10K is:\n"):
        find_corpus("ffiw", corpus)
    with pytest.raises(UserError, match=r"none of the folders train, val and test.*\n.*source/SUBSET/VIDEO\.mp4"):
        find_corpus("ffiw", corpus / "source")


def test_only_the_subsets_on_disk_are_compared(corpus, monkeypatch):
    assert [note.partition(" videos")[0] for note in find_corpus("ffiw", corpus).notes] == [
        "FFIW-10K has 16,000 train",
        "FFIW-10K has 500 validation",
    ]
    monkeypatch.setattr(ffiw, "VIDEOS", {"train": 2, "validation": 2, "test": 2})
    assert find_corpus("ffiw", corpus).notes == []
