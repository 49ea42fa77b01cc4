"""Exporting a run as the command does; tests import it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.exporting.model_card import NOT_STATED
from deepfake_ms.exporting.write import export_detector
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.training.run import Run


class Exported(NamedTuple):
    """A run, its detector, the scores of its test set, and the folder of the export."""

    run: Run
    detector: TrainedDetector
    scores: dict
    folder: Path


def export(run: Run, folder: Path, change=lambda scores: scores) -> dict:
    """Export a run; `change` alters the P(fake) that the files are compared with."""
    detector = load_detector(run.folder)
    return export_detector(
        run,
        folder,
        detector.facts(),
        detector.model,
        lambda crops: change(detector.probabilities(crops)),
        NOT_STATED,
        lambda step: None,
    )


def crops_of(exported: Exported) -> np.ndarray:
    """The test faces as they were prepared, uint8 [N, 3, 224, 224]."""
    faces = TestSet.of_run(exported.run, "test").dataset(exported.detector.preparation.crop_size)
    return faces.batch(list(range(len(faces))))["image"].numpy()
