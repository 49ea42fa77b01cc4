"""When a test set is predicted, when the predictions on disk are used, and which runs are refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny_run
import torch
from scored import evaluations, finished_run, hand_on, predictions_of, scored

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME
from deepfake_ms.evaluation.scores import SCORES_NAME
from deepfake_ms.files import write_json
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run import Run


def noise(deviation: float, p: float = 1) -> dict:
    return {"name": "noise", "level": 1, "levels": [{"GaussNoise": {"std_range": [deviation, deviation], "p": p}}]}


def stored(run: Run) -> dict:
    """When each file of predictions was written."""
    return {path: path.stat().st_mtime_ns for path in run.folder.rglob(PREDICTIONS_NAME)}


# --- what is predicted once and what again


def test_predictions_on_disk_are_used_again(run):
    first, _ = scored(run)
    (entry,) = evaluations(run)
    assert entry.pop("time").endswith("+00:00")
    assert entry == predictions_of(run, "test").attrs
    assert entry == {
        "test_set": "test",
        "manifest_sha256": run.faces.manifest_sha256,
        "rows_sha256": entry["rows_sha256"],
        "perturbation": "null",
        "checkpoint": "selected",
        "checkpoint_sha256": first["checkpoint_sha256"],
        **first["predicted_by"],
    }
    before = stored(run)
    (run.folder / "evaluation/test/selected" / SCORES_NAME).unlink()
    again, printed = scored(run)
    assert again == first
    assert stored(run) == before
    assert "predictions of this checkpoint are up to date" in printed
    assert len(evaluations(run)) == first["test_evaluations"] == 1
    assert "has been evaluated" not in printed


def test_every_prediction_of_a_test_set_is_logged_and_counted(run):
    scored(run, "validation")
    assert not evaluations(run)
    validation = run.folder / "evaluation/validation/selected" / PREDICTIONS_NAME
    before = validation.stat().st_mtime_ns
    scored(run)
    assert validation.stat().st_mtime_ns == before
    _, printed = scored(run, checkpoint="last")
    assert [entry["checkpoint"] for entry in evaluations(run)] == ["selected", "last"]
    assert "evaluated 2 times on test sets" in printed
    detector = run.detector(run.curriculum.stages[0])
    torch.nn.init.normal_(next(detector.parameters()))
    hand_on(run, detector)
    scores, printed = scored(run)
    assert scores["test_evaluations"] == 3
    assert "up to date" not in printed
    assert validation.stat().st_mtime_ns != before
    assert len({entry["checkpoint_sha256"] for entry in evaluations(run)}) == 3


def test_an_evaluation_that_is_killed_is_logged(run, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    scored(run, "validation")
    monkeypatch.setattr(Detector, "test_step", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        scored(run)
    assert len(evaluations(run)) == 1
    assert not (run.folder / "evaluation/test").exists()


def test_another_perturbation_of_the_same_name_is_predicted_again(run):
    scored(run, perturbation=noise(0.05))
    before, weak = stored(run), predictions_of(run, "test_noise_1")
    _, printed = scored(run, perturbation=noise(0.05))
    assert stored(run) == before
    assert "up to date" in printed
    _, printed = scored(run, perturbation=noise(0.3))
    assert "up to date" not in printed
    strong = predictions_of(run, "test_noise_1")
    assert strong["sample_id"].tolist() == weak["sample_id"].tolist()
    assert not np.allclose(strong["fake_probability"], weak["fake_probability"])
    changed = {path.parent.parent.name for path, time in stored(run).items() if time != before[path]}
    assert changed == {"test_noise_1"}
    perturbations = [json.loads(entry["perturbation"])["transforms"][0]["std_range"] for entry in evaluations(run)]
    assert perturbations == [[0.05, 0.05], [0.3, 0.3]]


def test_other_rows_or_faces_are_predicted_again(run, tmp_path):
    first, _ = scored(run)
    dropped = run.split.index[run.split["subset"] == "test"][0]
    run.split.loc[dropped, "subset"] = "unused"
    assert sum(scored(run)[0]["frames"].values()) == sum(first["frames"].values()) - 1
    faces = shutil.copytree(run.faces.folder, tmp_path / "faces")
    manifest = pd.read_parquet(faces / "manifest.parquet")
    manifest.assign(probability=0.5).to_parquet(faces / "manifest.parquet", index=False)
    changed = tiny_run.make_run(tmp_path / "other", faces, tiny_run.ONE_STAGE)
    assert changed.faces.manifest_sha256 != run.faces.manifest_sha256
    scored(Run(run.folder, run.record, changed.faces, run.split))
    assert len(evaluations(run)) == 3


# --- precision


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_inference_is_in_32_bits_whatever_the_runs_precision(run, tmp_path, tiny_faces, precision):
    scored(run)
    other = finished_run(tmp_path / "other" / "seed_0", tiny_faces, {"trainer.precision": precision})
    scores, _ = scored(other, precision=precision, accumulate_grad_batches=2)
    for test_set in ("test", "validation"):
        mine, theirs = predictions_of(run, test_set), predictions_of(other, test_set)
        pd.testing.assert_frame_equal(mine, theirs)
        assert theirs.attrs["precision"] == "32-true"
    assert scores["predicted_by"]["precision"] == "32-true"
    assert torch.get_float32_matmul_precision() == "highest"


# --- refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"subset": "train"}, r"^test_set=train is unknown; choose from test, validation\.$"),
        ({"checkpoint": "best"}, r"^checkpoint=best is unknown; choose from selected, last\.$"),
        ({"checkpoint": "handoff"}, r"selected, last; handoff is now called selected\.$"),
        (
            {"perturbation": {"name": "mine", "level": 1, "levels": [{"Blurr": {}}]}},
            "no transform Blurr; the nearest name is Blur",
        ),
    ],
)
def test_unknown_names_are_refused_with_a_sentence(run, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        scored(run, **arguments)
    assert not (run.folder / "evaluation").exists()


def test_an_unfinished_run_is_refused(run):
    write_json(run.folder / "chain.json", {"stages": []})
    with pytest.raises(UserError, match="has finished 0 of 1 stages: run the same train command again; it continues"):
        scored(run)


@pytest.mark.parametrize("checkpoint", ["selected", "last"])
def test_a_missing_checkpoint_is_refused(run, checkpoint):
    for path in run.folder.rglob("*.ckpt"):
        path.unlink()
    with pytest.raises(UserError, match=rf"{'best' if checkpoint == 'selected' else 'last'}\.ckpt is missing: delete"):
        scored(run, checkpoint=checkpoint)


def test_a_changed_checkpoint_is_refused_even_if_it_was_scored_before(run):
    scored(run)
    with (run.folder / "1_cropped" / "best.ckpt").open("ab") as checkpoint:
        checkpoint.write(b"x")
    with pytest.raises(UserError, match=r"best\.ckpt has changed since its stage finished: delete the run's folder"):
        scored(run)


# --- through the command line


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_missing_crop_is_one_sentence_on_the_command_line(run, tmp_path, call, num_workers):
    """Also from a loader process, which adds its own traceback to the error."""
    faces = shutil.copytree(run.faces.folder, tmp_path / "faces")
    crop = faces / "crops" / "040.png"
    crop.unlink()
    status, _, errors = call("evaluate", f"run={run.folder}", f"prepared={faces}", f"trainer.num_workers={num_workers}")
    assert status == 2
    assert errors == f"error: {crop} is missing: delete {faces} and prepare the corpus again.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("checkpoint=handoff",), "handoff is now called selected."),
        (("test_set=shift_poeple",), "the nearest is shift_people; test and validation are the run's own faces."),
        (("side=validation",), "side is an old name: it is now test_set."),
        (
            ("perturbation=jpeg", "perturbation.levels=[{Blurr: {p: 1}}]", "perturbation.level=1"),
            "albumentations has no transform Blurr; the nearest name is Blur.",
        ),
        (("perturbation=jpeg", "perturbation.level=6"), "perturbation.level=6: jpeg has the levels 1 (mildest) to 5."),
        (("perturbation.level=2",), "perturbation.level=2: none has no levels; choose a type with perturbation=..."),
    ],
)
def test_wrong_arguments_are_one_sentence_on_the_command_line(run, call, arguments, sentence):
    status, _, errors = call("evaluate", f"run={run.folder}", *arguments)
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.endswith(f"{sentence}\n")
    assert errors.count("\n") == 1


def test_the_command_line_evaluates_a_test_set(run, call):
    status, printed, errors = call("evaluate", f"run={run.folder}", "perturbation=jpeg", "perturbation.level=2")
    assert status == 0, errors
    assert "Scores on test_jpeg_2" in printed
    assert "SYNTHETIC" in printed
    scores = json.loads((run.folder / "evaluation/test_jpeg_2/selected" / SCORES_NAME).read_text())
    assert scores["protocol_card"]["test"] in printed
    assert f"jpeg, level 2; mean PSNR {scores['perturbation']['mean_psnr']:.1f} dB, 100% of 11 faces changed" in printed
    assert predictions_of(run, "test_jpeg_2")["fake_probability"].between(0, 1).all()
