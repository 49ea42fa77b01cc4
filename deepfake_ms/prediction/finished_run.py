"""The detector of a finished run. What needs its prepared faces is computed once and kept with the run's results."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.evaluation.predictions import SELECTED, Checkpoint, has_predictions, read_predictions, result_folder
from deepfake_ms.evaluation.protocol_card import protocol_card
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.prediction.detector import BATCH_SIZE, TrainedDetector, read_facts, score_faces, write_facts
from deepfake_ms.prediction.reference import Reference
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.scoring.calibration import fit_temperature
from deepfake_ms.scoring.metrics import LEVELS, THRESHOLD_CRITERION, at_level, choose_thresholds
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run import Run, build_detector
from deepfake_ms.training.run_folder import read_record
from deepfake_ms.training.stage_chain import finished_chain, load_weights

CARD_FIELDS = ("training", "frames", "crop", "selection")
"""Fields of the protocol card that describe the detector and not a test set."""


def open_run(folder: Path, device: str = "cpu") -> TrainedDetector:
    """The detector of a finished run, with the checkpoint that its last stage selected.

    Args:
        folder: of the run.
        device: as torch names it.

    Raises:
        UserError: the run is missing or not finished, its checkpoint has changed, or its faces are missing and what is
            computed from them is not on disk.
    """
    record = read_record(folder)
    stages = Curriculum.from_record(record["config"]).stages
    handoff = finished_chain(folder, len(stages))[-1]
    detector = build_detector(record["config"], stages[-1], from_scratch=False)
    detector.load_state_dict(load_weights(folder / handoff.checkpoint, handoff.sha256))
    model = detector.model.eval().to(device)
    known = read_facts(folder / "evaluation" / "validation" / SELECTED)
    if known is not None and known[0]["about"]["checkpoint_sha256"] == handoff.sha256:
        return TrainedDetector.from_facts(*known, model)
    run = Run.open(folder)
    found = _measure(run, model)
    with suppress(OSError):  # a read-only folder
        write_facts(found, result_folder(run, TestSet.of_run(run, "validation"), SELECTED))
    return found


def _measure(run: Run, model: DetectionModel) -> TrainedDetector:
    """The detector with thresholds, temperatures and reference from the run's validation faces."""
    validation_set, checkpoint = TestSet.of_run(run, "validation"), Checkpoint.of(run, SELECTED)
    faces = validation_set.dataset(model.input_size)
    scored = [score_faces(model, _crops(faces, start)) for start in range(0, len(faces), BATCH_SIZE)]
    probabilities, features = (np.concatenate(each) for each in zip(*scored, strict=True))
    rows = run.faces.manifest.iloc[validation_set.rows]
    if has_predictions(run, validation_set, checkpoint):
        validation = read_predictions(run, validation_set, SELECTED)  # those that the run's scores depend on
    else:
        validation = rows[["video_id"]].assign(label=faces.labels, fake_probability=probabilities)
    card = protocol_card(run, validation_set, SELECTED, None)
    facts = {
        "name": "/".join(run.folder.resolve().parts[-4:]),
        "preparation": {**PreparationSettings().as_dict(), **run.faces.about["preparation"]},
        "thresholds": choose_thresholds(validation),
        "temperatures": {level: fit_temperature(at_level(validation, level)) for level in LEVELS},
        "synthetic": run.record["synthetic"],
        "about": {
            "protocol_card": {
                **{name: card[name] for name in CARD_FIELDS},
                "threshold": f"best {THRESHOLD_CRITERION} on validation",
            },
            "data": run.config["data"],
            "model": run.config["model"]["name"],
            "seed": run.seed,
            "checkpoint_sha256": checkpoint.sha256,
            "code": run.record["code"],
        },
    }
    reference = Reference.of(features, rows["video_id"])
    return TrainedDetector.from_facts({**facts, "limits": reference.limits}, reference.features, model)


def _crops(faces: FaceDataset, start: int) -> np.ndarray:
    return faces.batch(list(range(start, min(start + BATCH_SIZE, len(faces)))))["image"].numpy()
