"""Opening the detector of a finished run, with and without its prepared faces."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny_run
from rich.console import Console

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import read_predictions
from deepfake_ms.evaluation.scores import evaluate
from deepfake_ms.evaluation.test_set import TestSet
from deepfake_ms.prediction import detector as detector_module
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.reference import Reference


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished, evaluated run, its test set and the scores of its test set."""
    folder = tmp_path_factory.mktemp("trained")
    prepared = tiny_run.write_faces(folder / "prepared" / "tiny-0123456789ab")
    run = tiny_run.train(folder / "runs" / "tiny" / "small" / "name" / "seed_0", prepared, tiny_run.ONE_STAGE)
    test_set = TestSet.of_run(run, "test")
    return run, test_set, evaluate(run, test_set, tiny_run.trainer(), Console(quiet=True))


@pytest.fixture
def moved(trained, tmp_path):
    """Copies of the run and of its faces, which can be damaged."""
    run = trained[0]
    return shutil.copytree(run.folder, tmp_path / "seed_0"), shutil.copytree(run.faces.folder, tmp_path / "faces")


def test_scores_faces_like_the_evaluation(trained):
    run, test_set, scores = trained
    detector = load_detector(run.folder)
    crops = test_set.dataset(tiny_run.SIZE).batch(list(range(len(test_set.rows))))["image"].numpy()
    expected = read_predictions(run, test_set, "selected")["fake_probability"]
    assert np.abs(detector.probabilities(crops) - expected).max() < 1e-6
    assert detector.thresholds == scores["validation_thresholds"]
    assert detector.temperatures == pytest.approx(scores["temperatures"])
    assert detector.about["checkpoint_sha256"] == scores["checkpoint_sha256"]
    assert detector.synthetic
    assert detector.probabilities(crops[:0]).shape == (0,)


def test_other_sizes_are_resized_like_in_the_dataset(trained):
    detector = load_detector(trained[0].folder)
    crops = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 50), np.uint8)
    small = np.stack([detector_module.resize_face(each.transpose(1, 2, 0), 32).transpose(2, 0, 1) for each in crops])
    assert detector.probabilities(crops) == pytest.approx(detector.probabilities(small), abs=0)


def test_faces_are_needed_once(moved, trained, monkeypatch):
    folder, _ = moved
    first = load_detector(folder)
    monkeypatch.setattr("deepfake_ms.training.run.PreparedFaces.read", None)
    second = load_detector(folder)
    assert second.facts() == first.facts()
    assert (second.reference.features == first.reference.features).all()


def test_what_was_computed_for_another_checkpoint_is_not_used(moved):
    folder, _ = moved
    first = load_detector(folder)
    other = replace(first, thresholds={"frame": 0.1, "video": 0.1}, about={**first.about, "checkpoint_sha256": "other"})
    detector_module.write_facts(other, folder / "evaluation" / "validation" / "selected")
    assert load_detector(folder).thresholds == first.thresholds


def test_damaged_facts_are_computed_again(moved):
    folder, _ = moved
    first = load_detector(folder)
    (folder / "evaluation" / "validation" / "selected" / detector_module.REFERENCE_NAME).write_bytes(b"\x93NUMPY")
    assert (load_detector(folder).reference.features == first.reference.features).all()


def test_missing_faces_are_one_sentence(moved, trained, monkeypatch):
    folder, _ = moved
    for name in (detector_module.FACTS_NAME, detector_module.REFERENCE_NAME):
        (folder / "evaluation" / "validation" / "selected" / name).unlink(missing_ok=True)
    monkeypatch.setattr("deepfake_ms.training.run.MANIFEST_NAME", "gone")
    with pytest.raises(UserError, match=r"faces that .* was trained on .* are not in"):
        load_detector(folder)


def test_other_pipelines_are_refused(trained):
    detector = load_detector(trained[0].folder)
    facts = detector.facts()
    facts["preparation"]["pipeline_version"] = 1
    with pytest.raises(UserError, match="pipeline version 1"):
        TrainedDetector.from_facts(facts, detector.reference.features, detector.model)


def test_reference_measures_against_other_videos():
    """Faces of one video are alike; without leaving out the own video, all distances would be 0."""
    angles = np.repeat(np.linspace(0, 1, 20), 6)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    reference = Reference.of(features, pd.Series(np.repeat(np.arange(20), 6)))
    step = 2 * np.sin(1 / 19 / 2)  # distance of neighbouring videos, six faces each
    assert reference.limits["video"] == pytest.approx(step, rel=1e-3)
    assert reference.limits["frame"] == pytest.approx(step, rel=1e-3)
    far = np.array([[-1, 0], [1, 0]], np.float32)
    assert reference.distances(far)[0] > 1.5
    assert reference.distances(far)[1] == pytest.approx(0, abs=1e-3)
