"""Metrics against scikit-learn and against the published numbers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.scoring.metrics import (
    DECISION_METRICS,
    TITLES,
    best_threshold,
    choose_thresholds,
    detection_metrics,
    score,
    score_table,
    video_scores,
)


def scored(probability, labels, threshold=0.5):
    return score(torch.tensor(np.asarray(probability)), torch.tensor(np.asarray(labels)), threshold)


def sample(count=301, ties=False):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count)
    probability = np.clip(0.3 * labels + 0.7 * random.random(count), 0, 1)
    return np.round(probability, 1) if ties else probability, labels


@pytest.mark.parametrize("threshold", [0.5, 0.37])
@pytest.mark.parametrize("ties", [False, True])
def test_scores_equal_scikit_learn(threshold, ties):
    probability, labels = sample(ties=ties)
    decided = probability > threshold
    false_positives, true_positives, _ = sklearn_metrics.roc_curve(labels, probability, drop_intermediate=False)
    edges = np.linspace(0, 1, 16)
    bins = np.digitize(probability, edges)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, decided),
        "macro_f1": sklearn_metrics.f1_score(labels, decided, average="macro"),
        "auroc": sklearn_metrics.roc_auc_score(labels, probability),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, decided),
        "average_precision": sklearn_metrics.average_precision_score(labels, probability),
        "tpr_at_1_fpr": true_positives[false_positives <= 0.01][-1],
        "real_error": (decided & (labels == REAL)).sum() / (labels == REAL).sum(),
        "fake_error": (~decided & (labels == FAKE)).sum() / (labels == FAKE).sum(),
        "calibration_error": sum(
            abs(probability[bins == number].mean() - labels[bins == number].mean()) * (bins == number).mean()
            for number in np.unique(bins)
        ),
        "brier": sklearn_metrics.brier_score_loss(labels, probability),
    }
    measured = scored(probability, labels, threshold)
    assert list(measured) == list(TITLES)  # the order of the tables
    eer = measured.pop("eer")
    assert measured == pytest.approx(expected, abs=1e-6)
    # The point on the ROC curve with equal error rates.
    assert np.interp(eer, false_positives, true_positives) == pytest.approx(1 - eer, abs=1e-6)


def test_eer_equals_hand_computed_values():
    """Reals .1 .2 .6, fakes .4 .7 .8: with scores from .6 classified as fake, FPR and FNR are 1/3."""
    assert scored([0.1, 0.2, 0.6, 0.4, 0.7, 0.8], [0, 0, 0, 1, 1, 1])["eer"] == pytest.approx(1 / 3)
    assert scored([0.1, 0.9], [0, 1])["eer"] == 0
    assert scored([0.9, 0.1], [0, 1])["eer"] == 1


def test_constant_scores_give_chance_metrics():
    measured = scored(np.full(40, 0.7), np.arange(40) % 4 > 0)
    assert measured["auroc"] == measured["eer"] == measured["balanced_accuracy"] == 0.5
    assert measured["average_precision"] == 0.75
    assert measured["tpr_at_1_fpr"] == 0
    assert measured["calibration_error"] == pytest.approx(0.05)


@pytest.mark.parametrize(("label", "defined"), [(REAL, "real_error"), (FAKE, "fake_error")])
def test_metrics_that_need_a_missing_class_are_nan(label, defined):
    measured = scored([0.2, 0.9, 0.4], [label] * 3)
    finite = {name for name, value in measured.items() if not math.isnan(value)}
    assert finite == {"accuracy", defined, "brier", "calibration_error"}
    assert math.isnan(best_threshold(np.array([0.2, 0.9]), np.array([label] * 2)))
    unthresholded = scored([0.2, 0.9], [REAL, FAKE], math.nan)
    assert {name for name, value in unthresholded.items() if math.isnan(value)} == set(DECISION_METRICS)


def test_published_base_row_uses_macro_f1():
    """863 misclassified fakes and 135 reals on the paper's test set give the published .9333 and .8408."""
    labels = torch.tensor([REAL] * 1415 + [FAKE] * 13543)
    probability = torch.tensor([0.9] * 135 + [0.1] * 1280 + [0.1] * 863 + [0.9] * 12680)
    measured = score(probability, labels)
    assert round(measured["accuracy"], 4) == 0.9333
    assert round(measured["macro_f1"], 4) == 0.8408
    assert measured["fake_error"] == pytest.approx(863 / 13543)


@pytest.mark.parametrize("ties", [False, True])
def test_threshold_maximises_balanced_accuracy(ties):
    probability, labels = sample(80, ties)
    best = scored(probability, labels, best_threshold(probability, labels))["balanced_accuracy"]
    everywhere = [scored(probability, labels, cut)["balanced_accuracy"] for cut in np.linspace(-0.01, 1, 500)]
    assert best == pytest.approx(max(everywhere))
    assert best > scored(probability, labels)["balanced_accuracy"]  # otherwise the choice would not be tested


def test_threshold_is_independent_of_order_and_share_of_fakes():
    probability, labels = sample(80)
    threshold = best_threshold(probability, labels)
    assert best_threshold(probability[::-1], labels[::-1]) == threshold
    fakes = labels == FAKE
    more = np.concatenate([probability, *[probability[fakes]] * 9]), np.concatenate([labels, *[labels[fakes]] * 9])
    assert best_threshold(*more) == threshold


@pytest.mark.parametrize(
    ("reals", "fakes", "threshold"),
    [
        ([0.1, 0.2], [0.8, 0.9], 0.5),  # the midpoint of the gap
        ([0.1, 0.3], [0.2, 0.8], 0.55),  # .15 and .55 are equally good, but .55 has the wider gap
        ([0.6, 0.6], [0.6], 0.5),  # all scores are equal
        ([0.9], [0.1], 0.5),  # worse than chance
        ([0.5], [np.nextafter(0.5, 1)], 0.5),  # adjacent floats: the lower one, which is not above itself
        ([np.nextafter(0.5, 0)], [0.5], np.nextafter(0.5, 0)),
    ],
)
def test_ties_between_thresholds_are_broken_as_documented(reals, fakes, threshold):
    labels = np.array([REAL] * len(reals) + [FAKE] * len(fakes))
    chosen = best_threshold(np.array(reals + fakes), labels)
    assert chosen == pytest.approx(threshold, abs=1e-15)
    if max(reals) < min(fakes):
        assert scored(reals + fakes, labels, chosen)["accuracy"] == 1


def test_video_score_is_the_mean_over_its_frames():
    predictions = pd.DataFrame({"video_id": ["a", "b", "a"], "label": [1, 0, 1], "fake_probability": [0.2, 0.4, 1.0]})
    videos = video_scores(predictions).set_index("video_id")
    assert videos.loc["a", "fake_probability"] == pytest.approx(0.6)
    assert videos.loc["a", "frames"] == 2
    levels = score_table(predictions)
    assert levels["frame"]["accuracy"] == pytest.approx(2 / 3)
    assert levels["video"]["accuracy"] == 1


def test_each_level_has_its_own_threshold():
    predictions = pd.DataFrame({"video_id": ["a", "b", "a"], "label": [1, 0, 1], "fake_probability": [0.3, 0.4, 0.7]})
    thresholds = choose_thresholds(predictions)
    assert thresholds == pytest.approx({"frame": 0.55, "video": 0.45})
    assert score_table(predictions, thresholds)["video"]["accuracy"] == 1
    assert score_table(predictions)["video"]["fake_error"] == 1  # the mean is exactly .5, which is not above .5


def test_validation_auroc_of_a_single_class_is_undefined():
    metrics = detection_metrics()
    probabilities = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    assert torch.isnan(metrics(probabilities, torch.tensor([1, 1]))["auroc"])
    assert metrics(probabilities, torch.tensor([1, 0]))["auroc"] == 1
