"""Notes on corpora that differ from what their publishers state."""

import json

import pytest

from deepfake_ms.datasets import celebdf, faceforensics, find_corpus
from deepfake_ms.datasets.published import Published, digest

SYNTHETIC = json.dumps({"synthetic": True})


@pytest.fixture
def sources(touch):
    """One real video and one fake sequence of two images, in the official test set."""
    return find_corpus("folder", touch("test/real/a.mp4", "test/fake/b/1.png", "test/fake/b/2.png")).sources


def test_each_number_that_differs_is_noted(sources, tmp_path):
    published = Published("X v2", {"real": 1, "fake": 5639, "test": 518, "train": 0}, unit="sequences")
    assert published.differences(tmp_path, sources) == [
        f"X v2 has 5,639 fake sequences according to its publisher; {tmp_path} has 1.",
        f"X v2 has 518 test sequences according to its publisher; {tmp_path} has 2.",
    ]


def test_equal_numbers_and_drawn_corpora_are_not_noted(sources, tmp_path):
    assert Published("X", {"real": 1, "fake": 1, "test": 2}).differences(tmp_path, sources) == []
    (tmp_path / "corpus.json").write_text(SYNTHETIC)
    assert Published("X", {"real": 7}, list_digest="0").differences(tmp_path, sources, ["a"]) == []


def test_a_list_that_differs_is_noted(sources, tmp_path):
    published = Published("X", {}, list_digest=digest(["a", "b"]))
    assert published.differences(tmp_path, sources, ["b", "a"]) == []
    assert published.differences(tmp_path, sources) == []  # the corpus has no list
    (note,) = published.differences(tmp_path, sources, ["a", "c"])
    assert note.startswith("The official split of X in")


def make_celebdf(touch, listed):
    root = touch("Celeb-real/id0_0000.mp4", "YouTube-real/00000.mp4", "Celeb-synthesis/id0_id1_0000.mp4")
    lines = [f"1 YouTube-real/{number:05d}.mp4" for number in range(listed)]
    (root / celebdf.TEST_LIST).write_text("\n".join(lines))
    return root


@pytest.mark.parametrize(("listed", "version", "fakes"), [(100, "v1", "795"), (518, "v2", "5,639")])
def test_the_length_of_the_list_tells_the_version_of_celebdf(touch, listed, version, fakes):
    notes = find_corpus("celebdf", make_celebdf(touch, listed)).notes
    assert notes[1].startswith(f"Celeb-DF {version} has {fakes} fake videos according to its publisher;")
    assert any("official split" in note for note in notes) == (version == "v2")  # v1's list is not known


def test_a_complete_celebdf_has_no_note(touch, monkeypatch):
    ids = [f"YouTube-real/{number:05d}" for number in range(1)]
    complete = Published("Celeb-DF v2", {"real": 2, "fake": 1, "test": 1}, list_digest=digest(ids))
    monkeypatch.setattr(celebdf, "VERSIONS", (complete,))
    assert find_corpus("celebdf", make_celebdf(touch, 1)).notes == []


def test_a_drawn_celebdf_has_no_note(touch):
    root = make_celebdf(touch, 3)
    (root / "corpus.json").write_text(SYNTHETIC)
    assert find_corpus("celebdf", root).notes == []


def test_each_chosen_method_of_faceforensics_is_compared(touch, monkeypatch):
    videos = "original_sequences/youtube/c23/videos"
    methods = [f"manipulated_sequences/{name}/c23/videos/000_003.mp4" for name in ("Deepfakes", "FaceShifter")]
    root = touch(f"{videos}/000.mp4", f"{videos}/003.mp4", *methods)
    for name, pairs in {"train": [["003", "000"]], "val": [], "test": []}.items():
        (root / f"{name}.json").write_text(json.dumps(pairs))
    notes = find_corpus("faceforensics", root, {"methods": ["FaceShifter"]}).notes
    assert [note.partition(" according")[0] for note in notes[:2]] == [
        "FaceForensics++ has 1,000 real videos",
        "FaceForensics++ has 1,000 FaceShifter videos",
    ]
    assert notes[2].startswith("The official split of FaceForensics++")
    monkeypatch.setattr(faceforensics, "SPLIT_DIGEST", digest(["train 000 003"]))
    assert len(find_corpus("faceforensics", root, {"methods": ["FaceShifter"]}).notes) == 2


def test_deepfakedetection_is_compared(touch):
    root = touch(
        "original_sequences/actors/c23/videos/01__hall.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__hall__ABC.mp4",
    )
    assert [note.partition(" videos")[0] for note in find_corpus("dfd", root).notes] == [
        "DeepFakeDetection has 363 real",
        "DeepFakeDetection has 3,068 fake",
    ]
