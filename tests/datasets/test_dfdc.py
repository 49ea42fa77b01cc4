"""Parts of DFDC's training set, made of empty files and small metadata."""

import json

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError

PARTS = {
    "dfdc_train_part_0": {
        "aaa.mp4": {"label": "REAL", "split": "train", "original": None},
        "bbb.mp4": {"label": "FAKE", "split": "train", "original": "aaa.mp4"},
        "ccc.mp4": {"label": "FAKE", "split": "train", "original": None},
    },
    "dfdc_train_part_10": {
        "ddd.mp4": {"label": "FAKE", "split": "train", "original": "elsewhere.mp4"},
        "eee.mp4": {"label": "REAL", "split": "train"},
    },
}


def make(root, parts=PARTS):
    for part, metadata in parts.items():
        (root / part).mkdir(parents=True, exist_ok=True)
        (root / part / "metadata.json").write_text(json.dumps(metadata))
        for name in metadata:
            (root / part / name).touch()
    return root


def test_labels_and_the_original_as_identity(tmp_path):
    found = find_corpus("dfdc", make(tmp_path))
    assert {s.video_id: (s.label, s.method, s.identities, s.official_subset) for s in found.sources} == {
        "dfdc_train_part_0/aaa": ("real", "real", ("aaa",), None),
        "dfdc_train_part_0/bbb": ("fake", "dfdc", ("aaa",), None),
        "dfdc_train_part_0/ccc": ("fake", "dfdc", ("ccc",), None),
        "dfdc_train_part_10/ddd": ("fake", "dfdc", ("elsewhere",), None),
        "dfdc_train_part_10/eee": ("real", "real", ("eee",), None),
    }
    assert all(source.path == tmp_path / source.name and source.path.is_file() for source in found.sources)
    assert found.missing == ()


def test_the_original_is_the_source_video_in_whichever_part_it_lies(tmp_path):
    make(tmp_path, {"dfdc_train_part_5": {"fff.mp4": {"label": "FAKE", "original": "eee.mp4"}}})
    found = {s.video_id: s.source_video for s in find_corpus("dfdc", make(tmp_path)).sources}
    assert found == {
        "dfdc_train_part_0/aaa": None,
        "dfdc_train_part_0/bbb": "dfdc_train_part_0/aaa",
        "dfdc_train_part_0/ccc": None,
        "dfdc_train_part_10/ddd": None,
        "dfdc_train_part_10/eee": None,
        "dfdc_train_part_5/fff": "dfdc_train_part_10/eee",
    }


@pytest.mark.parametrize(("label", "expected"), [("REAL", None), ("FAKE", "dfdc_train_part_0/aaa")])
def test_an_original_whose_name_several_real_clips_share_is_unknown(tmp_path, label, expected):
    make(tmp_path, {"dfdc_train_part_5": {"aaa.mp4": {"label": label}}})
    found = {s.video_id: s.source_video for s in find_corpus("dfdc", make(tmp_path)).sources}
    assert found["dfdc_train_part_0/bbb"] == expected


def test_one_part_may_be_the_root(tmp_path):
    found = find_corpus("dfdc", make(tmp_path) / "dfdc_train_part_0")
    assert [(source.name, source.video_id) for source in found.sources] == [
        ("aaa.mp4", "aaa"),
        ("bbb.mp4", "bbb"),
        ("ccc.mp4", "ccc"),
    ]


def test_subsets_are_official_if_the_parts_name_several(tmp_path):
    make(tmp_path)
    make(tmp_path, {"held_out": {"fff.mp4": {"label": "REAL", "split": "test"}, "ggg.mp4": {"label": "REAL"}}})
    subsets = {source.video_id: source.official_subset for source in find_corpus("dfdc", tmp_path).sources}
    assert subsets["held_out/fff"] == "test"
    assert subsets["held_out/ggg"] is None
    assert subsets["dfdc_train_part_0/aaa"] == "train"


def test_listed_clips_that_the_folders_lack_are_reported(tmp_path):
    (make(tmp_path) / "dfdc_train_part_10/eee.mp4").unlink()
    assert find_corpus("dfdc", tmp_path).missing == ("dfdc_train_part_10/eee.mp4",)


def test_hidden_files_and_folders_are_ignored(tmp_path):
    make(tmp_path)
    (tmp_path / "dfdc_train_part_0/._aaa.mp4").touch()
    make(tmp_path, {".trash": {"zzz.mp4": {"label": "REAL"}}})
    assert len(find_corpus("dfdc", tmp_path).sources) == 5


def test_clips_that_the_metadata_does_not_list_are_refused(tmp_path):
    (make(tmp_path) / "dfdc_train_part_0/zzz.mp4").touch()
    with pytest.raises(UserError, match=r"does not list 1 of the clips in its folder, e\.g\. zzz\.mp4"):
        find_corpus("dfdc", tmp_path)


def test_a_part_without_metadata_is_refused(tmp_path):
    (make(tmp_path) / "dfdc_train_part_10/metadata.json").unlink()
    with pytest.raises(UserError, match=r"dfdc_train_part_10 has clips but no metadata\.json"):
        find_corpus("dfdc", tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a table of clips"),
        ('{"aaa.mp4": "REAL"}', "entry of aaa.mp4"),
        ('{"aaa.mp4": {"label": "real"}}', "entry of aaa.mp4"),
        ('{"aaa.mp4": {"label": "REAL", "split": "tset"}}', "entry of aaa.mp4"),
    ],
)
def test_wrong_metadata_is_refused(tmp_path, text, reason):
    (make(tmp_path) / "dfdc_train_part_0/metadata.json").write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        find_corpus("dfdc", tmp_path)
    assert "dfdc_train_part_0" in str(error.value)


def test_wrong_roots_are_refused_with_the_expected_tree(tmp_path):
    with pytest.raises(UserError, match=r"dfdc_train_part_N/metadata\.json"):
        find_corpus("dfdc", tmp_path)
    for name in make(tmp_path, {"part": {"aaa.mp4": {"label": "REAL"}}}).rglob("*.mp4"):
        name.unlink()
    with pytest.raises(UserError, match="none of the 1 clips"):
        find_corpus("dfdc", tmp_path)


def test_other_suffixes_and_subfolders_are_read(tmp_path):
    part = make(tmp_path) / "dfdc_train_part_0"
    (part / "REAL").mkdir()
    (part / "aaa.mp4").rename(part / "REAL/aaa.MP4")
    found = {source.name: source for source in find_corpus("dfdc", tmp_path).sources}
    assert found["dfdc_train_part_0/REAL/aaa.MP4"].video_id == "dfdc_train_part_0/aaa"
    assert found["dfdc_train_part_0/bbb.mp4"].source_video == "dfdc_train_part_0/aaa"


def test_parts_may_lie_in_folders_of_their_archives(tmp_path):
    make(tmp_path, {f"dfdc_train_part_00/{part}": entries for part, entries in PARTS.items()})
    found = find_corpus("dfdc", tmp_path)
    assert {source.video_id.rpartition("/")[0] for source in found.sources} == {
        f"dfdc_train_part_00/{part}" for part in PARTS
    }
    assert not found.ignored


def test_everything_else_is_named(tmp_path):
    make(tmp_path)
    (tmp_path / "dfdc_train_part_0/audio.wav").touch()
    (tmp_path / "sample_submission.csv").touch()
    assert find_corpus("dfdc", tmp_path).ignored == {
        "of a type that cannot be read here": ["dfdc_train_part_0/audio.wav"],
        "outside the folders of the layout": ["sample_submission.csv"],
    }
