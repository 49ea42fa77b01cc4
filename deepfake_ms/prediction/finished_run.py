"""The detector of a finished run. What needs its prepared faces is computed once and kept with the run's results."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import SELECTED, Checkpoint, has_predictions, read_predictions
from deepfake_ms.evaluation.protocol_card import protocol_card
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.files import write_json
from deepfake_ms.manifest import BOX_COLUMNS
from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.facts import find_fault
from deepfake_ms.prediction.reference import Reference, image_statistics
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.scoring.calibration import fit_temperature
from deepfake_ms.scoring.metrics import LEVELS, THRESHOLD_CRITERION, at_level, choose_thresholds
from deepfake_ms.training.curriculum import Curriculum
from deepfake_ms.training.run import Run, build_detector
from deepfake_ms.training.run_folder import read_record
from deepfake_ms.training.stage_chain import finished_chain, load_weights

FACTS_NAME = "detector.json"
MOST_DESCRIBED = 4000
"""Training faces that describe the training data, evenly spaced if there are more."""
CARD_FIELDS = ("training", "frames", "crop", "selection")
"""Fields of the protocol card that describe the detector and not a test set."""


def open_run(folder: Path, device: str = "cpu", prepared: Path | None = None) -> TrainedDetector:
    """The detector of a finished run, with the checkpoint that its last stage selected.

    Args:
        folder: of the run.
        device: as torch names it.
        prepared: folder of the run's faces, if they are not in the recorded one.

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
    kept = folder / "evaluation" / "validation" / SELECTED / FACTS_NAME
    facts = _read(kept)
    if facts is not None and facts["about"]["checkpoint_sha256"] == handoff.sha256:
        return TrainedDetector.from_facts(facts, model)
    found = TrainedDetector.from_facts(_measure(Run.open(folder, prepared)), model)
    with suppress(OSError):  # a read-only folder
        write_json(kept, found.facts())
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """The facts in a file; None if they are missing, damaged or of another version."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return None if find_fault(facts) else facts


def _measure(run: Run) -> dict[str, Any]:
    """The facts of a run's detector (`TrainedDetector.facts`), with thresholds from its validation faces."""
    validation_set, checkpoint = TestSet.of_run(run, "validation"), Checkpoint.of(run, SELECTED)
    if not has_predictions(run, validation_set, checkpoint):
        raise UserError(
            f"{run.folder} has no scores of its validation set, which the threshold depends on: run "
            f"`deepfake-ms evaluate run={run.folder}` first."
        )
    validation = read_predictions(run, validation_set, SELECTED)
    training = run.training_rows
    training = training[np.linspace(0, len(training) - 1, min(MOST_DESCRIBED, len(training)), dtype=int)]
    reference = Reference.of(
        _statistics(run, training),
        _statistics(run, validation_set.rows),
        run.faces.manifest["video_id"].iloc[validation_set.rows],
        _sides(run.faces.manifest.iloc[training]),
    )
    card = protocol_card(run, validation_set, SELECTED, None)
    return {
        "name": f"{run.config['model']['name']}, trained on {run.config['data']['name']}, seed {run.seed}",
        "preparation": {**PreparationSettings().as_dict(), **run.faces.about["preparation"]},
        "thresholds": choose_thresholds(validation),
        "temperatures": {level: fit_temperature(at_level(validation, level)) for level in LEVELS},
        "synthetic": run.record["synthetic"],
        "about": {
            "protocol_card": {
                **{name: card[name] for name in CARD_FIELDS},
                "threshold": f"best {THRESHOLD_CRITERION.replace('_', ' ')} on validation",
            },
            "data": run.config["data"],
            "model": run.config["model"]["name"],
            "seed": run.seed,
            "checkpoint_sha256": checkpoint.sha256,
            "code": run.record["code"],
        },
        "reference": reference.as_record(),
    }


def _statistics(run: Run, rows: np.ndarray) -> np.ndarray:
    """`image_statistics` of the faces at `rows` of the manifest."""
    faces = FaceDataset(
        run.faces.manifest, rows, run.faces.folder, input_size=run.faces.about["preparation"]["crop_size"]
    )
    return image_statistics(faces.pixels(position).transpose(2, 0, 1) for position in range(len(rows)))


def _sides(faces: pd.DataFrame) -> np.ndarray:
    """Longer side of each face's box, in pixels of its frame: [N]."""
    left, top, right, bottom = faces[BOX_COLUMNS].to_numpy(dtype=np.float64).T
    return np.maximum(right - left, bottom - top)
