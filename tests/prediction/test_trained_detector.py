"""Opening the detector of a finished run, with and without its prepared faces."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tiny_run

from deepfake_ms.data.dataset import resize_face
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import read_predictions
from deepfake_ms.files import write_json
from deepfake_ms.prediction.detector import TrainedDetector, load_detector
from deepfake_ms.prediction.finished_run import FACTS_NAME
from deepfake_ms.prediction.reference import Reference, image_statistics


@pytest.fixture
def moved(trained, tmp_path):
    """Copies of the run and of its faces, which can be damaged."""
    run = trained[0]
    return shutil.copytree(run.folder, tmp_path / "seed_0"), shutil.copytree(run.faces.folder, tmp_path / "faces")


def facts_of(run: Path) -> Path:
    return run / "evaluation" / "validation" / "selected" / FACTS_NAME


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
    small = np.stack([resize_face(each.transpose(1, 2, 0), 32).transpose(2, 0, 1) for each in crops])
    assert detector.probabilities(crops) == pytest.approx(detector.probabilities(small), abs=0)


def test_faces_are_needed_once(moved, trained, monkeypatch):
    folder, _ = moved
    first = load_detector(folder)
    monkeypatch.setattr("deepfake_ms.training.run.PreparedFaces.read", None)
    second = load_detector(folder)
    assert second.facts() == first.facts()


def test_what_was_computed_for_another_checkpoint_is_not_used(moved):
    folder, _ = moved
    first = load_detector(folder)
    other = replace(first, thresholds={"frame": 0.1, "video": 0.1}, about={**first.about, "checkpoint_sha256": "other"})
    write_json(facts_of(folder), other.facts())
    assert load_detector(folder).thresholds == first.thresholds


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_damaged_facts_are_computed_again(moved, content):
    folder, _ = moved
    first = load_detector(folder)
    facts_of(folder).write_bytes(content)
    assert load_detector(folder).facts() == first.facts()


def test_facts_with_a_missing_value_are_computed_again(moved):
    folder, _ = moved
    first = load_detector(folder)
    facts = first.facts()
    del facts["reference"]["limits"]["video"]
    write_json(facts_of(folder), facts)
    assert load_detector(folder).facts() == first.facts()


def test_missing_faces_are_one_sentence(moved, trained, monkeypatch):
    folder, _ = moved
    facts_of(folder).unlink(missing_ok=True)
    monkeypatch.setattr("deepfake_ms.training.run.MANIFEST_NAME", "gone")
    with pytest.raises(UserError, match=r"faces that .* was trained on .* are not in"):
        load_detector(folder)


def test_other_pipelines_are_refused(trained):
    detector = load_detector(trained[0].folder)
    facts = detector.facts()
    facts["preparation"]["pipeline_version"] = 1
    with pytest.raises(UserError, match="pipeline version 1"):
        TrainedDetector.from_facts(facts, detector.model)


def test_a_run_without_validation_scores_is_refused(moved):
    folder, _ = moved
    facts_of(folder).unlink(missing_ok=True)
    facts_of(folder).with_name("predictions.parquet").unlink()
    with pytest.raises(UserError, match="evaluate"):
        load_detector(folder)


def test_distance_is_mahalanobis():
    """Of two correlated statistics, and per video that of its mean distance."""
    random = np.random.default_rng(0)
    training = random.normal(size=(5000, 2)) @ np.array([[1, 0.5], [0, 1]]) + (3, -1)
    reference = Reference.of(training, training[:100], pd.Series(np.repeat(np.arange(10), 10)))
    points = np.array([(3.0, -1.0), (5.0, 2.0)])
    centred = points - training.mean(axis=0)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(training.T)), centred))
    assert reference.distances(points) == pytest.approx(exact, rel=0.01, abs=0.05)
    ours = reference.distances(training[:100])
    assert reference.limits["frame"] == pytest.approx(np.quantile(ours, 0.99))
    assert reference.limits["video"] == pytest.approx(np.quantile(ours.reshape(10, 10).mean(axis=1), 0.99))


def test_statistics_see_colour_detail_and_blur():
    random = np.random.default_rng(0)
    faces = random.integers(60, 190, (20, 3, 64, 64)).astype(np.uint8)
    reference = Reference.of(*[image_statistics(each) for each in (faces[:12], faces[12:])], pd.Series(range(8)))
    changed = {
        "blur": np.stack([cv2.blur(each.transpose(1, 2, 0), (3, 3)).transpose(2, 0, 1) for each in faces[12:]]),
        "tint": faces[12:] // np.array([1, 1, 2], np.uint8)[:, None, None],
        "flat": np.full_like(faces[12:], 128),
    }
    for name, images in changed.items():
        assert reference.distances(image_statistics(images)).min() > 3 * reference.limits["frame"], name
