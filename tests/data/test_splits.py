import numpy as np
import pandas as pd
import pytest

from deepfake_ms.data.splits import SIDES, SplitPolicy, audit, balance, split_manifest
from deepfake_ms.errors import UserError

TWO_SIDES = [("train", "validation"), ("train", "test"), ("validation", "test")]


def corpus(persons: int, cast: int, real_each: int = 3, anonymous: int = 0, frames: int = 4) -> pd.DataFrame:
    """Videos of `persons` in casts of `cast`, all swapped with all of the cast, and real ones of strangers."""
    videos = [(f"real/id{i}_{k}", "real", [f"id{i}"]) for i in range(persons) for k in range(real_each)]
    videos += [
        (f"fake/id{i}_id{j}", "fake", [f"id{i}", f"id{j}"])
        for i in range(persons)
        for j in range(persons)
        if i != j and i // cast == j // cast
    ]
    videos += [(f"stranger/{i}", "real", []) for i in range(anonymous)]
    rows = [
        {
            "sample_id": f"{video}#{frame}",
            "video_id": video,
            "label": label,
            "identities": np.array(identities, dtype=object),
            "official_side": "test" if identities[:1] == ["id0"] or video in ("stranger/0", "stranger/1") else None,
            "sha256": f"{video}{frame}",
        }
        for video, label, identities in videos
        for frame in range(frames)
    ]
    return pd.DataFrame(rows).sort_values("sample_id", ignore_index=True)


def shares(manifest: pd.DataFrame, sides: pd.Series, label: str) -> list[float]:
    of_label = sides[manifest["label"] == label]
    return [(of_label == side).mean() for side in SIDES]


def persons_on(manifest: pd.DataFrame, sides: pd.Series, side: str) -> set[str]:
    return {person for persons in manifest.loc[sides == side, "identities"] for person in persons}


@pytest.mark.parametrize("policy", ["paper_frames", "video", "identity"])
def test_proportions_hold_for_each_class(policy):
    manifest = corpus(persons=40, cast=4, anonymous=20)
    sides = split_manifest(manifest, SplitPolicy(policy))
    for label in ("real", "fake"):
        assert shares(manifest, sides, label) == pytest.approx([0.6, 0.2, 0.2], abs=0.05)


@pytest.mark.parametrize("policy", ["paper_frames", "video", "identity", "official"])
def test_independent_of_row_order_and_seeded(policy):
    manifest = corpus(persons=20, cast=4, anonymous=10)
    sides = split_manifest(manifest, SplitPolicy(policy, seed=1))
    shuffled = manifest.sample(frac=1, random_state=0)
    again = split_manifest(shuffled, SplitPolicy(policy, seed=1))
    assert again.index.equals(shuffled.index)
    assert again.sort_index().equals(sides)
    assert not split_manifest(manifest, SplitPolicy(policy, seed=2)).equals(sides)


def test_paper_frames_share_videos_and_video_does_not():
    manifest = corpus(persons=20, cast=4)
    frames = audit(manifest, split_manifest(manifest, SplitPolicy("paper_frames")))
    videos = audit(manifest, split_manifest(manifest, SplitPolicy("video")))
    assert frames.loc["train & test", "videos"] > 0
    assert videos.filter(like=" & ", axis="index")["videos"].sum() == 0
    assert videos.loc["train & test", "identities"] > 0


def test_identity_keeps_casts_together_and_uses_everything():
    manifest = corpus(persons=20, cast=4, anonymous=5)
    sides = split_manifest(manifest, SplitPolicy("identity", require_disjoint=("videos", "identities")))
    assert set(sides) == set(SIDES)
    for one, other in TWO_SIDES:
        assert not persons_on(manifest, sides, one) & persons_on(manifest, sides, other)


def test_identity_deals_out_persons_when_all_are_swapped_with_all():
    manifest = corpus(persons=20, cast=20, anonymous=20)
    sides = split_manifest(manifest, SplitPolicy("identity", require_disjoint=("identities",)))
    assert shares(manifest, sides, "real") == pytest.approx([0.6, 0.2, 0.2], abs=0.1)
    for one, other in TWO_SIDES:
        assert not persons_on(manifest, sides, one) & persons_on(manifest, sides, other)
    # Unused are exactly the fakes whose two persons stand on different sides.
    real = manifest["label"] == "real"
    side_of = dict(zip(manifest.loc[real, "identities"].str[0], sides[real], strict=True))
    crossing = manifest["identities"].map(lambda persons: len({side_of[person] for person in persons}) == 2)
    assert ((sides == "unused") == crossing).all()
    assert audit(manifest, sides).loc["unused", "fake"] == crossing.sum() > 0


def test_official_test_list_and_validation_by_identity():
    manifest = corpus(persons=20, cast=4, anonymous=10)
    sides = split_manifest(manifest, SplitPolicy("official"))
    assert ((sides == "test") == (manifest["official_side"] == "test")).all()
    assert not persons_on(manifest, sides, "train") & persons_on(manifest, sides, "validation")
    rest = sides[manifest["official_side"] != "test"]
    assert (rest == "validation").mean() == pytest.approx(0.25, abs=0.1)


def test_official_without_a_list():
    manifest = corpus(persons=20, cast=4).assign(official_side=None)
    with pytest.raises(UserError, match="no video is in the corpus's test list"):
        split_manifest(manifest, SplitPolicy("official"))


def test_unlabelled_faces_are_unused():
    manifest = corpus(persons=20, cast=4)
    manifest.loc[manifest["video_id"] == "real/id0_0", "label"] = "unlabelled"
    sides = split_manifest(manifest, SplitPolicy("video"))
    assert ((sides == "unused") == (manifest["label"] == "unlabelled")).all()


def test_a_missing_class_is_refused_with_the_counts():
    manifest = corpus(persons=20, cast=4)
    with pytest.raises(UserError, match=r"validation \d+ real and 0 fake"):
        split_manifest(manifest[manifest["label"] == "real"], SplitPolicy("video"))


def test_required_disjointness():
    manifest = corpus(persons=20, cast=4)
    with pytest.raises(UserError, match=r"videos must be disjoint .* in train & validation"):
        split_manifest(manifest, SplitPolicy("paper_frames", require_disjoint=("videos",)))
    with pytest.raises(UserError, match="policy identity"):
        split_manifest(manifest, SplitPolicy("video", require_disjoint=("videos", "identities")))


def test_audit_counts():
    manifest = corpus(persons=4, cast=2, real_each=1, frames=2)  # 4 real and 4 fake videos of 2 frames
    side = {"real/id0_0": "train", "fake/id0_id1": "train", "real/id1_0": "validation", "fake/id2_id3": "test"}
    sides = manifest["video_id"].map(side).fillna("unused")
    sides[manifest["sample_id"] == "real/id0_0#1"] = "test"
    manifest.loc[manifest["sample_id"] == "real/id1_0#0", "sha256"] = "real/id0_00"
    table = audit(manifest, sides)
    assert table.columns.tolist() == ["real", "fake", "videos", "identities"]
    assert table.loc["train"].tolist() == [1, 2, 2, 2]
    assert table.loc["test"].tolist() == [1, 2, 2, 3]
    assert table.loc["unused"].tolist() == [4, 4, 4, 4]
    assert table.loc["train & validation"].tolist() == [1, 0, 0, 1]  # the copied crop; id1
    assert table.loc["train & test"].tolist() == [0, 0, 1, 1]
    assert table.loc["validation & test"].tolist() == [0, 0, 0, 0]


def test_balance_takes_as_many_of_each_from_the_rows():
    manifest = corpus(persons=20, cast=4)
    rows = np.arange(0, len(manifest), 2)
    chosen = balance(manifest, rows, per_class=10, seed=0)
    assert manifest.iloc[chosen]["label"].value_counts().to_dict() == {"real": 10, "fake": 10}
    assert set(chosen) <= set(rows)
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.array_equal(chosen, balance(manifest, rows[::-1], per_class=10, seed=0))
    assert not np.array_equal(chosen, balance(manifest, rows, per_class=10, seed=1))


def test_balance_is_bounded_by_the_smaller_class():
    manifest = corpus(persons=20, cast=4)
    labels = manifest.iloc[balance(manifest, np.arange(len(manifest)), per_class=4000, seed=0)]["label"]
    assert set(labels.value_counts()) == {manifest["label"].value_counts().min()}


def test_balance_needs_both_classes():
    manifest = corpus(persons=20, cast=4)
    with pytest.raises(UserError, match="240 real, 0 fake"):
        balance(manifest, np.flatnonzero(manifest["label"] == "real"), per_class=10, seed=0)


@pytest.mark.parametrize(
    "setting",
    [
        {"policy": "random"},
        {"fractions": (0.6, 0.2, 0.1)},
        {"fractions": (0.8, 0.2, 0)},
        {"require_disjoint": ("faces",)},
    ],
)
def test_refuses_bad_settings(setting):
    with pytest.raises(UserError, match="split"):
        SplitPolicy(**setting)
