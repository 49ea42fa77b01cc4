from itertools import combinations

import numpy as np
import pytest
from corpora import corpus, fractions_of, manifest_of, people_in

from deepfake_ms.data.splits import SUBSETS, SplitPolicy, balance, split_manifest
from deepfake_ms.errors import UserError

PAIRS = list(combinations(SUBSETS, 2))


@pytest.mark.parametrize("policy", ["paper_frames", "video", "identity"])
def test_fractions_hold_for_each_class(policy):
    manifest = corpus(people=40, cast=4, anonymous=20)
    subsets = split_manifest(manifest, SplitPolicy(policy))
    for label in ("real", "fake"):
        assert fractions_of(manifest, subsets, label) == pytest.approx([0.6, 0.2, 0.2], abs=0.05)


@pytest.mark.parametrize("policy", ["paper_frames", "video", "identity", "official"])
def test_split_is_seeded_and_independent_of_row_order(policy):
    manifest = corpus(people=20, cast=4, anonymous=10)
    subsets = split_manifest(manifest, SplitPolicy(policy, seed=1))
    shuffled = manifest.sample(frac=1, random_state=0)
    again = split_manifest(shuffled, SplitPolicy(policy, seed=1))
    assert again.index.equals(shuffled.index)
    assert again.sort_index().equals(subsets)
    assert not split_manifest(manifest, SplitPolicy(policy, seed=2)).equals(subsets)


def test_identity_keeps_casts_together_and_uses_all_faces():
    manifest = corpus(people=20, cast=4, anonymous=5)
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    assert set(subsets) == set(SUBSETS)
    for one, other in PAIRS:
        assert not people_in(manifest, subsets, one) & people_in(manifest, subsets, other)


def test_identity_assigns_people_one_by_one_if_everyone_is_swapped_with_everyone():
    manifest = corpus(people=20, cast=20, anonymous=20)
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    assert fractions_of(manifest, subsets, "real") == pytest.approx([0.6, 0.2, 0.2], abs=0.1)
    for one, other in PAIRS:
        assert not people_in(manifest, subsets, one) & people_in(manifest, subsets, other)
    # Exactly the fakes with people from two subsets are unused.
    alone = manifest["identities"].map(len) == 1
    subset_of = dict(zip(manifest.loc[alone, "identities"].str[0], subsets[alone], strict=True))
    crossing = manifest["identities"].map(lambda people: len({subset_of[person] for person in people}) == 2)
    assert ((subsets == "unused") == crossing).all()
    assert crossing.any()


def graph(fakes: list[tuple[int, int]]) -> dict[str, list[str]]:
    """One real video of each person, and one fake of each given pair."""
    people = sorted({person for pair in fakes for person in pair})
    real = {f"real/id{person}": [f"id{person}"] for person in people}
    return real | {f"fake/id{one}_id{other}": [f"id{one}", f"id{other}"] for one, other in fakes}


@pytest.mark.parametrize(
    "fakes",
    [
        pytest.param([(i, i + 1) for i in range(59)], id="chain"),
        pytest.param([(0, i) for i in range(1, 60)], id="star"),
        pytest.param([(i, (i + 1) % 60) for i in range(60)] + [(i, (i + 7) % 60) for i in range(60)], id="net"),
    ],
)
def test_identity_on_a_connected_graph_excludes_only_fakes_across_subsets(fakes):
    manifest = manifest_of(graph(fakes), frames=1)
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    for one, other in PAIRS:
        assert not people_in(manifest, subsets, one) & people_in(manifest, subsets, other)
    real = manifest["label"] == "real"
    assert (subsets[real] != "unused").all()
    assert fractions_of(manifest, subsets, "real") == pytest.approx([0.6, 0.2, 0.2], abs=0.1)
    subset_of = dict(zip(manifest["video_id"][real].str.removeprefix("real/"), subsets[real], strict=True))
    crossing = manifest["identities"][~real].map(lambda pair: subset_of[pair[0]] != subset_of[pair[1]])
    assert ((subsets[~real] == "unused") == crossing).all()
    assert crossing.any()


def test_identity_uses_all_videos_if_identities_are_unknown():
    videos = {f"{label}/{i}": [] for label in ("real", "fake") for i in range(20)}
    manifest = manifest_of(videos)
    subsets = split_manifest(manifest, SplitPolicy("identity"))
    assert set(subsets) == set(SUBSETS)
    assert subsets.groupby(manifest["video_id"]).nunique().max() == 1


def test_official_keeps_the_test_list_and_splits_the_rest_by_identity():
    manifest = corpus(people=20, cast=4, anonymous=10)
    subsets = split_manifest(manifest, SplitPolicy("official"))
    assert ((subsets == "test") == (manifest["official_subset"] == "test")).all()
    assert not people_in(manifest, subsets, "train") & people_in(manifest, subsets, "validation")
    rest = subsets[manifest["official_subset"] != "test"]
    assert (rest == "validation").mean() == pytest.approx(0.25, abs=0.1)


def test_official_lists_of_all_three_subsets_are_used_unchanged():
    manifest = corpus(people=20, cast=4)
    listed = manifest["video_id"].map(dict(zip(manifest["video_id"].unique(), SUBSETS * 100, strict=False)))
    manifest["official_subset"] = listed.mask(manifest["video_id"] == "real/id3_1")
    subsets = split_manifest(manifest, SplitPolicy("official"))
    assert (subsets == listed.mask(manifest["video_id"] == "real/id3_1", "unused")).all()
    assert (subsets == "unused").any()


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ([], "no video"),
        (["train", "validation"], "only train and validation"),
        (["test", "train"], "only train and test"),
    ],
)
def test_official_rejects_incomplete_lists(listed, found):
    manifest = corpus(people=20, cast=4).assign(official_subset=None)
    for number, subset in enumerate(listed):
        manifest.loc[manifest["video_id"] == f"real/id{number}_0", "official_subset"] = subset
    with pytest.raises(UserError, match=f"lists name {found}, .*choose another split.policy"):
        split_manifest(manifest, SplitPolicy("official"))


def test_official_rejects_a_corpus_of_test_videos_only():
    with pytest.raises(UserError, match="all videos are in the corpus's test list"):
        split_manifest(corpus(people=20, cast=4).assign(official_subset="test"), SplitPolicy("official"))


def test_unlabelled_faces_are_unused():
    manifest = corpus(people=20, cast=4)
    manifest.loc[manifest["video_id"] == "real/id0_0", "label"] = "unlabelled"
    subsets = split_manifest(manifest, SplitPolicy("video"))
    assert ((subsets == "unused") == (manifest["label"] == "unlabelled")).all()


def test_balance_chooses_equally_many_of_each_class_from_the_rows():
    manifest = corpus(people=20, cast=4)
    rows = np.arange(0, len(manifest), 2)
    chosen = balance(manifest, rows, per_class=10, seed=0)
    assert manifest.iloc[chosen]["label"].value_counts().to_dict() == {"real": 10, "fake": 10}
    assert set(chosen) <= set(rows)
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.array_equal(chosen, balance(manifest, rows[::-1], per_class=10, seed=0))
    assert not np.array_equal(chosen, balance(manifest, rows, per_class=10, seed=1))


def test_balance_is_limited_by_the_smaller_class():
    manifest = corpus(people=20, cast=4)
    labels = manifest.iloc[balance(manifest, np.arange(len(manifest)), per_class=4000, seed=0)]["label"]
    assert set(labels.value_counts()) == {manifest["label"].value_counts().min()}


def test_balance_needs_both_classes():
    manifest = corpus(people=20, cast=4)
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
def test_invalid_settings_are_rejected(setting):
    with pytest.raises(UserError, match="split"):
        SplitPolicy(**setting)


def test_fakes_by_a_method_that_is_held_out_are_only_tested():
    manifest = corpus(people=20, cast=4)
    fakes = manifest["label"] == "fake"
    manifest.loc[fakes, "method"] = ["seen", "unseen"] * (fakes.sum() // 2) + ["seen"] * (fakes.sum() % 2)
    plain = split_manifest(manifest, SplitPolicy("video"))
    held_out = split_manifest(manifest, SplitPolicy("video", held_out_methods=("unseen",)))
    unseen = manifest["method"] == "unseen"
    assert set(held_out[unseen]) == {"test", "unused"}
    assert (held_out[~unseen] == plain[~unseen]).all()
    assert (held_out[unseen & (plain == "test")] == "test").all()
    with pytest.raises(UserError, match="no fake is made by real, swapped; choose from seen, unseen"):
        split_manifest(manifest, SplitPolicy("video", held_out_methods=("swapped", "real")))
