"""The DeepFakeDetection tree inside that of FaceForensics++, made of empty files."""

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError

REAL = "original_sequences/actors/c40/videos/01__exit_phone_room.mp4"
FAKE = "manipulated_sequences/DeepFakeDetection/c40/videos/01_02__exit_phone_room__YVGY8LOK.mp4"
HIDDEN = "original_sequences/actors/c40/videos/._01__exit_phone_room.mp4"
OF_ANOTHER_CORPUS = "original_sequences/youtube/c40/videos/000.mp4"


@pytest.fixture
def corpus(tmp_path):
    for name in (REAL, FAKE, HIDDEN, OF_ANOTHER_CORPUS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_labels_and_identities(corpus):
    found = find_corpus("dfd", corpus, {"compression": "c40"})
    assert [
        (s.name, s.video_id, s.label, s.method, s.identities, s.source_video, s.official_subset) for s in found.sources
    ] == [
        (
            FAKE,
            "DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK",
            "fake",
            "DeepFakeDetection",
            ("01", "02"),
            "actors/01__exit_phone_room",
            None,
        ),
        (REAL, "actors/01__exit_phone_room", "real", "real", ("01",), None, None),
    ]
    assert found.missing == ()


@pytest.mark.parametrize("name", ["01_02__walk_fast__ABCD1234", "01_02__walk_fast"])
def test_the_source_video_is_found_by_actor_and_scene(corpus, name):
    (corpus / REAL).with_name("01__walk_fast.mp4").touch()
    (corpus / FAKE).with_name(f"{name}.mp4").touch()
    found = {s.video_id: s.source_video for s in find_corpus("dfd", corpus, {"compression": "c40"}).sources}
    assert found[f"DeepFakeDetection/{name}"] == "actors/01__walk_fast"


@pytest.mark.parametrize("name", [REAL, FAKE])
def test_a_missing_part_is_named_with_the_expected_tree(corpus, name):
    (corpus / name).unlink()
    with pytest.raises(UserError, match="AA_BB__SCENE__ID") as error:
        find_corpus("dfd", corpus, {"compression": "c40"})
    assert name.split("/c40")[0] in str(error.value).splitlines()[0]


def test_an_unavailable_compression_is_refused_with_the_available_ones(corpus):
    with pytest.raises(UserError, match=r"no c23 videos in original_sequences/actors/ \(but c40\)"):
        find_corpus("dfd", corpus)


def test_a_name_without_identities_is_refused(corpus):
    (corpus / REAL).with_name("exit_phone_room.mp4").touch()
    with pytest.raises(UserError, match="does not identify the people"):
        find_corpus("dfd", corpus, {"compression": "c40"})
