"""A detector that has learnt nothing, and one whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.reference import Reference
from deepfake_ms.preprocessing.settings import PreparationSettings
from deepfake_ms.training.run import Run

STATISTICS = 14


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Run, TestSet, dict]:
    """A finished, evaluated run, its test set and the scores of its test set."""
    folder = tmp_path_factory.mktemp("trained")
    prepared = tiny_run.write_faces(folder / "prepared" / "tiny-0123456789ab")
    run = tiny_run.train(folder / "runs" / "tiny" / "small" / "name" / "seed_0", prepared, tiny_run.ONE_STAGE)
    test_set = TestSet.of_run(run, "test")
    return run, test_set, evaluate(run, test_set, tiny_run.trainer(), Console(quiet=True))


@pytest.fixture(scope="session")
def loaded(trained) -> TrainedDetector:
    """The run's detector."""
    return load_detector(Path(trained[0].folder))


@pytest.fixture(scope="session")
def brightness(loaded) -> TrainedDetector:
    """P(fake) is the brightness of the crop; every face is like the training data. Samples twice per second."""

    class Brightness(TrainedDetector):
        def probabilities(self, crops: np.ndarray) -> np.ndarray:
            return (crops.mean(axis=(1, 2, 3)) / 255).astype(np.float32)

    everything = Reference(np.zeros(STATISTICS), np.zeros((STATISTICS, STATISTICS)), {"frame": 1.0, "video": 1.0})
    known = replace(
        loaded,
        preparation=PreparationSettings(fps=2, crop_size=32, margin=0.3, offset=0),
        thresholds={"frame": 0.6, "video": 0.4},
        temperatures={"frame": 2.0, "video": 0.5},
        reference=everything,
    )
    return Brightness(**{name: getattr(known, name) for name in known.__dataclass_fields__})
