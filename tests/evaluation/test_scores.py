"""What evaluating a run writes, when it opens the test set, and where its threshold comes from."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
import torch
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.scores import OPENINGS_NAME, PREDICTIONS_NAME, SCORES_NAME, evaluate_run, print_scores
from deepfake_ms.files import sha256_of, write_json
from deepfake_ms.manifest import MANIFEST_NAME, read_manifest
from deepfake_ms.scoring.metrics import DECISION_METRICS, TITLES, choose_thresholds, score_table
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run_folder import claim_run_folder, write_split

STAGES = [{"faces": "cropped", "share": 1.0}]


def config() -> dict:
    """Of a run with one stage of the tiny model."""
    detector = tiny_run.make_detector()
    architecture = {**tiny_run.MODEL, "name": "tiny", "architecture": tiny_run.MODEL["name"]}
    return {
        "split": {"policy": "video", "fractions": [0.6, 0.2, 0.2], "seed": 0, "per_class": 10, "require_disjoint": []},
        "model": architecture,
        "optimization": {
            "epochs": 1,
            "batch_size": 4,
            "optimizer": dict(detector.hparams.optimizer),
            "schedule": dict(detector.hparams.schedule),
            "monitor": "validation/loss",
            "mode": "min",
        },
        "augmentation": {"name": "none"},
        "loss": {"class_weights": {"real": 1.0, "fake": 1.0}},
        "curriculum": {"name": "cropped", "stages": STAGES, "carry": "best"},
        "eye_mask": {},
        "seed": 0,
        "data": {"name": "tiny", "fingerprint": "0123456789ab"},
        "precision": "32-true",
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return tiny_run.write_faces(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def run(tmp_path, prepared) -> Path:
    """The folder of a run that has finished without having learnt anything."""
    folder = tmp_path / "name" / "seed_0"
    asked = config()
    about = {"prepared": str(prepared), "manifest_sha256": sha256_of(prepared / MANIFEST_NAME), "synthetic": True}
    claim_run_folder(folder, asked, about | {"code": "trained by"})
    faces = read_manifest(prepared)
    write_split(folder, faces["sample_id"], pd.Series(tiny_run.SUBSETS), pd.Series(range(25)).to_numpy())
    hand_over(folder, tiny_run.make_detector())
    return folder


def hand_over(folder: Path, detector: Detector) -> None:
    """Write the detector as what the last stage hands over, and as its last epoch."""
    (stage,) = Curriculum.from_shares(STAGES, epochs=1, carry="best", monitor="validation/loss", mode="min").stages
    (folder / stage.name).mkdir(exist_ok=True)
    for name in ("best", "last"):
        torch.save({"state_dict": detector.state_dict(), "made": name}, folder / stage.name / f"{name}.ckpt")
    path = folder / stage.name / "best.ckpt"
    entry = {"stage": stage.name, "checkpoint": f"{stage.name}/best.ckpt", "sha256": sha256_of(path), "score": 0.0}
    write_json(folder / "chain.json", {"stages": [{**entry, "steps": 1}]})


def evaluate(run: Path, **arguments) -> tuple[dict, str]:
    """The scores, and what was printed."""
    console = Console(file=io.StringIO(), width=300)
    scores = evaluate_run(run, tiny_run.CPU, 0, console, **arguments)
    print_scores(scores, run, console)
    return scores, console.file.getvalue()


def openings(run: Path) -> list[dict]:
    path = run / OPENINGS_NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_the_threshold_is_the_validation_sides(run):
    scores, printed = evaluate(run)
    written = (run / "evaluation/test_handoff" / SCORES_NAME).read_text()
    assert json.loads(written) == scores
    validation, test = (
        pd.read_parquet(run / f"evaluation/{subset}_handoff" / PREDICTIONS_NAME) for subset in ("validation", "test")
    )
    assert sorted(validation["sample_id"]) == [f"{number:03d}" for number in range(25, 36)]
    assert sorted(test["sample_id"]) == [f"{number:03d}" for number in range(36, 47)]
    thresholds = choose_thresholds(validation)
    assert scores["validation_thresholds"] == thresholds
    assert thresholds["frame"] not in (0.5, choose_thresholds(test)["frame"])  # or this test would not tell
    assert scores["metrics"] == score_table(test)
    chosen = score_table(test, thresholds)
    for level, values in scores["metrics_at_validation_thresholds"].items():
        assert values == {name: chosen[level][name] for name in DECISION_METRICS}
    for said in (
        *TITLES.values(),
        "Test scores",
        f"at {thresholds['frame']:.4f}",
        f"{thresholds['video']:.4f} per video",
    ):
        assert said in printed
    assert "threshold .5 and the one of best balanced accuracy on validation" in scores["protocol"]


def test_stored_predictions_are_read_without_opening_the_test_side(run):
    first, _ = evaluate(run)
    (opening,) = openings(run)
    assert opening.pop("time").endswith("+00:00")
    assert opening == {
        "checkpoint": "handoff",
        "checkpoint_sha256": first["checkpoint_sha256"],
        "manifest_sha256": json.loads((run / "run.json").read_text())["manifest_sha256"],
        "code": first["predicted_by"],
    }
    stored = {path: path.stat().st_mtime_ns for path in run.rglob(PREDICTIONS_NAME)}
    (run / "evaluation/test_handoff" / SCORES_NAME).unlink()
    again, printed = evaluate(run)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in run.rglob(PREDICTIONS_NAME)} == stored
    assert "this checkpoint is scored already" in printed
    assert len(openings(run)) == first["test_openings"] == 1
    assert "opened" not in printed


def test_every_prediction_of_the_test_side_is_logged_and_told(run):
    evaluate(run, subset="validation")
    assert not openings(run)
    validation = run / "evaluation/validation_handoff" / PREDICTIONS_NAME
    stored = validation.stat().st_mtime_ns
    evaluate(run)
    assert validation.stat().st_mtime_ns == stored
    _, printed = evaluate(run, checkpoint="last")
    assert [opening["checkpoint"] for opening in openings(run)] == ["handoff", "last"]
    assert "The test set was opened 2 times" in printed
    detector = tiny_run.make_detector()
    torch.nn.init.normal_(next(detector.parameters()))
    hand_over(run, detector)
    scores, printed = evaluate(run)
    assert scores["test_openings"] == 3
    assert "scored already" not in printed
    assert validation.stat().st_mtime_ns != stored
    assert len({opening["checkpoint_sha256"] for opening in openings(run)}) == 3


def test_an_opening_that_is_killed_is_logged(run, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    evaluate(run, subset="validation")
    monkeypatch.setattr(Detector, "test_step", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        evaluate(run)
    assert len(openings(run)) == 1
    assert not (run / "evaluation/test_handoff" / PREDICTIONS_NAME).exists()


def test_ranks_wait_for_the_one_that_writes_the_chain(run, monkeypatch):
    """After a training on several processes, rank 0 may still be writing the last stage's end."""
    chain = (run / "chain.json").read_text()
    (run / "chain.json").unlink()

    def barrier():
        (run / "chain.json").write_text(chain)
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "barrier", barrier)
    assert evaluate(run)[0]["test_openings"] == 1


def test_a_side_without_real_faces_has_no_auroc_and_no_threshold(run):
    faces = pd.read_parquet(run / "split.parquet")
    real = faces["sample_id"].astype(int) % 2 == 0
    faces.loc[real & (faces["subset"] == "validation"), "subset"] = "unused"
    faces.to_parquet(run / "split.parquet", index=False)
    scores, printed = evaluate(run)
    assert scores["validation_thresholds"] == {"frame": None, "video": None}
    assert scores["metrics"]["frame"]["auroc"] is not None
    assert set(scores["metrics_at_validation_thresholds"]["video"].values()) == {None}
    assert "at –" in printed
    scores, _ = evaluate(run, subset="validation")
    assert scores["metrics"]["frame"]["auroc"] is None
    assert "NaN" not in (run / "evaluation/validation_handoff" / SCORES_NAME).read_text()


def test_predictions_that_are_not_numbers_are_refused(run):
    detector = tiny_run.make_detector()
    for parameter in detector.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    hand_over(run, detector)
    with pytest.raises(UserError, match=r"P\(fake\) of 11 faces is not a number"):
        evaluate(run)


def test_what_cannot_be_scored_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="subset=train is unknown"):
        evaluate(run, subset="train")
    with pytest.raises(UserError, match="checkpoint=best is unknown"):
        evaluate(run, checkpoint="best")
    other = tiny_run.write_faces(tmp_path / "other")
    (other / MANIFEST_NAME).write_bytes(b"")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        evaluate(run, prepared=other)
    for path in run.rglob("*.ckpt"):
        path.unlink()
    with pytest.raises(UserError, match=r"best\.ckpt is gone"):
        evaluate(run)
