import json

import pytest
from corpora import corpus, manifest_of

from deepfake_ms.data.audit import PAIRS, audit_split, check_split, notes
from deepfake_ms.data.splits import DISJOINT, SUBSETS, SplitPolicy, split_manifest
from deepfake_ms.errors import UserError


def audited(manifest, policy: str = "video", **settings) -> dict:
    settings = SplitPolicy(policy, **settings)
    return audit_split(manifest, split_manifest(manifest, settings), settings)


def shared(audit: dict, what: str) -> list[int]:
    return [audit["shared"][pair][what] for pair in PAIRS]


def copy_face(manifest, original: str, copy: str, changed_bits: int = 0) -> None:
    """Give face `copy` the hash of `original`, except for the last `changed_bits` bits."""
    bits = int(manifest.loc[manifest["sample_id"] == original, "perceptual_hash"].item(), 16)
    manifest.loc[manifest["sample_id"] == copy, "perceptual_hash"] = f"{bits ^ (1 << changed_bits) - 1:064x}"


def test_audit_counts_faces_videos_and_leaks():
    videos = {"real/a": ["A"], "real/b": ["B"], "fake/a_b": ["A", "B"], "fake/c_d": ["C", "D"], "real/e": []}
    manifest = manifest_of(videos, frames=2)
    subset = {"real/a": "train", "fake/a_b": "train", "real/b": "validation", "fake/c_d": "test"}
    subsets = manifest["video_id"].map(subset).fillna("unused")
    subsets[manifest["sample_id"] == "real/a#1"] = "test"
    copy_face(manifest, "real/a#0", "real/b#0")
    audit = audit_split(manifest, subsets, SplitPolicy("video"))
    assert audit["subsets"] == {
        "train": {"real": 1, "fake": 2, "videos": 2, "identities": 2},
        "validation": {"real": 2, "fake": 0, "videos": 1, "identities": 1},
        "test": {"real": 1, "fake": 2, "videos": 2, "identities": 3},
        "unused": {"real": 2, "fake": 0, "videos": 1, "identities": 0},
    }
    assert shared(audit, "videos") == [0, 1, 0]  # real/a is in train and test
    assert shared(audit, "identities") == [1, 1, 0]  # B in train and validation, A in train and test
    assert shared(audit, "near_duplicates") == [1, 0, 0]
    assert audit["shared"]["train and validation"]["near_duplicate_examples"] == [["real/b#0", "real/a#0"]]
    assert audit["unknown_identities"] == 0


def test_audit_is_unchanged_by_json():
    audit = audited(corpus(people=20, cast=4), require_disjoint=("videos",))
    assert json.loads(json.dumps(audit)) == audit


def test_paper_frames_leaks_videos_and_people_and_video_only_people():
    manifest = corpus(people=20, cast=4)
    frames, videos, identity = (audited(manifest, policy) for policy in ("paper_frames", "video", "identity"))
    assert min(shared(frames, "videos") + shared(frames, "identities")) > 0
    assert shared(videos, "videos") == [0, 0, 0] < shared(videos, "identities")
    assert shared(identity, "videos") == shared(identity, "identities") == [0, 0, 0]
    with pytest.raises(UserError, match="identities must be disjoint"):
        check_split(audited(manifest, "paper_frames", require_disjoint=("identities",)))


@pytest.mark.parametrize(("changed_bits", "count"), [(0, 1), (40, 1), (41, 0)])
def test_near_duplicates_are_counted_in_the_second_subset(changed_bits, count):
    manifest = corpus(people=20, cast=4, frames=2)
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    original = manifest["sample_id"][subsets == "train"].iloc[3]
    test = manifest["sample_id"][subsets == "test"]
    copy_face(manifest, original, test.iloc[0], changed_bits)
    audit = audit_split(manifest, subsets, SplitPolicy("identity"))
    assert audit["shared"]["train and test"]["near_duplicates"] == count
    assert any("Near-duplicates" in note for note in notes(audit)) == bool(count)
    copy_face(manifest, original, test.iloc[1], changed_bits)
    audit = audit_split(manifest, subsets, SplitPolicy("identity"))
    assert shared(audit, "near_duplicates") == [0, 2 * count, 0]


def test_missing_class_is_rejected_with_the_counts():
    manifest = corpus(people=20, cast=4)
    with pytest.raises(UserError, match=r"needs real and fake faces.*validation \d+ real and 0 fake"):
        check_split(audited(manifest[manifest["label"] == "real"]))


@pytest.mark.parametrize("what", DISJOINT)
def test_require_disjoint_rejects_only_leaking_splits(what):
    manifest = corpus(people=20, cast=4)
    leaking = {"videos": "paper_frames", "identities": "video", "near_duplicates": "identity"}[what]
    copied = manifest.copy()
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    first, second = (manifest["sample_id"][subsets == subset].iloc[0] for subset in ("train", "validation"))
    copy_face(copied, first, second)
    message = rf"{what.replace('_', '-')} must be disjoint.* in train and validation"
    with pytest.raises(UserError, match=message) as error:
        check_split(audited(copied, leaking, require_disjoint=(what,)))
    assert ("looks like" in str(error.value)) == (what == "near_duplicates")
    check_split(audited(copied, leaking))  # leaks are allowed unless they are excluded
    check_split(audited(manifest, "identity", require_disjoint=(what,)))


def test_disjoint_identities_cannot_be_required_if_unknown():
    manifest = manifest_of({f"{label}/{i}": [] for label in ("real", "fake") for i in range(20)})
    audit = audited(manifest, "identity")
    check_split(audit)
    (note,) = notes(audit)
    assert note.startswith("40 videos have no known identities")
    with pytest.raises(UserError, match="does not provide them"):
        check_split(audited(manifest, "identity", require_disjoint=("identities",)))


def test_notes_count_fakes_across_subsets():
    manifest = corpus(people=20, cast=20)
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    count = manifest["video_id"][subsets == "unused"].nunique()
    (note,) = notes(audit_split(manifest, subsets, SplitPolicy("identity")))
    assert note == (
        f"identity: {count} of 380 fake videos ({count / 380:.1%}) show people from two different subsets "
        "and are excluded."
    )
    assert notes(audited(corpus(people=20, cast=4), "identity")) == []


def test_notes_count_unlisted_and_unlabelled_videos():
    manifest = corpus(people=20, cast=4)
    videos = manifest["video_id"].unique()
    manifest["official_subset"] = manifest["video_id"].map(dict(zip(videos[3:], SUBSETS * 100, strict=False)))
    manifest.loc[manifest["video_id"] == videos[-1], "label"] = "unlabelled"
    assert notes(audited(manifest, "official")) == [
        "official: 3 of 60 fake videos (5.0%) are not in the corpus's lists and are excluded.",
        "official: 1 of 1 unlabelled videos (100.0%) cannot be trained on or measured and are excluded.",
    ]
