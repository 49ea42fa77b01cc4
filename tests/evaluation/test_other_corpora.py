"""A run on other corpora: which faces are scored, what is missing, which groups are worst, what is shared."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import tiny_run
from foreign import Video, write_corpus
from rich.console import Console
from scored import evaluations
from sklearn.metrics import roc_auc_score

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.breakdown import break_down, group_videos
from deepfake_ms.evaluation.coverage import Coverage, with_missing
from deepfake_ms.evaluation.predictions import read_predictions
from deepfake_ms.evaluation.scores import VIDEOS_NAME, evaluate
from deepfake_ms.evaluation.show import print_overview, print_scores
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import sha256_of
from deepfake_ms.manifest import MANIFEST_NAME
from deepfake_ms.scoring.metrics import at_level, score_table

VIDEOS = [
    *(Video(f"real{number}", "real", side=50 if number < 3 else 150, subset="test") for number in range(6)),
    *(Video(f"swap{number}", "fake", "swap", 50, subset="test") for number in range(3)),
    *(Video(f"puppet{number}", "fake", "puppet", 150, subset="test", several=True) for number in range(3)),
    Video("training_real", "real"),
    Video("training_fake", "fake"),
    Video("faceless_fake", "fake", subset="test", problem="no face"),
    Video("broken_real", "real", subset="test", problem="unreadable"),
    Video("unlisted_faceless", "fake", problem="no face"),
]


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> PreparedFaces:
    return PreparedFaces.read(write_corpus(tmp_path_factory.mktemp("prepared") / "other-ba9876543210", VIDEOS))


def scored(run, test_set, missing="chance") -> tuple[dict, str]:
    console = Console(file=io.StringIO(), width=300)
    scores = evaluate(run, test_set, tiny_run.trainer(), console, missing=missing)
    print_scores(scores, run, console)
    return scores, console.file.getvalue()


@pytest.mark.parametrize(("videos", "taken", "count"), [("auto", "test", 12), ("test", "test", 12), ("all", "all", 14)])
def test_the_test_list_or_all_videos_are_scored(other, videos, taken, count):
    test_set = TestSet.of_corpus("other", other, videos)
    chosen = other.manifest.iloc[test_set.rows]
    assert (test_set.videos, chosen["video_id"].nunique(), test_set.own) == (taken, count, False)
    assert chosen["video_id"].str.startswith("training").any() == (taken == "all")


def test_wrong_choices_are_refused(other, tmp_path):
    with pytest.raises(UserError, match=r"^videos=some is unknown: choose from auto, test, all\.$"):
        TestSet.of_corpus("other", other, "some")
    with pytest.raises(UserError, match=r"^data\.name=test is the name of the run's own test set"):
        TestSet.of_corpus("test", other)
    unlisted = PreparedFaces.read(write_corpus(tmp_path / "other-1", [Video("a", "real"), Video("b", "fake")]))
    assert TestSet.of_corpus("other", unlisted).videos == "all"
    with pytest.raises(UserError, match="has no test list: set videos=all"):
        TestSet.of_corpus("other", unlisted, "test")
    with pytest.raises(UserError, match=r"^missing=zero is unknown: choose from as_real, as_fake, chance, excluded\.$"):
        Coverage.of(TestSet.of_corpus("other", unlisted), "zero")


def test_scores_on_another_corpus(run, other):
    test_set = TestSet.of_corpus("other", other)
    scores, printed = scored(run, test_set)
    predictions = read_predictions(run, test_set, "selected")
    assert len(predictions) == 24
    assert scores["metrics"]["frame"] == score_table(predictions)["frame"]
    own, _ = scored(run, TestSet.of_run(run, "test"))
    assert scores["validation_thresholds"] == own["validation_thresholds"]
    assert (
        scores["oracle"]["video"]["balanced_accuracy"]
        >= (scores["metrics_at_validation_thresholds"]["video"]["balanced_accuracy"])
    )
    assert scores["test_data"] == {"data_name": "other", "fingerprint": "ba9876543210", "synthetic": True}
    assert [entry["test_set"] for entry in evaluations(run)] == ["other", "test"]
    assert scores["protocol_card"]["test"] == "other ba9876543210, its test list"
    assert scores["protocol_card"]["frames"] == "1 per second"
    for part in ("Scores on other", "after temperature scaling", "puppet", "which is unknown in practice", "chance"):
        assert part in printed
    written = json.loads((run.folder / "evaluation/other/selected/scores.json").read_text())
    assert written == scores
    videos = pd.read_csv(run.folder / "evaluation/other/selected" / VIDEOS_NAME)
    threshold = scores["validation_thresholds"]["video"]
    assert (videos["decision"] == np.where(videos["fake_probability"] > threshold, "fake", "real")).all()


@pytest.mark.parametrize(("policy", "probability"), [("as_real", 0.0), ("as_fake", 1.0), ("chance", 0.5)])
def test_videos_without_a_face_count_per_video(run, other, policy, probability):
    test_set = TestSet.of_corpus("other", other)
    scores, printed = scored(run, test_set, policy)
    assert {name: scores["coverage"][name] for name in ("videos", "no_face", "unreadable", "share")} == {
        **{"videos": 14, "no_face": 1, "unreadable": 1},
        "share": 1 - 2 / 14,
    }
    assert "Low coverage: 2 of 14 videos have no score: 1 without a face, 1 unreadable" in printed
    predictions = read_predictions(run, test_set, "selected")
    videos = at_level(predictions, "video")
    labels = [*videos["label"], 1, 0]
    expected = roc_auc_score(labels, [*videos["fake_probability"], probability, probability])
    assert scores["metrics"]["video"]["auroc"] == pytest.approx(expected)
    assert scores["metrics"]["frame"] == score_table(predictions)["frame"], "faces are not invented"


def test_excluded_videos_do_not_count(run, other):
    test_set = TestSet.of_corpus("other", other)
    scores, printed = scored(run, test_set, "excluded")
    assert scores["metrics"] == score_table(read_predictions(run, test_set, "selected"))
    assert "per video they are left out" in printed


def test_coverage_counts_the_videos_of_the_chosen_set_only(other):
    listed = Coverage.of(TestSet.of_corpus("other", other), "chance")
    everything = Coverage.of(TestSet.of_corpus("other", other, "all"), "chance")
    assert (listed.videos, len(listed.missing)) == (14, 2)
    assert (everything.videos, len(everything.missing)) == (17, 3)
    predictions = pd.DataFrame({"video_id": ["a"], "sample_id": ["a#0"], "label": [1], "fake_probability": [0.9]})
    assert at_level(with_missing(predictions, listed), "frame")["sample_id"].tolist() == ["a#0"]
    assert len(at_level(with_missing(predictions, listed), "video")) == 3


def test_own_subsets_that_no_list_defines_have_no_coverage(run):
    assert Coverage.of(TestSet.of_run(run, "test"), "chance") is None


def test_groups_of_videos(other):
    groups = group_videos(TestSet.of_corpus("other", other, "all"))
    assert groups.loc["swap0"].to_dict() == {"method": "swap", "face size": "below 64", "faces in the video": "one"}
    assert groups.loc["puppet2"].to_dict() == {
        "method": "puppet",
        "face size": "128 to 256",
        "faces in the video": "several",
    }


def test_every_group_is_compared_with_all_real_videos():
    """The fakes of one method are found, those of the other are scored below every real video."""
    videos = {"r0": 0.4, "r1": 0.5, "good0": 0.9, "good1": 0.8, "bad0": 0.1, "bad1": 0.2}
    predictions = pd.DataFrame(
        {
            "sample_id": list(videos),
            "video_id": list(videos),
            "label": [0, 0, 1, 1, 1, 1],
            "fake_probability": list(videos.values()),
        }
    )
    methods = {"r0": "real", "r1": "real", "good0": "good", "good1": "good", "bad0": "bad", "bad1": "bad"}
    sizes = {"r0": "small", "r1": "large", "good0": "small", "good1": "large", "bad0": "small", "bad1": "large"}
    groups = pd.DataFrame({"method": methods, "size": sizes})
    found = break_down({0: predictions}, groups, {0: 0.45}, resamples=50)
    assert found["by"].tolist() == ["method", "method", "size", "size"]
    assert found["auroc"].tolist() == [0.0, 1.0, 0.5, 0.5]
    by_group = found.set_index("group")
    assert by_group.loc["bad", ["fakes", "reals", "fake_error"]].tolist() == [2, 0, 1.0]
    assert by_group.loc["good", "fake_error"] == 0
    assert by_group.loc["small", ["fakes", "reals", "real_error"]].tolist() == [2, 1, 0.0]
    assert by_group.loc["large", "real_error"] == 1
    assert (by_group["low"] <= by_group["auroc"]).all()
    assert (by_group["high"] >= by_group["auroc"]).all()


def test_what_training_and_foreign_faces_share_is_counted(run, tmp_path):
    folder = write_corpus(tmp_path / "other-1", [Video("a", "real", people=("ada",)), Video("b", "fake")], False)
    manifest = pd.read_parquet(folder / MANIFEST_NAME)
    copied = run.faces.manifest.iloc[run.training_rows[0]]
    manifest.loc[0, "perceptual_hash"] = copied["perceptual_hash"]
    manifest.to_parquet(folder / MANIFEST_NAME, index=False)
    scores, printed = scored(run, TestSet.of_corpus("other", PreparedFaces.read(folder)))
    assert scores["audit"] == {
        "near_duplicates": 1,
        "near_duplicate_examples": [["a#0", copied["sample_id"]]],
        "identities": None,  # the run was trained on drawn people
        "identity_examples": [],
    }
    assert f"Near-duplicates of training faces among these faces: 1, e.g. a#0 and {copied['sample_id']}" in printed


def test_unlabelled_faces_are_scored_but_not_measured(run, tmp_path):
    faces = PreparedFaces.read(write_corpus(tmp_path / "other-1", [Video("a", "unlabelled"), Video("b", "unlabelled")]))
    scores, printed = scored(run, TestSet.of_corpus("mine", faces))
    assert "metrics" not in scores
    assert scores["frames"] == {"unlabelled": 4}
    assert "scored but not measured" in printed
    videos = pd.read_csv(run.folder / "evaluation/mine/selected" / VIDEOS_NAME)
    assert videos["label"].unique().tolist() == ["unlabelled"]
    assert videos["fake_probability"].between(0, 1).all()


def test_other_faces_under_the_same_name_are_predicted_anew(run, other, tmp_path):
    first, _ = scored(run, TestSet.of_corpus("other", other))
    changed = PreparedFaces.read(write_corpus(tmp_path / "other-2", VIDEOS[:9]))
    assert sha256_of(changed.folder / MANIFEST_NAME) != sha256_of(other.folder / MANIFEST_NAME)
    second, _ = scored(run, TestSet.of_corpus("other", changed))
    assert (first["videos"], second["videos"]) == (12, 9)


def test_an_overview_has_one_line_per_test_set(run, other):
    found = [scored(run, TestSet.of_corpus("other", other))[0], scored(run, TestSet.of_run(run, "test"))[0]]
    console = Console(file=io.StringIO(), width=200)
    print_overview(found, console)
    printed = console.file.getvalue()
    assert "other" in printed
    assert "85.7%" in printed
    assert f"{found[0]['metrics']['video']['auroc']:.4f}" in printed
