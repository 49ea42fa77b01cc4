"""An evaluated run and its exported detector."""

import pytest
import tiny_run
from exported_run import Exported, export
from rich.console import Console

from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.prediction.detector import load_detector
from deepfake_ms.training.run import Run


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory) -> tuple[Run, dict]:
    """A trained run with a small Vision Transformer, and its scores."""
    folder = tmp_path_factory.mktemp("exported")
    prepared = tiny_run.write_faces(folder / "prepared" / "tiny-0123456789ab")
    run = tiny_run.train(
        folder / "runs" / "tiny" / "vit" / "name" / "seed_0", prepared, {**tiny_run.ONE_STAGE, **tiny_run.VIT}
    )
    return run, evaluate(run, TestSet.of_run(run, "test"), tiny_run.trainer(), Console(quiet=True))


@pytest.fixture(scope="session")
def exported(evaluated, tmp_path_factory) -> Exported:
    run, scores = evaluated
    folder = tmp_path_factory.mktemp("folder") / "detector"
    export(run, folder)
    return Exported(run, load_detector(run.folder), scores, folder)
