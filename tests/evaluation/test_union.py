"""Several corpora as one: ids and people stay apart where they must, crops are found, videos are counted."""

import json

import pytest
from foreign import Video, write_corpus

from deepfake_ms.composition import compose
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.data.union import Part, join_corpora
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.breakdown import group_videos
from deepfake_ms.evaluation.coverage import Coverage
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.preprocessing.prepared import PREPARED_NAME

VIDEOS = [
    Video("a", "real", people=("id0",), subset="test"),
    Video("b", "fake", people=("id0", "id1"), subset="test"),
    Video("c", "fake", problem="no face", subset="test"),
]


def parts(root, synthetic=False) -> list[Part]:
    return [
        Part(name, layout, PreparedFaces.read(write_corpus(root / f"{name}-1", VIDEOS, synthetic)))
        for name, layout in (("v2", "celebdf"), ("v1", "celebdf"), ("dfd", "dfd"))
    ]


def test_faces_of_all_parts_are_found_where_they_are(tmp_path):
    made = parts(tmp_path)
    union = join_corpora("joined", made, tmp_path)
    assert union.manifest["sample_id"].tolist() == [
        f"{name}/{video}#{number}" for name in ("dfd", "v1", "v2") for video in "ab" for number in range(2)
    ]
    assert union.manifest["video_id"].nunique() == 6
    joined = FaceDataset(union.manifest, range(len(union.manifest)), union.folder, input_size=32)
    own = FaceDataset(made[2].faces.manifest, range(4), made[2].faces.folder, input_size=32)
    assert all((joined.pixels(position) == own.pixels(position)).all() for position in range(4))
    assert join_corpora("joined", made[::-1], tmp_path).manifest_sha256 == union.manifest_sha256


def test_people_are_the_same_in_two_versions_of_a_corpus_only(tmp_path):
    real = join_corpora("joined", parts(tmp_path / "real"), tmp_path / "real").manifest
    people = {video: set(people) for video, people in zip(real["video_id"], real["identities"], strict=True)}
    assert people["v1/b"] == people["v2/b"] == {"celebdf:id0", "celebdf:id1"}
    assert people["dfd/b"] == {"dfd:id0", "dfd:id1"}
    drawn = join_corpora("joined", parts(tmp_path / "drawn", synthetic=True), tmp_path / "drawn").manifest
    assert {person for people in drawn["identities"] for person in people} == {
        f"{name}:{person}" for name in ("v1", "v2", "dfd") for person in ("id0", "id1")
    }


def test_videos_without_a_face_and_groups_of_a_union(tmp_path):
    test_set = TestSet.of_corpus("joined", join_corpora("joined", parts(tmp_path), tmp_path))
    coverage = Coverage.of(test_set, "chance")
    assert (coverage.videos, sorted(coverage.missing["video_id"])) == (9, ["dfd/c", "v1/c", "v2/c"])
    assert group_videos(test_set)["corpus"].to_dict()["v1/a"] == "v1"


def test_parts_that_cannot_be_joined_are_refused(tmp_path):
    made = parts(tmp_path)
    with pytest.raises(UserError, match=r"^data=one joins 1 corpora: give at least two, e\.g\. data="):
        join_corpora("one", made[:1], tmp_path)
    about = json.loads((made[0].faces.folder / PREPARED_NAME).read_text())
    about["preparation"]["margin"] = 0.5
    (made[0].faces.folder / PREPARED_NAME).write_text(json.dumps(about))
    changed = Part("v2", "celebdf", PreparedFaces.read(made[0].faces.folder))
    with pytest.raises(
        UserError,
        match=r"^v2 and v1 were prepared with different settings: ",
    ):
        join_corpora("two", [changed, made[1]], tmp_path)


def test_a_list_of_corpora_on_the_command_line_is_a_union():
    data = compose("data=[faceforensics,dfd]").data
    assert (data.name, data.layout) == ("faceforensics_c23+dfd_c23", "union")
    assert {name: part.layout for name, part in data.parts.items()} == {"faceforensics": "faceforensics", "dfd": "dfd"}
    assert compose("data=[faceforensics,dfd]", "data.parts.dfd.root=/x").data.parts.dfd.root == "/x"


def test_preparing_a_union_says_what_to_do(call):
    status, _, errors = call("prepare", "data=[faceforensics,dfd]")
    assert (status, errors) == (
        2,
        "error: faceforensics_c23+dfd_c23 joins other corpora: prepare each of faceforensics, dfd by itself.\n",
    )


def test_rows_are_plain_values(tmp_path):
    """Otherwise, missing values of pandas would become text or numbers in the manifest."""
    manifest = join_corpora("joined", parts(tmp_path), tmp_path).manifest
    assert manifest["source_video"].isna().all()
    assert manifest["official_subset"].unique().tolist() == ["test"]


def test_videos_that_a_run_was_trained_on_are_never_tested(run, tmp_path):
    """A part of a union, or a union with the training corpus in it: only videos that the run has not seen are left."""
    manifest = run.faces.manifest
    labels = dict(zip(manifest["video_id"], manifest["label"], strict=True))
    subset = dict(zip(manifest["video_id"], run.split["subset"], strict=True))
    same = [Video(name, label) for name, label in labels.items()]
    own, other = (
        PreparedFaces.read(write_corpus(tmp_path / f"{name}-1", videos))
        for name, videos in (("tiny", same), ("other", VIDEOS))
    )
    union = join_corpora("joined", [Part("tiny", "folder", own), Part("other", "folder", other)], tmp_path)
    test_set = TestSet.of_corpus("joined", union, "all").without_training_videos(run)
    left = set(union.manifest["video_id"].iloc[test_set.rows])
    tested = {f"tiny/{name}" for name, each in subset.items() if each == "test"}
    assert left == tested | {"other/a", "other/b"}
    assert len(test_set.seen) == len(labels) - len(tested)
    coverage = Coverage.of(test_set, "chance")
    assert (coverage.videos, coverage.missing["video_id"].tolist()) == (len(left) + 1, ["other/c"])


def test_a_corpus_that_was_used_up_is_refused(run, tmp_path):
    used = [
        name for name, each in zip(run.faces.manifest["video_id"], run.split["subset"], strict=True) if each == "train"
    ]
    labels = dict(zip(run.faces.manifest["video_id"], run.faces.manifest["label"], strict=True))
    faces = write_corpus(tmp_path / "tiny-1", [Video(name, labels[name]) for name in dict.fromkeys(used)])
    about = json.loads((faces / PREPARED_NAME).read_text())
    (faces / PREPARED_NAME).write_text(json.dumps({**about, "data_name": "tiny"}))
    test_set = TestSet.of_corpus("other", PreparedFaces.read(faces))
    with pytest.raises(UserError, match="was trained or validated on all videos of other: choose another corpus"):
        test_set.without_training_videos(run)
