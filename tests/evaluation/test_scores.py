"""What evaluating a run writes and prints, and where its threshold comes from."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
import tiny_run
import torch
from scored import evaluations, finished_run, hand_on, predictions_of, scored

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME
from deepfake_ms.evaluation.scores import SCORES_NAME, VIDEOS_NAME
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.scoring.metrics import DECISION_METRICS, TITLES, choose_thresholds, score_table

NOISE = {"name": "noise", "level": 1, "levels": [{"GaussNoise": {"std_range": [0.2, 0.2], "p": 1}}]}


def test_the_threshold_is_chosen_on_validation(run):
    scores, printed = scored(run)
    written = (run.folder / "evaluation/test/selected" / SCORES_NAME).read_text()
    assert json.loads(written) == scores
    validation, test = (predictions_of(run, subset) for subset in ("validation", "test"))
    assert sorted(validation["sample_id"]) == [f"{number:03d}" for number in range(25, 36)]
    assert sorted(test["sample_id"]) == [f"{number:03d}" for number in range(36, 47)]
    thresholds = choose_thresholds(validation)
    assert scores["validation_thresholds"] == thresholds
    assert thresholds["frame"] not in (0.5, choose_thresholds(test)["frame"])  # else this test would prove nothing
    assert scores["metrics"] == score_table(test)
    chosen = score_table(test, thresholds)
    for level, values in scores["metrics_at_validation_thresholds"].items():
        assert values == {name: chosen[level][name] for name in DECISION_METRICS}
    for part in (
        *TITLES.values(),
        "Scores on test",
        f"at {thresholds['frame']:.4f}",
        f"at {thresholds['video']:.4f}",
    ):
        assert part in printed
    assert scores["protocol_card"]["threshold"].startswith(".5, and the one of best balanced accuracy")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "test"),
        ({"subset": "validation"}, "validation"),
        ({"perturbation": NOISE}, "test_noise_1"),
        ({"subset": "validation", "perturbation": NOISE}, "validation_noise_1"),
    ],
)
def test_every_test_set_has_the_same_thresholds_and_its_own_folder(run, arguments, name):
    expected = scored(run)[0]["validation_thresholds"]
    scores, printed = scored(run, **arguments)
    assert scores["validation_thresholds"] == expected == choose_thresholds(predictions_of(run, "validation"))
    assert scores["test_set"] == name
    assert f"Scores on {name} " in printed
    assert scores["protocol_card"]["perturbation"] == ("noise, level 1" if "perturbation" in arguments else "none")
    assert scores["metrics"] == score_table(predictions_of(run, name))
    folders = {path.parent.relative_to(run.folder).as_posix() for path in run.folder.rglob(PREDICTIONS_NAME)}
    assert folders == {f"evaluation/{each}/selected" for each in {"test", "validation", name}}


def test_the_scores_say_how_much_the_perturbation_changes(run):
    assert scored(run)[0]["perturbation"] is None
    scores, _ = scored(run, perturbation=NOISE)
    test_set = TestSet.of_run(run, "test", NOISE)
    change = asdict(test_set.measure_change(tiny_run.SIZE))
    assert scores["perturbation"] == {"name": "noise", "level": 1, **change}
    assert evaluations(run)[-1]["change"] == change
    again, _ = scored(run, perturbation=NOISE)
    assert again["perturbation"] == scores["perturbation"]


def test_a_perturbation_that_changes_nothing_is_not_scored(run):
    blocks = {"name": "blocks", "level": 1, "levels": [{"GreyBlocks": {"count": 16}}]}
    with pytest.raises(UserError, match=r"^perturbation=blocks at level 1 changes no face at 32 pixels: "):
        scored(run, perturbation=blocks)
    assert not evaluations(run)
    assert not (run.folder / "evaluation" / "test_blocks_1").exists()


def test_the_last_epoch_has_results_and_thresholds_of_its_own(run):
    """The two checkpoints differ here; their predictions must not be mixed."""
    selected, _ = scored(run)
    detector = run.detector(run.curriculum.stages[0])
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.mul_(-1)
    torch.save({"state_dict": detector.state_dict()}, run.folder / "1_cropped" / "last.ckpt")
    last, printed = scored(run, checkpoint="last")
    assert "last epoch" in printed
    assert selected["protocol_card"]["selection"] == "best validation/loss of the last stage"
    assert last["checkpoint_sha256"] != selected["checkpoint_sha256"]
    assert last["validation_thresholds"] == choose_thresholds(predictions_of(run, "validation", "last"))
    assert last["validation_thresholds"] != selected["validation_thresholds"]
    assert scored(run)[0]["metrics"] == selected["metrics"]


def test_the_scores_name_what_they_rest_on(run):
    scores, printed = scored(run)
    assert scores["data"] == {"name": "tiny", "fingerprint": "0123456789ab", "synthetic": True}
    assert scores["trained_by"] == run.record["code"]
    assert scores["predicted_by"] == {"code": scores["scored_by"], "device": "cpu", "precision": "32-true"}
    assert scores["frames"] == {"real": 6, "fake": 5}
    assert scores["videos"] == predictions_of(run, "test")["video_id"].nunique()
    assert scores["libraries"]["torch"].startswith(torch.__version__.split("+")[0])
    for part in (
        "SYNTHETIC DATA",
        "tiny 0123456789ab",
        *scores["protocol_card"].values(),
        scores["scored_by"],
        "1 seed",
        "name",
    ):
        assert part in printed


def test_a_set_without_real_faces_has_no_auroc_and_no_threshold(run):
    real = run.split["sample_id"].astype(int) % 2 == 0
    run.split.loc[real & (run.split["subset"] == "validation"), "subset"] = "unused"
    scores, printed = scored(run)
    assert scores["validation_thresholds"] == {"frame": None, "video": None}
    assert scores["metrics"]["frame"]["auroc"] is not None
    assert set(scores["metrics_at_validation_thresholds"]["video"].values()) == {None}
    assert "at –" in printed
    videos = pd.read_csv(run.folder / "evaluation/test/selected" / VIDEOS_NAME)
    assert videos["decision"].isna().all()
    scores, _ = scored(run, "validation")
    assert scores["metrics"]["frame"]["auroc"] is None
    assert "NaN" not in (run.folder / "evaluation/validation/selected" / SCORES_NAME).read_text()


def test_predictions_that_are_not_numbers_are_refused(run):
    detector = run.detector(run.curriculum.stages[0])
    for parameter in detector.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    hand_on(run, detector)
    with pytest.raises(UserError, match=r"P\(fake\) of 11 faces is not finite: train again with "):
        scored(run)


def test_ranks_wait_for_the_one_that_writes_the_chain(run, monkeypatch):
    """After training on several processes, rank 0 may still be writing the end of the last stage."""
    path = run.folder / "chain.json"
    chain = path.read_text()
    path.unlink()

    def barrier():
        path.write_text(chain)
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "barrier", barrier)
    assert scored(run)[0]["test_evaluations"] == 1


def test_scoring_a_run_does_not_need_the_weights_that_it_started_from(tmp_path, tiny_faces):
    """The released file may be gone once the run is trained."""
    released = {"model.swin": "removed", "model.checkpoint": str(tmp_path / "deleted.pth")}
    run = tiny_run.make_run(tmp_path / "run", tiny_faces, {**tiny_run.ONE_STAGE, **released})
    with pytest.raises(UserError, match=r"deleted\.pth does not exist"):
        run.detector(run.curriculum.stages[0])
    trained = run.detector(run.curriculum.stages[0], from_scratch=False)
    run = finished_run(run.folder, tiny_faces, released, trained)
    scores, _ = scored(run)
    assert sum(scores["frames"].values()) == tiny_run.SUBSETS.count("test")
    assert len(evaluations(run)) == 1
